// The seed's own sketch: a DHT11 on an ESP32, each temperature as two latents in JSON to `POST /decode` of
// `kinglet serve --decode --bundle seed.kinglet` (port 5000).
//
// This hides a reading from who does not look closely. It protects nothing: whoever listens can answer for the server, and
// two known readings give the rest away. The sketch `Sealed` protects.
//
// Connect: DHT11 data to GPIO 4, with 4.7 to 10 kOhm to 3.3 V. Serial monitor at 115200.
// Beside this file lies seed_encoder.h, by `kinglet export seed.kinglet --to arduino`: in the folder Seed the encoder in plain
// C, in SeedTflm the same by TensorFlow Lite Micro. The sketch does not see the difference.
// Once, over the serial monitor:  wifi NAME PASSWORD   and   server http://192.168.1.10:5000

#include <Arduino.h>
#include <DHT.h>
#include <HTTPClient.h>
#include <Preferences.h>
#include <WiFi.h>

#include "seed_encoder.h"

static_assert(SEED_INPUTS == 1, "this sketch sends one temperature at a time");

static const uint8_t DHT_PIN = 4;
// A DHT11 needs a second between two readings.
static const uint32_t PERIOD_MS = 5000;

static DHT dht(DHT_PIN, DHT11);
static Preferences preferences;
static String ssid, password, server, line;
static uint32_t sampled_ms = 0;
static uint32_t wifi_ms = 0;
static bool has_sampled = false;
static bool has_tried = false;

static void take(const String &typed) {
  if (typed.startsWith("wifi ")) {
    const int split = typed.indexOf(' ', 5);
    ssid = split < 0 ? typed.substring(5) : typed.substring(5, static_cast<unsigned>(split));
    password = split < 0 ? String("") : typed.substring(static_cast<unsigned>(split) + 1);
    preferences.putString("ssid", ssid);
    preferences.putString("password", password);
  } else if (typed.startsWith("server ")) {
    server = typed.substring(7);
    preferences.putString("server", server);
  } else {
    Serial.println("not understood");
  }
}

static void read_serial() {
  while (Serial.available() > 0) {
    const char c = static_cast<char>(Serial.read());
    if (c != '\n' && c != '\r') {
      if (line.length() < 200) {
        line += c;
      }
    } else if (line.length() > 0) {
      take(line);
      line = "";
    }
  }
}

static void send(const float *latents) {
  HTTPClient http;
  String url = server;
  url += "/decode";
  if (!http.begin(url)) {
    Serial.println("that is no server's address");
    return;
  }
  String body = "{\"latent_vector\":[";
  for (size_t i = 0; i < SEED_LATENTS; i++) {
    body += i > 0 ? "," : "";
    body += String(latents[i], 6);
  }
  body += "]}";
  http.addHeader("Content-Type", "application/json");
  const int status = http.POST(body);
  Serial.print("answer ");
  Serial.print(status);
  Serial.print(" ");
  Serial.println(http.getString());
  http.end();
}

void setup() {
  Serial.begin(115200);
  dht.begin();
  preferences.begin("kinglet-seed", false);
  ssid = preferences.getString("ssid");
  password = preferences.getString("password");
  server = preferences.getString("server");
  if (ssid.length() == 0 || server.length() == 0) {
    Serial.println("waiting for `wifi NAME PASSWORD` and `server http://ADDRESS:5000`");
  }
}

void loop() {
  read_serial();
  if (WiFi.status() != WL_CONNECTED) {
    if (ssid.length() > 0 && (!has_tried || millis() - wifi_ms >= 20000)) {
      WiFi.begin(ssid.c_str(), password.c_str());
      wifi_ms = millis();
      has_tried = true;
    }
    return;
  }
  if (server.length() == 0 || (has_sampled && millis() - sampled_ms < PERIOD_MS)) {
    return;
  }
  sampled_ms = millis();
  has_sampled = true;
  const float celsius = dht.readTemperature();
  float latents[SEED_LATENTS];
  if (seed_encode(&celsius, latents)) {
    Serial.print("temperature ");
    Serial.println(String(celsius, 1));
    send(latents);
  } else {
    Serial.println("no reading, or one outside of the sensor's range");
  }
}
