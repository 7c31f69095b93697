// An HTTP client as the ESP32's: one request a connection, over a real socket.
#pragma once

#include <Arduino.h>
#include <WiFi.h>

#include <string>

// The body of an answer.
class FakeStream {
 public:
  std::string body;
  size_t readBytes(uint8_t *out, size_t len) {
    len = len < body.size() ? len : body.size();
    memcpy(out, body.data(), len);
    return len;
  }
};

class HTTPClient {
 public:
  bool begin(WiFiClient &, const String &url);
  bool begin(const String &url);
  void setTimeout(uint16_t ms) {
    timeout_ms_ = ms;
  }
  void addHeader(const char *name, const char *value);
  void collectHeaders(const char *const names[], size_t n) {
    (void)names;
    (void)n;
  }
  // The status, or below 0 if there was no answer.
  int POST(uint8_t *body, size_t len);
  int POST(const String &body);
  // Length of the body; -1 if the answer does not say it.
  int getSize() const {
    return size_;
  }
  FakeStream *getStreamPtr() {
    return &stream_;
  }
  String getString() const {
    return String(stream_.body);
  }
  String header(const char *name) const;
  void end() {}

 private:
  std::string host_, port_, path_, sent_headers_, headers_;
  FakeStream stream_;
  int size_ = -1;
  uint16_t timeout_ms_ = 5000;
};
