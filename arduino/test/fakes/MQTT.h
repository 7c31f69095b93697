// The library "MQTT" by Joel Gaehwiler as far as the sketches use it: MQTT 3.1.1, one call at a time, each waiting for its
// answer; what arrives meanwhile goes to the callback.
#pragma once

#include <Arduino.h>
#include <Client.h>

#include <string>

class MQTTClient;
typedef void (*MQTTClientCallbackAdvanced)(MQTTClient *client, char topic[], char bytes[], int length);

class MQTTClient {
 public:
  // Of the longest packet, either way.
  explicit MQTTClient(int buffer_len = 128) : buffer_len_(static_cast<size_t>(buffer_len)) {}
  void begin(const char host[], int port, Client &net);
  void onMessageAdvanced(MQTTClientCallbackAdvanced callback) {
    callback_ = callback;
  }
  void setOptions(int keep_alive_s, bool clean_session, int timeout_ms);
  // `skip`: the connection is there already.
  bool connect(const char id[], const char username[], const char password[], bool skip = false);
  bool subscribe(const char topic[], int qos);
  bool publish(const char topic[], const char payload[], int length, bool retained, int qos);
  bool loop();
  bool connected();

 private:
  bool send(uint8_t first, const std::string &body);
  // Reads packets until one of this kind comes; its body.
  bool wait(uint8_t kind, std::string *body);
  // Reads one packet.
  bool packet(uint8_t *first, std::string *body);
  bool read(void *out, size_t len);
  void message(uint8_t first, const std::string &body);
  bool close();

  size_t buffer_len_;
  std::string host_;
  uint16_t port_ = 0;
  uint16_t keep_alive_s_ = 10;
  uint16_t packet_id_ = 0;
  uint32_t timeout_ms_ = 1000;
  uint32_t sent_ms_ = 0;
  bool clean_session_ = true;
  bool is_connected_ = false;
  Client *net_ = nullptr;
  MQTTClientCallbackAdvanced callback_ = nullptr;
};
