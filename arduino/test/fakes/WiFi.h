// Wi-Fi that is the host's own network: up soon after begin(), while the file named by FAKE_WIFI_DOWN is not there.
#pragma once

#include <Arduino.h>

typedef enum { WL_IDLE_STATUS = 0, WL_CONNECTED = 3, WL_DISCONNECTED = 6 } wl_status_t;

class FakeWiFi {
 public:
  void begin(const char *ssid, const char *password);
  wl_status_t status();

 private:
  bool begun_ = false;
};
extern FakeWiFi WiFi;

class WiFiClient {};
