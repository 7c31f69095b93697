// A DHT22 on an ESP32: readings leave as a few sealed bytes, and what the server has not acknowledged waits in flash.
//
// Connect: DHT22 data to GPIO 4, with 4.7 to 10 kOhm to 3.3 V. Serial monitor at 115200.
// Once, over the serial monitor, a line each:
//   wifi NAME PASSWORD
//   the line that `kinglet device add porch --bundle dht22.kinglet --server mqtts://192.168.1.10:8883` printed
// The address says how frames travel: mqtts:// (MQTT by TLS, the certificate pinned), mqtt:// or http://. All of it is kept
// in the board's own storage; no key is part of the program. `flush` sends at once what was read, `stats` shows where the
// board stands. Libraries: "DHT sensor library", and "MQTT" by Joel Gaehwiler, 2.5 or later.
//
// The library's folder holds the bundle (src/kinglet_bundle.h), made by `kinglet export dht22.kinglet --to arduino`.

#include <Arduino.h>
#include <DHT.h>
#include <Kinglet.h>
#include <WiFi.h>
#include <kinglet_bundle.h>

#include <cmath>

#include "flash_esp32.h"
#include "http_transport.h"
#include "mqtt_transport.h"
#include "settings.h"

static const uint8_t DHT_PIN = 4;
static const size_t N_CHANNELS = 2;
static_assert(KINGLET_N_CHANNELS == N_CHANNELS,
              "the bundle is not for temperature and humidity: change take_sample for your sensor");

static DHT dht(DHT_PIN, DHT22);
static Settings settings;
static HttpTransport http;
static MqttTransport mqtt;
static Transport *transport = nullptr;

static kgl_flash flash_region;
static kgl_model model;
static kgl_node node;
static bool node_is_open = false;
static int32_t steps[KINGLET_STEPS_LEN];
static int32_t workspace[KINGLET_WORKSPACE_LEN];
static uint8_t code[KINGLET_CODES_LEN_MAX + KGL_CODE_OVERHEAD];
static uint8_t frame[KGL_FRAME_LEN_MAX(KINGLET_CODE_LEN_MAX)];
static uint64_t next_sample_ms = 0;
static uint64_t next_wifi_ms = 0;
static bool was_up = false;

// Milliseconds since the start; millis() alone begins anew after 49 days.
static uint64_t now_ms() {
  static uint32_t last = 0;
  static uint64_t wraps = 0;
  const uint32_t now = millis();
  wraps += now < last ? 1 : 0;
  last = now;
  return (wraps << 32) | now;
}

static void random_bytes(void *, uint8_t *out, size_t len) {
  esp_fill_random(out, len);
}

static void say(const char *what, kgl_status status) {
  Serial.print(what);
  Serial.print(": error ");
  Serial.println(static_cast<int>(status));
}

static kgl_reset reset_reason() {
  switch (esp_reset_reason()) {
    case ESP_RST_POWERON: return KGL_RESET_POWER_ON;
    case ESP_RST_EXT: return KGL_RESET_PIN;
    case ESP_RST_SW: return KGL_RESET_SOFTWARE;
    case ESP_RST_TASK_WDT:
    case ESP_RST_INT_WDT:
    case ESP_RST_WDT: return KGL_RESET_WATCHDOG;
    case ESP_RST_BROWNOUT: return KGL_RESET_BROWNOUT;
    case ESP_RST_PANIC: return KGL_RESET_PANIC;
    case ESP_RST_DEEPSLEEP: return KGL_RESET_SLEEP;
    default: return KGL_RESET_UNKNOWN;
  }
}

static void open_node() {
  kgl_buffers buffers;
  kgl_config config = kgl_config_default();
  if (!settings.is_provisioned() || node_is_open) {
    return;
  }
  transport = http.begin(settings) ? static_cast<Transport *>(&http) : mqtt.begin(settings) ? &mqtt : nullptr;
  if (transport == nullptr) {
    Serial.println("the server's address is none of mqtts:// (with a pin), mqtt:// and http://");
    return;
  }
  config.reset = reset_reason();
  buffers.steps = steps;
  buffers.steps_len = sizeof steps / sizeof *steps;
  buffers.workspace = workspace;
  buffers.workspace_len = sizeof workspace / sizeof *workspace;
  buffers.code = code;
  buffers.code_len = sizeof code;
  kgl_status status = flash_esp32(&flash_region);
  if (status == KGL_OK) {
    status = kgl_node_open(&node, &flash_region, random_bytes, nullptr, settings.id(), settings.key(), &model,
                           &buffers, &config);
  }
  if (status != KGL_OK) {
    say("the outbox does not open", status);
    return;
  }
  node_is_open = true;
  Serial.print("ready as ");
  Serial.println(settings.id());
}

