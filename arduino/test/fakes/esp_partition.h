// Flash with NOR's rules, in a file of FAKE_STORE: programming can only clear bits.
#pragma once

#include <Arduino.h>

typedef int esp_err_t;
#define ESP_OK 0
#define ESP_FAIL (-1)

typedef enum { ESP_PARTITION_TYPE_DATA = 1 } esp_partition_type_t;
typedef enum { ESP_PARTITION_SUBTYPE_ANY = 0xff } esp_partition_subtype_t;

typedef struct {
  uint32_t address;
  uint32_t size;
  char label[17];
} esp_partition_t;

const esp_partition_t *esp_partition_find_first(esp_partition_type_t, esp_partition_subtype_t, const char *label);
esp_err_t esp_partition_read(const esp_partition_t *, size_t at, void *out, size_t len);
esp_err_t esp_partition_write(const esp_partition_t *, size_t at, const void *bytes, size_t len);
esp_err_t esp_partition_erase_range(const esp_partition_t *, size_t at, size_t len);
