// Wi-Fi that is the host's own network: up soon after begin(), while the file named by FAKE_WIFI_DOWN is not there.
#pragma once

#include <Arduino.h>
#include <Client.h>

#include <string>

typedef enum { WL_IDLE_STATUS = 0, WL_CONNECTED = 3, WL_DISCONNECTED = 6 } wl_status_t;

class FakeWiFi {
 public:
  void begin(const char *ssid, const char *password);
  wl_status_t status();

 private:
  bool begun_ = false;
};
extern FakeWiFi WiFi;

// A TCP connection, over a real socket.
class WiFiClient : public Client {
 public:
  ~WiFiClient() override {
    WiFiClient::stop();
  }
  int connect(const char *host, uint16_t port) override;
  size_t write(const uint8_t *bytes, size_t len) override;
  int available() override;
  int read(uint8_t *out, size_t room) override;
  uint8_t connected() override;
  void stop() override;

 protected:
  // What the socket has; blocks until there is something. 0 or less: it has ended.
  virtual int receive(uint8_t *out, size_t room);

  int socket_ = -1;

 private:
  void take_in();

  std::string in_;
  bool has_ended_ = false;
};
