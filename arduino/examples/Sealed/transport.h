// How frames travel. Write another of these for LoRa or anything else that carries bytes.
#pragma once

#include <Kinglet.h>

#include "settings.h"

class Transport {
 public:
  virtual ~Transport() {}
  // Whether this one can reach the server the board was given.
  virtual bool begin(const Settings &settings) = 0;
  // Sends one frame; whether the link says that it was delivered. That is a hint: only a sealed answer lets go of readings.
  virtual bool send(kgl_what what, const uint8_t *frame, size_t len) = 0;
  // Takes the next thing that arrived; its length, 0 if there is none or it does not fit.
  virtual size_t receive(uint8_t *out, size_t room) = 0;

  // Whether the server has asked for a join since this was last called. Another hint.
  bool take_join_hint() {
    const bool is_required = is_join_required_;
    is_join_required_ = false;
    return is_required;
  }

 protected:
  bool is_join_required_ = false;
};
