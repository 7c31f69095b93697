// Settings that last, in a folder named by FAKE_STORE.
#pragma once

#include <Arduino.h>

class Preferences {
 public:
  bool begin(const char *name, bool) {
    name_ = name;
    return true;
  }
  String getString(const char *key);
  size_t putString(const char *key, const String &value);
  size_t getBytes(const char *key, void *out, size_t room);
  size_t putBytes(const char *key, const void *bytes, size_t len);

 private:
  std::string name_;
};
