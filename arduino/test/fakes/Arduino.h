// As much of an ESP32's Arduino core as the sketches use, working, on a host. millis() is the real clock; the serial
// line is standard input and output.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

class String {
 public:
  String(const char *text = "") : text_(text) {}
  explicit String(const std::string &text) : text_(text) {}
  explicit String(float value, unsigned digits) {
    char out[48];
    snprintf(out, sizeof out, "%.*f", static_cast<int>(digits), static_cast<double>(value));
    text_ = out;
  }
  unsigned length() const {
    return static_cast<unsigned>(text_.size());
  }
  const char *c_str() const {
    return text_.c_str();
  }
  char operator[](unsigned at) const {
    return at < text_.size() ? text_[at] : '\0';
  }
  String &operator+=(const char *more) {
    text_ += more;
    return *this;
  }
  String &operator+=(const String &more) {
    text_ += more.text_;
    return *this;
  }
  String &operator+=(char more) {
    text_ += more;
    return *this;
  }
  bool operator==(const char *other) const {
    return text_ == other;
  }
  bool startsWith(const char *head) const {
    return text_.compare(0, strlen(head), head) == 0;
  }
  int indexOf(char wanted, unsigned from = 0) const {
    return found(text_.find(wanted, from));
  }
  int indexOf(const char *wanted, unsigned from = 0) const {
    return found(text_.find(wanted, from));
  }
  String substring(unsigned from) const {
    return String(from < text_.size() ? text_.substr(from) : std::string());
  }
  String substring(unsigned from, unsigned to) const {
    return String(from < text_.size() && to > from ? text_.substr(from, to - from) : std::string());
  }
  long toInt() const {
    return strtol(text_.c_str(), nullptr, 10);
  }
  float toFloat() const {
    return strtof(text_.c_str(), nullptr);
  }

 private:
  static int found(size_t at) {
    return at == std::string::npos ? -1 : static_cast<int>(at);
  }
  std::string text_;
};

class FakeSerial {
 public:
  void begin(unsigned long) {}
  int available();
  int read();
  void print(const char *text);
  void print(uint32_t n) {
    print(std::to_string(n).c_str());
  }
  void print(int n) {
    print(std::to_string(n).c_str());
  }
  void print(float value, int digits = 2) {
    print(String(value, static_cast<unsigned>(digits)).c_str());
  }
  void print(const String &text) {
    print(text.c_str());
  }
  template <typename T>
  void println(const T &value) {
    print(value);
    print("\n");
  }
};
extern FakeSerial Serial;

uint32_t millis();
void delay(uint32_t ms);
void esp_fill_random(void *out, size_t len);

typedef enum {
  ESP_RST_UNKNOWN,
  ESP_RST_POWERON,
  ESP_RST_EXT,
  ESP_RST_SW,
  ESP_RST_PANIC,
  ESP_RST_INT_WDT,
  ESP_RST_TASK_WDT,
  ESP_RST_WDT,
  ESP_RST_DEEPSLEEP,
  ESP_RST_BROWNOUT
} esp_reset_reason_t;
esp_reset_reason_t esp_reset_reason();

void setup();
void loop();
