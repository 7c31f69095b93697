/* The length that fits itself. Where the length of a code moves what networks say, the encoder has to know it before it
 * writes. It asks the networks once, as if the length said nothing, and then writes for one length after the other until
 * a code is as long as it was written for, or shorter and filled up with zeros. */
#include "kgl_ladder.h"

#define LENGTHS_MAX 4
/* What knowing the length saves, in sixteenths of a bit. */
#define SAVED 48

static uint32_t add(uint32_t a, uint32_t b) {
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

/* Whole bytes of a cost; no code is as long as the limit, which 16 bits hold. */
static size_t bytes_of(uint32_t cost) {
    return cost / 128 < 0xfffe ? (size_t)(cost / 128) : 0xfffe;
}

/* Writes the window as if the code had `code_len` bytes; those it has in `written`. */
static bool write_for(bool (*write)(const kgl_writing *w, kgl_coder *coder), const kgl_writing *w, size_t code_len,
                      uint8_t *out, size_t out_len, size_t *written) {
    kgl_coder coder;
    kgl_coder_init(&coder, out, out_len, true, false, UINT32_MAX);
    /* Nobody reckons with the rests that follow values beside the counts. */
    coder.code_len = w->window->is_beside ? KGL_LEN_UNKNOWN : (uint32_t)code_len;
    return write(w, &coder) && kgl_coder_finish(&coder, written);
}

bool kgl_length(bool (*write)(const kgl_writing *w, kgl_coder *coder), const kgl_writing *w, uint32_t cost_max,
                uint8_t *out, size_t out_len, size_t *code_len) {
    /* Shorter lengths than `shortest` do not fit, and `fits` does. */
    size_t len_max = bytes_of(add(cost_max, KGL_LENGTH_END)), next, shortest = 0, fits = SIZE_MAX, written;
    /* What stands in front, and its bytes. The code that fits is kept at the end, if there is room for both. */
    size_t front = SIZE_MAX, front_len = 0, kept_at = out_len, kept_len;
    kgl_coder coder;
    uint32_t cost;
    uint8_t i;
    kgl_coder_init(&coder, out, out_len, true, true, add(cost_max, 8 * SAVED));
    if (!write(w, &coder)) {
        return false;
    }
    cost = kgl_coder_cost(&coder);
    next = cost > SAVED ? bytes_of(cost - SAVED) : 0;
    for (i = 0; i < LENGTHS_MAX; i++) {
        if (!write_for(write, w, next, out, kept_at, &written)) {
            /* A code as long as that is no reason to end: what was kept is written again. */
            kept_at = out_len;
            if (!write_for(write, w, next, out, out_len, &written)) {
                return false;
            }
        }
        front = next;
        front_len = written;
        if (written <= next) {
            if (next - written <= KGL_PADDING_MAX) {
                fits = next;
                kept_len = 2 * written <= out_len ? written : 0;
                kept_at = out_len - kept_len;
                memmove(out + kept_at, out, kept_len);
            }
            written = written > shortest ? written : shortest;
            if (written >= next) {
                break;
            }
            next = written;
        } else {
            shortest = next + 1;
            if (fits != SIZE_MAX ? shortest >= fits : shortest > len_max) {
                break;
            }
            next = fits != SIZE_MAX && written > fits - 1 ? fits - 1 : written;
        }
    }
    if (fits == SIZE_MAX || fits > len_max) {
        return false;
    }
    if (front != fits) {
        front_len = out_len - kept_at;
        memmove(out, out + kept_at, front_len);
        if (front_len == 0 && !write_for(write, w, fits, out, out_len, &front_len)) {
            return false;
        }
    }
    memset(out + front_len, 0, fits - front_len);
    *code_len = fits;
    return true;
}
