#include "kgl_base.h"

uint8_t kgl_ilog2(uint32_t x) {
    uint8_t n = 0;
    if (x >= UINT32_C(1) << 16) {
        x >>= 16;
        n = 16;
    }
    if (x >= 1U << 8) {
        x >>= 8;
        n = (uint8_t)(n + 8);
    }
    if (x >= 1U << 4) {
        x >>= 4;
        n = (uint8_t)(n + 4);
    }
    if (x >= 1U << 2) {
        x >>= 2;
        n = (uint8_t)(n + 2);
    }
    return (uint8_t)(n + (x >> 1));
}

uint64_t kgl_div_u64(uint64_t a, uint32_t b) {
    uint64_t rest = 0;
    uint8_t i;
    if (a <= UINT32_MAX) {
        return (uint32_t)a / b;
    }
    for (i = 0; i < 64; i++) {
        rest = rest << 1 | a >> 63;
        a <<= 1;
        if (rest >= b) {
            rest -= b;
            a |= 1;
        }
    }
    return a;
}

void kgl_wipe(void *at, size_t len) {
    volatile uint8_t *byte = (volatile uint8_t *)at;
    while (len > 0) {
        *byte++ = 0;
        len--;
    }
}
