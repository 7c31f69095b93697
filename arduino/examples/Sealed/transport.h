// How frames travel. Write another of these for MQTT, LoRa or anything else that carries bytes.
#pragma once

#include <Kinglet.h>

class Transport {
 public:
  enum Sent { DELIVERED, NOT_DELIVERED, JOIN_REQUIRED };

  virtual ~Transport() {}
  // The server's address, as the provisioning has it.
  virtual void begin(const char *server) = 0;
  // Sends one frame. What the link says of it is a hint: only a sealed answer lets go of readings.
  virtual Sent send(kgl_what what, const uint8_t *frame, size_t len) = 0;
  // Takes the next thing that arrived; its length, 0 if there is none or it does not fit.
  virtual size_t receive(uint8_t *out, size_t room) = 0;
};
