// As much of Arduino's Client as the sketches and the fakes use.
#pragma once

#include <Arduino.h>

class Client {
 public:
  virtual ~Client() {}
  // 1 if it is connected, else 0 or below.
  virtual int connect(const char *host, uint16_t port) = 0;
  virtual size_t write(const uint8_t *bytes, size_t len) = 0;
  virtual int available() = 0;
  // What is there of it; -1 if nothing is.
  virtual int read(uint8_t *out, size_t room) = 0;
  virtual uint8_t connected() = 0;
  virtual void stop() = 0;
};
