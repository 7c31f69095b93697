// The connections of the fakes: TCP, TLS, and MQTT above them.
#include <MQTT.h>
#include <WiFi.h>
#include <WiFiClientSecure.h>

#include <mbedtls/net_sockets.h>
#include <mbedtls/sha256.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

// --- TCP --------------------------------------------------------------------------------------------------------------

int WiFiClient::connect(const char *host, uint16_t port) {
  addrinfo hints = {}, *found = nullptr;
  WiFiClient::stop();
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, std::to_string(port).c_str(), &hints, &found) != 0) {
    return 0;
  }
  socket_ = socket(found->ai_family, SOCK_STREAM, 0);
  const bool is_connected = ::connect(socket_, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  if (!is_connected) {
    WiFiClient::stop();
  }
  return is_connected ? 1 : 0;
}

size_t WiFiClient::write(const uint8_t *bytes, size_t len) {
  const ssize_t n = send(socket_, bytes, len, MSG_NOSIGNAL);
  return n > 0 ? static_cast<size_t>(n) : 0;
}

int WiFiClient::receive(uint8_t *out, size_t room) {
  return static_cast<int>(recv(socket_, out, room, 0));
}

void WiFiClient::take_in() {
  pollfd readable = {socket_, POLLIN, 0};
  while (socket_ >= 0 && !has_ended_ && poll(&readable, 1, 0) > 0) {
    // A whole record of TLS, so that none of it stays behind where poll() does not see it.
    uint8_t chunk[16384];
    const int n = receive(chunk, sizeof chunk);
    has_ended_ = n <= 0;
    in_.append(reinterpret_cast<char *>(chunk), n > 0 ? static_cast<size_t>(n) : 0);
  }
}

int WiFiClient::available() {
  take_in();
  return static_cast<int>(in_.size());
}

int WiFiClient::read(uint8_t *out, size_t room) {
  take_in();
  const size_t len = in_.size() < room ? in_.size() : room;
  memcpy(out, in_.data(), len);
  in_.erase(0, len);
  return len > 0 ? static_cast<int>(len) : -1;
}

uint8_t WiFiClient::connected() {
  take_in();
  return socket_ >= 0 && (!has_ended_ || !in_.empty()) ? 1 : 0;
}

void WiFiClient::stop() {
  if (socket_ >= 0) {
    close(socket_);
  }
  socket_ = -1;
  in_.clear();
  has_ended_ = false;
}

// --- TLS --------------------------------------------------------------------------------------------------------------

static int tls_send(void *socket, const unsigned char *bytes, size_t len) {
  const ssize_t n = send(*static_cast<int *>(socket), bytes, len, MSG_NOSIGNAL);
  return n < 0 ? MBEDTLS_ERR_NET_SEND_FAILED : static_cast<int>(n);
}

static int tls_receive(void *socket, unsigned char *out, size_t room) {
  const ssize_t n = recv(*static_cast<int *>(socket), out, room, 0);
  return n < 0 ? MBEDTLS_ERR_NET_RECV_FAILED : static_cast<int>(n);
}

WiFiClientSecure::WiFiClientSecure() {
  mbedtls_entropy_init(&entropy_);
  mbedtls_ctr_drbg_init(&random_);
  mbedtls_ssl_config_init(&config_);
  mbedtls_ssl_init(&ssl_);
  mbedtls_ctr_drbg_seed(&random_, mbedtls_entropy_func, &entropy_, nullptr, 0);
}

WiFiClientSecure::~WiFiClientSecure() {
  WiFiClient::stop();
  mbedtls_ssl_free(&ssl_);
  mbedtls_ssl_config_free(&config_);
  mbedtls_ctr_drbg_free(&random_);
  mbedtls_entropy_free(&entropy_);
}

int WiFiClientSecure::connect(const char *host, uint16_t port) {
  WiFiClient::stop();
  if (!is_insecure_ || WiFiClient::connect(host, port) <= 0) {
    return 0;
  }
  mbedtls_ssl_free(&ssl_);
  mbedtls_ssl_config_free(&config_);
  mbedtls_ssl_config_init(&config_);
  mbedtls_ssl_init(&ssl_);
  mbedtls_ssl_config_defaults(&config_, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT);
  mbedtls_ssl_conf_authmode(&config_, MBEDTLS_SSL_VERIFY_NONE);
  mbedtls_ssl_conf_rng(&config_, mbedtls_ctr_drbg_random, &random_);
  mbedtls_ssl_set_bio(&ssl_, &socket_, tls_send, tls_receive, nullptr);
  if (mbedtls_ssl_setup(&ssl_, &config_) != 0 || mbedtls_ssl_set_hostname(&ssl_, host) != 0 ||
      mbedtls_ssl_handshake(&ssl_) != 0) {
    WiFiClient::stop();
    return 0;
  }
  return 1;
}

bool WiFiClientSecure::getFingerprintSHA256(uint8_t out[32]) {
  const mbedtls_x509_crt *shown = mbedtls_ssl_get_peer_cert(&ssl_);
  return shown != nullptr && mbedtls_sha256_ret(shown->raw.p, shown->raw.len, out, 0) == 0;
}

