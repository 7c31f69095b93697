/* How many samples of a growing window fit a code of a given length, and readings on the grid. */
#include "kgl_codec_inner.h"

static kgl_status front_of(const kgl_model *model, const int32_t *steps, size_t n_values, bool off_grid,
                           const kgl_encode_buffers *buffers, kgl_front *front) {
    front->n_samples = n_values / model->n_channels;
    return kgl_encode(model, steps, n_values, off_grid, buffers->workspace, buffers->workspace_len, buffers->out,
                      buffers->out_len, &front->code_len, NULL);
}

kgl_status kgl_filling_cut(kgl_filling *filling, const kgl_model *model, const int32_t *steps, size_t n_values,
                           bool off_grid, size_t code_len_max, const kgl_encode_buffers *buffers, kgl_front *front) {
    size_t n_samples = n_values / model->n_channels, fits = filling->n_fit;
    filling->n_fit = filling->check_at = 0;
    for (;; fits = 0) {
        size_t fits_not = n_samples, wanted;
        kgl_status status = front_of(model, steps, n_values, off_grid, buffers, front);
        if (status != KGL_OK || front->code_len <= code_len_max || n_samples <= 1) {
            return status;
        }
        while (fits + 1 < fits_not) {
            size_t middle = fits + (fits_not - fits) / 2;
            status = front_of(model, steps, middle * model->n_channels, off_grid, buffers, front);
            if (status != KGL_OK) {
                return status;
            }
            if (front->code_len <= code_len_max) {
                fits = middle;
            } else {
                fits_not = middle;
            }
        }
        wanted = fits > 0 ? fits : 1;
        if (front->n_samples != wanted) {
            status = front_of(model, steps, wanted * model->n_channels, off_grid, buffers, front);
        }
        /* What was found to fit once may not any more: less is allowed now, or a reading beside its grid has made all
         * of the window dearer. */
        if (status != KGL_OK || front->code_len <= code_len_max || wanted == 1) {
            return status;
        }
    }
}

kgl_status kgl_filling_added(kgl_filling *filling, const kgl_model *model, const int32_t *steps, size_t n_values,
                             bool off_grid, size_t code_len_max, const kgl_encode_buffers *buffers,
                             kgl_front *front) {
    size_t n_samples = n_values / model->n_channels;
    uint32_t n_more, len;
    kgl_status status;
    front->n_samples = front->code_len = 0;
    if (n_samples < filling->check_at) {
        return KGL_OK;
    }
    status = kgl_filling_cut(filling, model, steps, n_values, off_grid, code_len_max, buffers, front);
    if (status != KGL_OK || front->n_samples < n_samples || front->code_len > code_len_max) {
        return status;
    }
    /* Half of what is left at the mean cost of a sample so far: enough to be near the end soon, and early enough for
     * samples twice as dear. */
    len = 2 * (uint32_t)front->code_len;
    n_more = (uint32_t)(code_len_max - front->code_len) * (uint32_t)n_samples / (len > 0 ? len : 1);
    n_more = n_more < 1 ? 1 : n_more > n_samples ? (uint32_t)n_samples : n_more;
    filling->n_fit = n_samples;
    filling->check_at = n_samples + (size_t)n_more;
    front->n_samples = front->code_len = 0;
    return KGL_OK;
}

/* --- readings on the grid: exact, in 128 bits, because sensors write up to 15 digits behind the point ------------- */

/* Eight limbs of 16 bits, least first. Twenty readings a second are nothing to a loop, and a loop is small. */
#define LIMBS 8
typedef struct wide {
    uint16_t limb[LIMBS];
} wide;

/* a += b, or a -= b, which is not below 0. */
static void wide_add(wide *a, const wide *b, bool subtracts) {
    uint32_t carry = subtracts;
    uint8_t i;
    for (i = 0; i < LIMBS; i++) {
        carry += (uint32_t)a->limb[i] + (subtracts ? (uint16_t)~b->limb[i] : b->limb[i]);
        a->limb[i] = (uint16_t)carry;
        carry >>= 16;
    }
}

static bool is_less(const wide *a, const wide *b) {
    uint8_t i = LIMBS - 1;
    while (i > 0 && a->limb[i] == b->limb[i]) {
        i--;
    }
    return a->limb[i] < b->limb[i];
}

static void wide_half(wide *a) {
    uint32_t carry = 0;
    uint8_t i = LIMBS;
    while (i > 0) {
        carry = carry << 16 | a->limb[--i];
        a->limb[i] = (uint16_t)(carry >> 1);
        carry &= 1;
    }
}

/* magnitude x 10^n */
static void wide_of(wide *a, uint64_t magnitude, uint8_t n) {
    uint8_t i;
    for (i = 0; i < LIMBS; i++) {
        a->limb[i] = (uint16_t)magnitude;
        magnitude >>= 16;
    }
    for (; n > 0; n--) {
        uint32_t carry = 0;
        for (i = 0; i < LIMBS; i++) {
            carry += (uint32_t)a->limb[i] * 10;
            a->limb[i] = (uint16_t)carry;
            carry >>= 16;
        }
    }
}

static uint64_t magnitude_of(int64_t x) {
    return x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
}

/* The bound leaves room for rounding readings to the grid. */
static bool rounds_of(const uint8_t *channel) {
    return (kgl_m8(channel) & 0x80) != 0;
}

int32_t kgl_quantise(const kgl_model *model, uint8_t channel, kgl_reading reading, bool *is_exact) {
    const uint8_t *at = model->channels + (size_t)channel * KGL_CHANNEL_LEN;
    uint8_t scale = kgl_m8(at) & 0x7F, digits, i;
    int64_t origin = kgl_mi64(at + 1);
    uint64_t mantissa = magnitude_of(reading.mantissa);
    bool below = reading.mantissa < 0;
    wide distance, part, half;
    int32_t step = 0;
    *is_exact = true;
    if (!reading.is_given) {
        return KGL_MISSING;
    }
    for (; reading.digits > 15; reading.digits--) {
        mantissa = kgl_div_u64(mantissa + 5, 10);
    }
    digits = scale > reading.digits ? scale : reading.digits;
    /* How far the reading lies from the grid's origin, and on which side. */
    wide_of(&distance, mantissa, (uint8_t)(digits - reading.digits));
    wide_of(&part, magnitude_of(origin), (uint8_t)(digits - scale));
    if (below != (origin < 0)) {
        wide_add(&distance, &part, false);
    } else if (is_less(&distance, &part)) {
        wide_add(&part, &distance, true);
        distance = part;
        below = !below;
    } else {
        wide_add(&distance, &part, true);
    }
    /* Long division by the quantum, rounded: a quotient of 27 bits, or beyond everything the grid can say. */
    wide_of(&part, (uint64_t)kgl_mi64(at + 9), (uint8_t)(digits - scale));
    half = part;
    wide_half(&half);
    wide_add(&distance, &half, false);
    for (i = 0; i < 27; i++) {
        wide_add(&part, &part, false);
    }
    if (!is_less(&distance, &part)) {
        return below ? KGL_BELOW : KGL_ABOVE;
    }
    for (i = 0; i < 27; i++) {
        wide_half(&part);
        step <<= 1;
        if (!is_less(&distance, &part)) {
            wide_add(&distance, &part, true);
            step |= 1;
        }
    }
    if (step > KGL_STEP_MAX) {
        return below ? KGL_BELOW : KGL_ABOVE;
    }
    /* What is left is the half that was added. */
    *is_exact = rounds_of(at) || memcmp(&distance, &half, sizeof half) == 0;
    return below ? -step : step;
}
