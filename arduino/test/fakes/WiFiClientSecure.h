// TLS as the ESP32 has it: by mbedTLS, here the host's, through a real handshake with whoever listens. As there, a client
// that was told neither whom to believe nor setInsecure() does not connect.
#pragma once

#include <WiFi.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>

class WiFiClientSecure : public WiFiClient {
 public:
  WiFiClientSecure();
  ~WiFiClientSecure() override;
  void setInsecure() {
    is_insecure_ = true;
  }
  // SHA-256 of the certificate the server has shown.
  bool getFingerprintSHA256(uint8_t out[32]);
  int connect(const char *host, uint16_t port) override;
  size_t write(const uint8_t *bytes, size_t len) override;

 protected:
  int receive(uint8_t *out, size_t room) override;

 private:
  mbedtls_entropy_context entropy_;
  mbedtls_ctr_drbg_context random_;
  mbedtls_ssl_config config_;
  mbedtls_ssl_context ssl_;
  bool is_insecure_ = false;
};
