// A DHT that reads what the file named by FAKE_DHT says, a line `temperature,humidity` a sample; the last line stays. An
// empty field is a reading the sensor did not give.
#pragma once

#include <Arduino.h>

#define DHT11 11
#define DHT22 22

class DHT {
 public:
  DHT(uint8_t, uint8_t) {}
  void begin() {}
  // A new line with each temperature, as the sensor measures once for both.
  float readTemperature();
  float readHumidity();

 private:
  float humidity_ = NAN;
};