size_t WiFiClientSecure::write(const uint8_t *bytes, size_t len) {
  const int n = mbedtls_ssl_write(&ssl_, bytes, len);
  return n > 0 ? static_cast<size_t>(n) : 0;
}

int WiFiClientSecure::receive(uint8_t *out, size_t room) {
  return mbedtls_ssl_read(&ssl_, out, room);
}

// --- MQTT -------------------------------------------------------------------------------------------------------------

static std::string two(size_t n) {
  return {static_cast<char>(n >> 8 & 255), static_cast<char>(n & 255)};
}

static std::string text(const char *of) {
  return two(strlen(of)) + of;
}

void MQTTClient::begin(const char host[], int port, Client &net) {
  host_ = host;
  port_ = static_cast<uint16_t>(port);
  net_ = &net;
}

void MQTTClient::setOptions(int keep_alive_s, bool clean_session, int timeout_ms) {
  keep_alive_s_ = static_cast<uint16_t>(keep_alive_s);
  clean_session_ = clean_session;
  timeout_ms_ = static_cast<uint32_t>(timeout_ms);
}

bool MQTTClient::connect(const char id[], const char username[], const char password[], bool skip) {
  std::string answer;
  if (!skip && net_->connect(host_.c_str(), port_) <= 0) {
    return false;
  }
  const char flags = static_cast<char>(0xC0 | (clean_session_ ? 2 : 0));
  const std::string body = text("MQTT") + '\4' + flags + two(keep_alive_s_) + text(id) + text(username) + text(password);
  is_connected_ = send(0x10, body) && wait(0x20, &answer) && answer.size() == 2 && answer[1] == 0;
  return is_connected_ || close();
}

bool MQTTClient::subscribe(const char topic[], int qos) {
  std::string answer;
  const bool is_granted = connected() &&
                          send(0x82, two(++packet_id_) + text(topic) + static_cast<char>(qos)) && wait(0x90, &answer) &&
                          answer.size() == 3 && (answer[2] & 0x80) == 0;
  return is_granted || close();
}

bool MQTTClient::publish(const char topic[], const char payload[], int length, bool retained, int qos) {
  std::string answer, body = text(topic);
  if (!connected()) {
    return false;
  }
  body += qos > 0 ? two(++packet_id_) : "";
  body.append(payload, static_cast<size_t>(length));
  const uint8_t first = static_cast<uint8_t>(0x30 | qos << 1 | (retained ? 1 : 0));
  return (send(first, body) && (qos == 0 || wait(0x40, &answer))) || close();
}

bool MQTTClient::loop() {
  std::string body;
  uint8_t first;
  while (connected() && net_->available() > 0) {
    if (!packet(&first, &body)) {
      return close();
    }
  }
  return connected() && (millis() - sent_ms_ < keep_alive_s_ * 1000U || send(0xC0, "") || close());
}

bool MQTTClient::connected() {
  return net_ != nullptr && net_->connected() == 1 && is_connected_;
}

bool MQTTClient::send(uint8_t first, const std::string &body) {
  std::string bytes(1, static_cast<char>(first));
  size_t len = body.size();
  do {
    bytes += static_cast<char>((len & 127) | (len > 127 ? 128 : 0));
    len >>= 7;
  } while (len > 0);
  bytes += body;
  sent_ms_ = millis();
  return bytes.size() <= buffer_len_ &&
         net_->write(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size()) == bytes.size();
}

bool MQTTClient::wait(uint8_t kind, std::string *body) {
  uint8_t first = 0;
  while (first != kind) {
    if (!packet(&first, body)) {
      return false;
    }
  }
  return true;
}

bool MQTTClient::packet(uint8_t *first, std::string *body) {
  uint8_t part = 0x80;
  size_t len = 0;
  if (!read(first, 1)) {
    return false;
  }
  for (unsigned shift = 0; part & 0x80 && shift < 28; shift += 7) {
    if (!read(&part, 1)) {
      return false;
    }
    len |= static_cast<size_t>(part & 0x7F) << shift;
  }
  if (len > buffer_len_) {
    return false;
  }
  body->resize(len);
  if (!read(&(*body)[0], len)) {
    return false;
  }
  if (*first >> 4 == 3) {
    message(*first, *body);
  }
  return true;
}

bool MQTTClient::read(void *out, size_t len) {
  uint8_t *at = static_cast<uint8_t *>(out);
  const uint32_t start = millis();
  while (len > 0) {
    const int n = net_->read(at, len);
    if (n > 0) {
      at += n;
      len -= static_cast<size_t>(n);
    } else if (net_->connected() == 0 || millis() - start > timeout_ms_) {
      return false;
    } else {
      delay(1);
    }
  }
  return true;
}

void MQTTClient::message(uint8_t first, const std::string &body) {
  const size_t topic_len = body.size() < 2 ? 0 : static_cast<uint8_t>(body[0]) << 8 | static_cast<uint8_t>(body[1]);
  const size_t from = 2 + topic_len + ((first & 6) != 0 ? 2 : 0);
  if (body.size() >= from && callback_ != nullptr) {
    std::string topic = body.substr(2, topic_len), payload = body.substr(from);
    callback_(this, &topic[0], &payload[0], static_cast<int>(payload.size()));
  }
}

bool MQTTClient::close() {
  is_connected_ = false;
  net_->stop();
  return false;
}
