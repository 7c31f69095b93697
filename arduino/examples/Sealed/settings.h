// What the board is given once over the serial line, and keeps: Wi-Fi, its id, its key, the server and its certificate's pin.
#pragma once

#include <Arduino.h>
#include <Kinglet.h>
#include <Preferences.h>

class Settings {
 public:
  enum Asked { NOTHING, CHANGED, FLUSH, STATS };

  void begin() {
    preferences_.begin("kinglet", false);
    ssid_ = preferences_.getString("ssid");
    password_ = preferences_.getString("password");
    id_ = preferences_.getString("id");
    server_ = preferences_.getString("server");
    has_key_ = preferences_.getBytes("key", key_, sizeof key_) == sizeof key_;
    has_pin_ = take_hex(preferences_.getString("pin"), 0, pin_, sizeof pin_);
    if (!is_provisioned()) {
      Serial.println("waiting for `wifi NAME PASSWORD` and the line of `kinglet device add`");
    }
  }

  bool is_provisioned() const {
    return has_key_ && id_.length() > 0 && server_.length() > 0;
  }
  bool has_wifi() const {
    return ssid_.length() > 0;
  }
  const char *ssid() const {
    return ssid_.c_str();
  }
  const char *password() const {
    return password_.c_str();
  }
  const char *id() const {
    return id_.c_str();
  }
  const char *server() const {
    return server_.c_str();
  }
  const uint8_t *key() const {
    return key_;
  }
  // Whether the server's certificate is known, by its SHA-256.
  bool has_pin() const {
    return has_pin_;
  }
  const uint8_t *pin() const {
    return pin_;
  }

  // Takes what was typed, a line at a time.
  Asked read_line() {
    while (Serial.available() > 0) {
      const char c = static_cast<char>(Serial.read());
      if (c != '\n' && c != '\r') {
        // Nobody types a longer line than a provisioning.
        if (line_.length() < 500) {
          line_ += c;
        }
        continue;
      }
      const String line = line_;
      line_ = "";
      if (line.length() > 0) {
        return take(line);
      }
    }
    return NOTHING;
  }

 private:
  Asked take(const String &line) {
    if (line == "flush") {
      return FLUSH;
    }
    if (line == "stats") {
      return STATS;
    }
    if (line.startsWith("wifi ")) {
      const int split = line.indexOf(' ', 5);
      ssid_ = line.substring(5, split < 0 ? line.length() : static_cast<unsigned>(split));
      password_ = split < 0 ? String("") : line.substring(static_cast<unsigned>(split) + 1);
      preferences_.putString("ssid", ssid_);
      preferences_.putString("password", password_);
      return CHANGED;
    }
    if (line.startsWith("kinglet:") && provision(line)) {
      return CHANGED;
    }
    Serial.println("not understood");
    return NOTHING;
  }

  // kinglet:ID?server=URL&pin=sha256:HEX#KEY, with the signs of what stands behind a `=` as %XX and the key in hexadecimal.
  bool provision(const String &line) {
    const int query = line.indexOf('?'), hash = line.indexOf('#');
    uint8_t key[KGL_SECRET_LEN], pin_bytes[sizeof pin_] = {};
    kgl_id id;
    if (query < 0 || hash < query || !take_hex(line, static_cast<unsigned>(hash) + 1, key, sizeof key)) {
      return false;
    }
    const String name = line.substring(8, static_cast<unsigned>(query));
    const String parts = line.substring(static_cast<unsigned>(query) + 1, static_cast<unsigned>(hash));
    const String server = part(parts, "server="), pin = part(parts, "pin=");
    const bool has_pin = pin.startsWith("sha256:") && take_hex(pin, 7, pin_bytes, sizeof pin_bytes);
    if (!kgl_id_make(&id, name.c_str()) || server.length() == 0 || (pin.length() > 0 && !has_pin)) {
      return false;
    }
    id_ = name;
    server_ = server;
    memcpy(key_, key, sizeof key_);
    memcpy(pin_, pin_bytes, sizeof pin_);
    has_key_ = true;
    has_pin_ = has_pin;
    preferences_.putString("id", id_);
    preferences_.putString("server", server_);
    preferences_.putString("pin", has_pin ? pin.substring(7) : String(""));
    preferences_.putBytes("key", key_, sizeof key_);
    kgl_wipe(key, sizeof key);
    return true;
  }

  // The value of the part that begins with `name`; empty if there is none.
  static String part(const String &parts, const char *name) {
    String value;
    int at = 0;
    while (!parts.substring(static_cast<unsigned>(at)).startsWith(name)) {
      at = parts.indexOf('&', static_cast<unsigned>(at)) + 1;
      if (at == 0) {
        return value;
      }
    }
    for (unsigned i = static_cast<unsigned>(at) + strlen(name); i < parts.length() && parts[i] != '&'; i++) {
      const int byte = parts[i] == '%' && i + 2 < parts.length() ? hex_byte(parts, i + 1) : -1;
      value += byte < 0 ? parts[i] : static_cast<char>(byte);
      i += byte < 0 ? 0 : 2;
    }
    return value;
  }

  // Exactly `len` bytes from there to the end.
  static bool take_hex(const String &text, unsigned from, uint8_t *out, unsigned len) {
    if (text.length() != from + 2 * len) {
      return false;
    }
    for (unsigned i = 0; i < len; i++) {
      const int byte = hex_byte(text, from + 2 * i);
      if (byte < 0) {
        return false;
      }
      out[i] = static_cast<uint8_t>(byte);
    }
    return true;
  }

  static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  }

  static int hex_byte(const String &text, unsigned at) {
    const int high = hex_digit(text[at]), low = hex_digit(text[at + 1]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
  }

  Preferences preferences_;
  String ssid_, password_, id_, server_, line_;
  uint8_t key_[KGL_SECRET_LEN] = {};
  uint8_t pin_[32] = {};
  bool has_key_ = false;
  bool has_pin_ = false;
};
