/* What every part shares: status codes, where constants live, little helpers.
 *
 * The library needs C99, `>>` of negative numbers that rounds down (every compiler for a chip does that; checked
 * below) and two's complement. It is safe where `int` has 16 bits, reads nothing unaligned, allocates nothing and
 * computes with integers only.
 */
#ifndef KGL_BASE_H
#define KGL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call says. Flat, so that it costs a byte on a chip. */
typedef enum kgl_status {
    KGL_OK = 0,
    /* Model bytes: not a Kinglet model; of a format this library does not know; cut short or contradicting itself. */
    KGL_ERR_MAGIC,
    KGL_ERR_VERSION,
    KGL_ERR_MODEL,
    /* The window is empty, longer than the bundle's, not whole samples, or has a step no grid gives. */
    KGL_ERR_WINDOW,
    /* A buffer is shorter than the call asks for. */
    KGL_ERR_BUFFER,
    /* A frame does not open, or is none. */
    KGL_ERR_OPEN,
    /* Flash: a read or write failed; an address or sector length does not fit; bytes were not erased. */
    KGL_ERR_FLASH,
    KGL_ERR_FLASH_RANGE,
    /* The region holds something that is not this version's outbox: erase it to begin a new one. */
    KGL_ERR_FOREIGN,
    /* Windows of 16 older bundles still wait. Let them be acked before another bundle is used. */
    KGL_ERR_SLOTS,
    /* The sample was not taken: the window before it is full, and flash does not take that. */
    KGL_ERR_SAMPLE_REFUSED,
    /* The sample has not as many readings as the model has channels, or a time that is none. */
    KGL_ERR_SAMPLE,
    /* The code of one sample alone is longer than a frame may take; that sample was left out. */
    KGL_ERR_CODE_TOO_LONG,
    /* A device id, key or setting that cannot be. */
    KGL_ERR_SETTING,
    /* All counters of a generation are used up; the device joins anew. */
    KGL_ERR_EXHAUSTED
} kgl_status;

/* Where constants stand. On AVR and ESP8266 they stay in flash and are read through their own instructions. Declare a
 * bundle as `static const uint8_t bundle[] KGL_PROGMEM = {...};`. */
#if defined(__AVR__)
#include <avr/pgmspace.h>
#define KGL_PROGMEM PROGMEM
#elif defined(ESP8266)
#include <pgmspace.h>
#define KGL_PROGMEM PROGMEM
#endif
#ifdef KGL_PROGMEM
#define KGL_ROM_U8(p) ((uint8_t)pgm_read_byte(p))
#define KGL_ROM_U16(p) ((uint16_t)pgm_read_word(p))
#define KGL_ROM_U32(p) ((uint32_t)pgm_read_dword(p))
#else
#define KGL_PROGMEM
#define KGL_ROM_U8(p) (*(p))
#define KGL_ROM_U16(p) (*(p))
#define KGL_ROM_U32(p) (*(p))
#endif

typedef char kgl_shift_rounds_down[((-3) >> 1) == -2 ? 1 : -1];

/* Differences as the other ends compute them: they wrap. */
static inline int32_t kgl_sub(int32_t a, int32_t b) {
    return (int32_t)((uint32_t)a - (uint32_t)b);
}

static inline int32_t kgl_clamp(int32_t x, int32_t low, int32_t high) {
    return x < low ? low : x > high ? high : x;
}

static inline uint32_t kgl_abs(int32_t x) {
    return x < 0 ? 0U - (uint32_t)x : (uint32_t)x;
}

/* Position of the highest bit; 0 for 0. */
uint8_t kgl_ilog2(uint32_t x);

/* a / b for b > 0, bit by bit: needed seldom, and a compiler's 64-bit division takes 700 bytes of flash. */
uint64_t kgl_div_u64(uint64_t a, uint32_t b);

/* Fills with zeros in a way no compiler leaves out: for secrets. */
void kgl_wipe(void *at, size_t len);

#ifdef __cplusplus
}
#endif
#endif
