// Frames over MQTT 3.1.1: published to `kinglet/ID/up`, sealed answers on `kinglet/ID/down`. Needs the library "MQTT" by
// Joel Gaehwiler, version 2.5 or later.
//
// `mqtts://`: by TLS, to the server whose certificate has the SHA-256 that the board was given (`pin=` in its line; `kinglet
// certificate` prints it). No certificate authority and no clock have a part in it: a server that shows another certificate,
// or cannot sign for this one, is told nothing, not even who calls. `mqtt://`: without TLS; frames are sealed all the same.
#pragma once

#include <MQTT.h>
#include <WiFi.h>
#include <WiFiClientSecure.h>
#include <kinglet_bundle.h>

#include "transport.h"

class MqttTransport : public Transport {
 public:
  // The longest packet: a frame or a sealed answer behind its topic, or the login.
  static const int PACKET_LEN_MAX = KGL_FRAME_LEN_MAX(KINGLET_CODE_LEN_MAX) + KGL_ID_LEN_MAX + 32;
  static const size_t N_WAITING_MAX = 8;

  MqttTransport() : mqtt_(PACKET_LEN_MAX) {
    self() = this;
  }

  bool begin(const Settings &settings) override {
    const String server = settings.server();
    is_secure_ = server.startsWith("mqtts://");
    // A name without TLS' proof of it is worth nothing: no pin, no TLS.
    if (!(is_secure_ && settings.has_pin()) && !server.startsWith("mqtt://")) {
      return false;
    }
    const String address = server.substring(is_secure_ ? 8 : 7);
    const int colon = address.indexOf(':');
    host_ = colon < 0 ? address : address.substring(0, static_cast<unsigned>(colon));
    port_ = static_cast<uint16_t>(colon < 0 ? (is_secure_ ? 8883 : 1883)
                                            : address.substring(static_cast<unsigned>(colon) + 1).toInt());
    kgl_id id;
    if (!kgl_id_make(&id, settings.id())) {
      return false;
    }
    id_ = settings.id();
    kgl_access_token(settings.key(), &id, token_);
    memcpy(pin_, settings.pin(), sizeof pin_);
    up_ = topic("/up");
    down_ = topic("/down");
    refused_ = topic("/refused");
    // A PUBACK comes when the server has the frame on its disk.
    mqtt_.setOptions(60, true, 10000);
    mqtt_.onMessageAdvanced(take);
    // The certificate is compared by hand, below.
    secure_.setInsecure();
    mqtt_.begin(host_.c_str(), port_, net());
    return true;
  }

  bool send(kgl_what, const uint8_t *frame, size_t len) override {
    return keep_up() &&
           mqtt_.publish(up_.c_str(), reinterpret_cast<const char *>(frame), static_cast<int>(len), false, 1);
  }

  size_t receive(uint8_t *out, size_t room) override {
    mqtt_.loop();
    if (n_waiting_ == 0) {
      return 0;
    }
    const Waiting first = waiting_[0];
    n_waiting_--;
    memmove(waiting_, waiting_ + 1, n_waiting_ * sizeof *waiting_);
    const size_t len = first.len <= room ? first.len : 0;
    memcpy(out, first.bytes, len);
    return len;
  }

 private:
  struct Waiting {
    uint16_t len;
    uint8_t bytes[256];
  };

  // Connects if there is no connection, from time to time.
  bool keep_up() {
    if (mqtt_.connected()) {
      pause_ms_ = 1000;
      return true;
    }
    if (has_tried_ && millis() - tried_ms_ < pause_ms_) {
      return false;
    }
    pause_ms_ = has_tried_ && pause_ms_ < 60000 ? 2 * pause_ms_ : pause_ms_;
    const bool is_up = connect();
    has_tried_ = true;
    tried_ms_ = millis();
    if (!is_up) {
      net().stop();
    }
    return is_up;
  }

  bool connect() {
    if (net().connect(host_.c_str(), port_) <= 0) {
      Serial.println("the server is not reached");
      return false;
    }
    uint8_t shown[32];
    if (is_secure_ && !(secure_.getFingerprintSHA256(shown) && kgl_is_equal(shown, pin_, sizeof shown))) {
      Serial.println("this is not the server: its certificate is not the one that was pinned");
      return false;
    }
    // Only now the password leaves.
    if (!mqtt_.connect(id_.c_str(), id_.c_str(), token_, true)) {
      Serial.println("the server does not let this device in");
      return false;
    }
    return mqtt_.subscribe(down_.c_str(), 0) && mqtt_.subscribe(refused_.c_str(), 0);
  }

  // Called while the library works, so it only keeps what came. What has no room the server's next answer makes up for.
  static void take(MQTTClient *, char topic[], char bytes[], int len) {
    MqttTransport &me = *self();
    if (me.refused_ == topic) {
      static const char word[] = "join_required";
      me.is_join_required_ |= len == sizeof word - 1 && memcmp(bytes, word, sizeof word - 1) == 0;
    } else if (me.down_ == topic && me.n_waiting_ < N_WAITING_MAX && len > 0 &&
               static_cast<size_t>(len) <= sizeof me.waiting_->bytes) {
      Waiting &next = me.waiting_[me.n_waiting_++];
      next.len = static_cast<uint16_t>(len);
      memcpy(next.bytes, bytes, next.len);
    }
  }

  // The library calls a function without a context, and there is one of these.
  static MqttTransport *&self() {
    static MqttTransport *one = nullptr;
    return one;
  }

  Client &net() {
    return is_secure_ ? static_cast<Client &>(secure_) : static_cast<Client &>(plain_);
  }

  String topic(const char *last) const {
    String text = "kinglet/";
    text += id_;
    text += last;
    return text;
  }

  MQTTClient mqtt_;
  WiFiClient plain_;
  WiFiClientSecure secure_;
  bool is_secure_ = false;
  bool has_tried_ = false;
  uint32_t tried_ms_ = 0;
  uint32_t pause_ms_ = 1000;
  uint16_t port_ = 0;
  String host_, id_, up_, down_, refused_;
  char token_[KGL_TOKEN_LEN + 1] = {};
  uint8_t pin_[32] = {};
  Waiting waiting_[N_WAITING_MAX];
  size_t n_waiting_ = 0;
};
