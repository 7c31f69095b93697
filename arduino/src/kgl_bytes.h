/* Numbers in bytes, of any alignment: big-endian on the wire, little-endian in flash. */
#ifndef KGL_BYTES_H
#define KGL_BYTES_H

#include "kgl_base.h"

static inline void kgl_put_be(uint8_t *out, uint64_t x, uint8_t n) {
    while (n > 0) {
        out[--n] = (uint8_t)x;
        x >>= 8;
    }
}

static inline uint64_t kgl_get_be(const uint8_t *at, uint8_t n) {
    uint64_t x = 0;
    uint8_t i;
    for (i = 0; i < n; i++) {
        x = x << 8 | at[i];
    }
    return x;
}

static inline void kgl_put_le(uint8_t *out, uint64_t x, uint8_t n) {
    uint8_t i;
    for (i = 0; i < n; i++) {
        out[i] = (uint8_t)x;
        x >>= 8;
    }
}

static inline uint64_t kgl_get_le(const uint8_t *at, uint8_t n) {
    uint64_t x = 0;
    while (n > 0) {
        x = x << 8 | at[--n];
    }
    return x;
}

#endif