// A reading as the sensor gave it: tenths, and none if it gave none.
static kgl_reading tenths(float value) {
  return std::isnan(value) ? kgl_no_reading() : kgl_reading_of(std::lround(value * 10.0f), 1);
}

static void take_sample(uint64_t now) {
  const kgl_reading readings[N_CHANNELS] = {tenths(dht.readTemperature()), tenths(dht.readHumidity())};
  const kgl_status status = kgl_node_sample(&node, now, readings, N_CHANNELS);
  if (status != KGL_OK) {
    say("a sample was not taken", status);
  }
}

// Everything that arrived. Whoever sent it, the node looks at it safely.
static void take_downlinks(uint64_t now) {
  static uint8_t downlink[256];
  size_t len;
  while ((len = transport->receive(downlink, sizeof downlink)) > 0) {
    kgl_downlink did;
    if (kgl_node_downlink(&node, now, downlink, len, &did) == KGL_OK && did == KGL_DOWNLINK_JOINED) {
      Serial.println("joined");
    }
  }
  if (transport->take_join_hint()) {
    kgl_node_join_hint(&node, now);
  }
}

// All frames that are due.
static void exchange(uint64_t now) {
  kgl_transmit transmit;
  while (kgl_node_poll_at(&node) <= now) {
    const kgl_status status = kgl_node_poll(&node, now, frame, sizeof frame, &transmit);
    if (status != KGL_OK || transmit.what == KGL_WHAT_NOTHING) {
      break;
    }
    const bool is_delivered = transport->send(transmit.what, frame, transmit.len);
    if (is_delivered) {
      kgl_node_receipt(&node, now, &transmit);
    }
    take_downlinks(now);
    if (!is_delivered) {
      return;
    }
  }
}

static void keep_link(uint64_t now) {
  const bool is_up = WiFi.status() == WL_CONNECTED;
  if (is_up && !was_up) {
    Serial.println("Wi-Fi is up");
    kgl_node_link_up(&node, now);
  }
  was_up = is_up;
  if (!is_up && settings.has_wifi() && now >= next_wifi_ms) {
    WiFi.begin(settings.ssid(), settings.password());
    next_wifi_ms = now + 20000;
  }
}

static void show_stats() {
  const kgl_stats stats = kgl_node_stats(&node);
  Serial.print("boot ");
  Serial.print(stats.boot);
  Serial.print(", samples open ");
  Serial.print(static_cast<uint32_t>(stats.n_samples_open));
  Serial.print(", windows waiting ");
  Serial.print(stats.n_windows_waiting);
  Serial.print(", lost ");
  Serial.println(stats.windows_lost);
}

void setup() {
  Serial.begin(115200);
  dht.begin();
  settings.begin();
  const kgl_status status = kgl_model_parse(&model, kinglet_bundle, KINGLET_BUNDLE_LEN);
  if (status != KGL_OK) {
    say("the bundle is damaged", status);
    return;
  }
  open_node();
}

void loop() {
  switch (settings.read_line()) {
    case Settings::CHANGED: open_node(); break;
    case Settings::FLUSH:
      if (node_is_open) {
        (void)kgl_node_flush(&node, now_ms());
      }
      break;
    case Settings::STATS:
      if (node_is_open) {
        show_stats();
      }
      break;
    case Settings::NOTHING: break;
  }
  if (!node_is_open) {
    return;
  }
  const uint64_t now = now_ms();
  if (now >= next_sample_ms) {
    // On the period's own beat, however long the last turn took.
    next_sample_ms += model.period_ms;
    next_sample_ms = next_sample_ms > now ? next_sample_ms : now + model.period_ms;
    take_sample(now);
  }
  keep_link(now);
  if (was_up) {
    exchange(now);
    take_downlinks(now);
  }
}
