// The encoder alone, on any board: made-up readings become windows, each window a code, each code a line of hexadecimal
// on the serial line at 115200. The same readings give the same lines on every board.
//
// An ATmega1284P has room for this, an ATmega328P (Uno) has not.

#include <Arduino.h>
#include <Kinglet.h>
#include <kinglet_bundle.h>

static const uint8_t N_WINDOWS = 6;

static kgl_model model;
static int32_t steps[KINGLET_N_SAMPLES * KINGLET_N_CHANNELS];
static int32_t workspace[KINGLET_WORKSPACE_LEN];
static uint8_t code[KINGLET_CODE_LEN_MAX];
static uint8_t n_done = 0;
static uint32_t dice = 1;

// Slow walks with a jump now and then.
static int32_t next_reading(uint8_t channel) {
  static int32_t at[KINGLET_N_CHANNELS];
  dice = dice * UINT32_C(1664525) + UINT32_C(1013904223);
  at[channel] += static_cast<int32_t>(dice >> 24) % 7 - 3;
  at[channel] += (dice >> 16 & 63) == 0 ? 40 : 0;
  return 200 + at[channel];
}

static void print_hex(uint8_t byte) {
  static const char digits[] = "0123456789abcdef";
  const char text[] = {digits[byte >> 4], digits[byte & 15], '\0'};
  Serial.print(text);
}

void setup() {
  Serial.begin(115200);
  const kgl_status status = kgl_model_parse(&model, kinglet_bundle, KINGLET_BUNDLE_LEN);
  if (status != KGL_OK) {
    Serial.println("the bundle is refused");
    n_done = N_WINDOWS;
  }
}

void loop() {
  if (n_done == N_WINDOWS) {
    return;
  }
  // Some windows are short: cut by a gap, a delay, or somebody who waits.
  const size_t n_samples = n_done % 3 == 2 ? 1 + KINGLET_N_SAMPLES / 2 : KINGLET_N_SAMPLES;
  const size_t n_values = n_samples * KINGLET_N_CHANNELS;
  bool off_grid = false;
  size_t len = 0;
  for (size_t at = 0; at < n_values; at++) {
    const uint8_t channel = static_cast<uint8_t>(at % KINGLET_N_CHANNELS);
    bool is_exact;
    steps[at] = kgl_quantise(&model, channel, kgl_reading_of(next_reading(channel), 1), &is_exact);
    off_grid = off_grid || !is_exact;
  }
  if (kgl_encode(&model, steps, n_values, off_grid, workspace, KINGLET_WORKSPACE_LEN, code, sizeof code, &len,
                 nullptr) != KGL_OK) {
    Serial.println("a window was not encoded");
  }
  for (size_t at = 0; at < len; at++) {
    print_hex(code[at]);
  }
  Serial.println("");
  n_done++;
  if (n_done == N_WINDOWS) {
    Serial.println("done");
  }
}
