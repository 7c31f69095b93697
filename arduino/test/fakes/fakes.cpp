// The fakes' other half, and main(): runs a sketch for FAKE_SECONDS.
#include <Arduino.h>
#include <DHT.h>
#include <HTTPClient.h>
#include <Preferences.h>
#include <WiFi.h>
#include <esp_partition.h>

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

FakeSerial Serial;
FakeWiFi WiFi;

static std::string setting(const char *name) {
  const char *value = getenv(name);
  return value == nullptr ? "" : value;
}

static std::string stored(const std::string &name) {
  return setting("FAKE_STORE") + "/" + name;
}

static std::string read_file(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

static void write_file(const std::string &path, const std::string &bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// --- core ---------------------------------------------------------------------------------------------------------

int FakeSerial::available() {
  pollfd in = {0, POLLIN, 0};
  return poll(&in, 1, 0) > 0 && (in.revents & POLLIN) != 0 ? 1 : 0;
}

int FakeSerial::read() {
  unsigned char c;
  if (::read(0, &c, 1) == 1) {
    return c;
  }
  // Whoever typed has gone: nothing more will come, and a closed line is not asked again.
  close(0);
  open("/dev/null", O_WRONLY);
  return '\n';
}

void FakeSerial::print(const char *text) {
  fputs(text, stdout);
  fflush(stdout);
}

uint32_t millis() {
  static const auto start = std::chrono::steady_clock::now();
  const auto passed = std::chrono::steady_clock::now() - start;
  return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(passed).count());
}

void delay(uint32_t ms) {
  usleep(ms * 1000);
}

void esp_fill_random(void *out, size_t len) {
  FILE *random = fopen("/dev/urandom", "rb");
  if (random == nullptr || fread(out, 1, len, random) != len) {
    abort();
  }
  fclose(random);
}

esp_reset_reason_t esp_reset_reason() {
  return ESP_RST_POWERON;
}

// --- sensor and network --------------------------------------------------------------------------------------------

float DHT::readTemperature() {
  static std::ifstream lines(setting("FAKE_DHT"));
  static std::string line;
  std::string next;
  if (std::getline(lines, next)) {
    line = next;
  }
  const size_t split = line.find(',');
  const std::string humidity = split == std::string::npos ? "" : line.substr(split + 1);
  humidity_ = humidity.empty() ? NAN : strtof(humidity.c_str(), nullptr);
  return split == 0 || line.empty() ? NAN : strtof(line.c_str(), nullptr);
}

float DHT::readHumidity() {
  return humidity_;
}

void FakeWiFi::begin(const char *ssid, const char *) {
  begun_ = ssid[0] != '\0';
}

wl_status_t FakeWiFi::status() {
  const std::string down = setting("FAKE_WIFI_DOWN");
  return begun_ && (down.empty() || access(down.c_str(), F_OK) != 0) ? WL_CONNECTED : WL_DISCONNECTED;
}

bool HTTPClient::begin(const String &url) {
  const std::string text = url.c_str();
  const size_t scheme = text.find("://"), from = scheme == std::string::npos ? 0 : scheme + 3;
  const size_t slash = text.find('/', from), end = slash == std::string::npos ? text.size() : slash;
  const size_t colon = text.find(':', from);
  const bool has_port = colon != std::string::npos && colon < end;
  host_ = text.substr(from, (has_port ? colon : end) - from);
  port_ = has_port ? text.substr(colon + 1, end - colon - 1) : "80";
  path_ = slash == std::string::npos ? "/" : text.substr(slash);
  return text.compare(0, 7, "http://") == 0 && !host_.empty();
}

bool HTTPClient::begin(WiFiClient &, const String &url) {
  return begin(url);
}

void HTTPClient::addHeader(const char *name, const char *value) {
  sent_headers_ += std::string(name) + ": " + value + "\r\n";
}

int HTTPClient::POST(const String &body) {
  std::string bytes(body.c_str(), body.length());
  return POST(reinterpret_cast<uint8_t *>(&bytes[0]), bytes.size());
}

int HTTPClient::POST(uint8_t *body, size_t len) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host_.c_str(), port_.c_str(), &hints, &found) != 0) {
    return -1;
  }
  const int to = socket(found->ai_family, SOCK_STREAM, 0);
  const timeval patience = {timeout_ms_ / 1000, static_cast<suseconds_t>(timeout_ms_ % 1000) * 1000};
  setsockopt(to, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const bool is_connected = connect(to, found->ai_addr, found->ai_addrlen) == 0;
  freeaddrinfo(found);
  std::string request = "POST " + path_ + " HTTP/1.1\r\nHost: " + host_ + ":" + port_ +
                        "\r\nConnection: close\r\nContent-Length: " + std::to_string(len) + "\r\n" + sent_headers_ +
                        "\r\n";
  request.append(reinterpret_cast<const char *>(body), len);
  std::string answer;
  if (is_connected && ::write(to, request.data(), request.size()) == static_cast<ssize_t>(request.size())) {
    char chunk[4096];
    ssize_t n;
    while ((n = ::read(to, chunk, sizeof chunk)) > 0) {
      answer.append(chunk, static_cast<size_t>(n));
    }
  }
  close(to);
  const size_t split = answer.find("\r\n\r\n");
  if (split == std::string::npos || answer.size() < 12) {
    return -1;
  }
  headers_ = answer.substr(0, split + 2);
  stream_.body = answer.substr(split + 4);
  size_ = header("content-length").length() > 0 ? static_cast<int>(header("content-length").toFloat()) : -1;
  return atoi(answer.c_str() + 9);
}

