// The outbox's flash: a partition called `kinglet`, or else the one called `spiffs`, which every default layout has and
// this sketch has no other use for. It is used raw: whatever was in it is gone.
#pragma once

#include <Kinglet.h>
#include <esp_partition.h>

inline bool flash_esp32_read(void *context, uint32_t at, uint8_t *out, size_t len) {
  return esp_partition_read(static_cast<const esp_partition_t *>(context), at, out, len) == ESP_OK;
}

inline bool flash_esp32_program(void *context, uint32_t at, const uint8_t *bytes, size_t len) {
  return esp_partition_write(static_cast<const esp_partition_t *>(context), at, bytes, len) == ESP_OK;
}

inline bool flash_esp32_erase(void *context, uint32_t at) {
  return esp_partition_erase_range(static_cast<const esp_partition_t *>(context), at, 4096) == ESP_OK;
}

inline kgl_status flash_esp32(kgl_flash *flash) {
  const esp_partition_t *found =
      esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, "kinglet");
  if (found == nullptr) {
    found = esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, "spiffs");
  }
  if (found == nullptr) {
    return KGL_ERR_FLASH;
  }
  flash->context = const_cast<esp_partition_t *>(found);
  flash->sector_len = 4096;
  // A megabyte holds months of a DHT22; finding the ring at boot reads a little of each sector.
  flash->n_sectors = found->size / 4096 < 256 ? found->size / 4096 : 256;
  flash->write_len = 4;
  flash->read = flash_esp32_read;
  flash->program = flash_esp32_program;
  flash->erase = flash_esp32_erase;
  return KGL_OK;
}
