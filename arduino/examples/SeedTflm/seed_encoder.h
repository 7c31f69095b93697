// The seed's encoder by TensorFlow Lite Micro, for who wants the seed's own runtime, or an int8 encoder.
// Needs the library "TensorFlowLite_ESP32"; its interpreter and all its operators take some 200 kB of flash more than the
// plain C that `Seed` has. encoder_model_data.h, beside this file, was made by `kinglet export`.
#pragma once

#include <TensorFlowLite_ESP32.h>

// It has moved once.
#if __has_include(<tensorflow/lite/micro/all_ops_resolver.h>)
#include <tensorflow/lite/micro/all_ops_resolver.h>
using SeedOperators = tflite::AllOpsResolver;
#else
#include <tensorflow/lite/micro/kernels/all_ops_resolver.h>
using SeedOperators = tflite::ops::micro::AllOpsResolver;
#endif
#include <tensorflow/lite/micro/micro_error_reporter.h>
#include <tensorflow/lite/micro/micro_interpreter.h>
#include <tensorflow/lite/schema/schema_generated.h>

#include <cmath>

#include "encoder_model_data.h"

#define SEED_INPUTS KINGLET_INPUT_LEN
#define SEED_LATENTS KINGLET_LATENT_LEN
// What tensors lie in. The seed's network takes 2 kB; a larger one says at its first reading that it needs more.
#ifndef SEED_ARENA_LEN
#define SEED_ARENA_LEN 8192
#endif

// The interpreter, or nullptr if it cannot run the model; then it has said why.
inline tflite::MicroInterpreter *seed_interpreter() {
  alignas(16) static uint8_t arena[SEED_ARENA_LEN];
  static tflite::MicroErrorReporter reporter;
  static SeedOperators operators;
  static const tflite::Model *const model = tflite::GetModel(g_encoder_model_data);
  static tflite::MicroInterpreter interpreter(model, operators, arena, sizeof arena, &reporter);
  static const bool is_ready = interpreter.AllocateTensors() == kTfLiteOk;
  return is_ready ? &interpreter : nullptr;
}

// `values` of SEED_INPUTS readings to SEED_LATENTS latents; false for a reading that is none or outside of the sensor's
// range, and if the model does not run.
inline bool seed_encode(const float *values, float *latents) {
  tflite::MicroInterpreter *interpreter = seed_interpreter();
  if (interpreter == nullptr) {
    return false;
  }
  static const float ranges[][2] = KINGLET_RANGES;
  TfLiteTensor *input = interpreter->input(0), *output = interpreter->output(0);
  for (int i = 0; i < SEED_INPUTS; i++) {
    const float *range = ranges[i % KINGLET_CHANNELS], low = range[0], high = range[1];
    if (!(values[i] >= low && values[i] <= high)) {
      return false;
    }
    const float scaled = (values[i] - low) / (high - low);
    if (input->type == kTfLiteInt8) {
      const long q = std::lround(scaled / input->params.scale) + input->params.zero_point;
      input->data.int8[i] = static_cast<int8_t>(q < -128 ? -128 : q > 127 ? 127 : q);
    } else {
      input->data.f[i] = scaled;
    }
  }
  if (interpreter->Invoke() != kTfLiteOk) {
    return false;
  }
  for (int i = 0; i < SEED_LATENTS; i++) {
    latents[i] = output->type == kTfLiteInt8
                     ? static_cast<float>(output->data.int8[i] - output->params.zero_point) * output->params.scale
                     : output->data.f[i];
  }
  return true;
}