String HTTPClient::header(const char *name) const {
  std::istringstream lines(headers_);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t colon = line.find(':');
    if (colon == strlen(name) && strncasecmp(line.c_str(), name, colon) == 0) {
      const size_t from = line.find_first_not_of(' ', colon + 1);
      const size_t end = line.find_last_not_of("\r\n");
      return String(from == std::string::npos ? std::string() : line.substr(from, end - from + 1));
    }
  }
  return String("");
}

// --- what lasts ------------------------------------------------------------------------------------------------------

String Preferences::getString(const char *key) {
  return String(read_file(stored(name_ + "." + key)));
}

size_t Preferences::putString(const char *key, const String &value) {
  write_file(stored(name_ + "." + key), value.c_str());
  return value.length();
}

size_t Preferences::getBytes(const char *key, void *out, size_t room) {
  const std::string bytes = read_file(stored(name_ + "." + key));
  if (bytes.size() > room) {
    return 0;
  }
  memcpy(out, bytes.data(), bytes.size());
  return bytes.size();
}

size_t Preferences::putBytes(const char *key, const void *bytes, size_t len) {
  write_file(stored(name_ + "." + key), std::string(static_cast<const char *>(bytes), len));
  return len;
}

static const esp_partition_t SPIFFS = {0, 64 * 4096, "spiffs"};

static FILE *flash() {
  static FILE *file = nullptr;
  if (file == nullptr) {
    const std::string path = stored("flash.bin");
    if (access(path.c_str(), F_OK) != 0) {
      write_file(path, std::string(SPIFFS.size, '\xff'));
    }
    file = fopen(path.c_str(), "r+b");
  }
  return file;
}

const esp_partition_t *esp_partition_find_first(esp_partition_type_t, esp_partition_subtype_t, const char *label) {
  return strcmp(label, SPIFFS.label) == 0 ? &SPIFFS : nullptr;
}

esp_err_t esp_partition_read(const esp_partition_t *, size_t at, void *out, size_t len) {
  return at + len <= SPIFFS.size && fseek(flash(), static_cast<long>(at), SEEK_SET) == 0 &&
                 fread(out, 1, len, flash()) == len
             ? ESP_OK
             : ESP_FAIL;
}

esp_err_t esp_partition_write(const esp_partition_t *partition, size_t at, const void *bytes, size_t len) {
  std::vector<uint8_t> cells(len);
  if (esp_partition_read(partition, at, cells.data(), len) != ESP_OK) {
    return ESP_FAIL;
  }
  for (size_t i = 0; i < len; i++) {
    cells[i] = static_cast<uint8_t>(cells[i] & static_cast<const uint8_t *>(bytes)[i]);
  }
  fseek(flash(), static_cast<long>(at), SEEK_SET);
  return fwrite(cells.data(), 1, len, flash()) == len && fflush(flash()) == 0 ? ESP_OK : ESP_FAIL;
}

esp_err_t esp_partition_erase_range(const esp_partition_t *, size_t at, size_t len) {
  if (at % 4096 != 0 || len % 4096 != 0 || at + len > SPIFFS.size) {
    return ESP_FAIL;
  }
  const std::vector<uint8_t> blank(len, 0xff);
  fseek(flash(), static_cast<long>(at), SEEK_SET);
  return fwrite(blank.data(), 1, len, flash()) == len && fflush(flash()) == 0 ? ESP_OK : ESP_FAIL;
}

int main() {
  const uint32_t end = static_cast<uint32_t>(atoi(setting("FAKE_SECONDS").c_str())) * 1000;
  setup();
  while (millis() < end) {
    loop();
    delay(2);
  }
  return 0;
}
