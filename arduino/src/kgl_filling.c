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

typedef struct wide {
    uint64_t high, low;
} wide;

static wide wide_mul(uint64_t a, uint64_t b) {
    uint64_t a1 = a >> 32, a0 = a & UINT32_MAX, b1 = b >> 32, b0 = b & UINT32_MAX;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (middle & UINT32_MAX);
    wide w;
    w.high = a1 * b1 + (middle >> 32) + (other >> 32);
    w.low = a * b;
    return w;
}

static wide wide_add(wide a, wide b) {
    a.low += b.low;
    a.high += b.high + (a.low < b.low);
    return a;
}

static wide wide_sub(wide a, wide b) {
    a.high -= b.high + (a.low < b.low);
    a.low -= b.low;
    return a;
}

static bool is_less(wide a, wide b) {
    return a.high < b.high || (a.high == b.high && a.low < b.low);
}

static wide wide_half(wide a) {
    a.low = a.low >> 1 | a.high << 63;
    a.high >>= 1;
    return a;
}

static uint64_t magnitude_of(int64_t x) {
    return x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
}

static uint64_t pow10_of(uint8_t n) {
    uint64_t p = 1;
    while (n > 0) {
        p *= 10;
        n--;
    }
    return p;
}

/* The distance of a reading from the grid's origin, at `digits` behind the point; true if below. */
static bool distance_of(int64_t mantissa, uint64_t unit, int64_t origin, uint64_t origin_unit, wide *distance) {
    wide reading = wide_mul(magnitude_of(mantissa), unit), from = wide_mul(magnitude_of(origin), origin_unit);
    bool below = mantissa < 0;
    if ((mantissa < 0) != (origin < 0)) {
        *distance = wide_add(reading, from);
    } else if (is_less(reading, from)) {
        *distance = wide_sub(from, reading);
        below = !below;
    } else {
        *distance = wide_sub(reading, from);
    }
    return below;
}

int32_t kgl_quantise(const kgl_model *model, uint8_t channel, kgl_reading reading, bool *is_exact) {
    const uint8_t *at = model->channels + (size_t)channel * KGL_CHANNEL_LEN;
    uint8_t scale = kgl_m8(at) & 0x7F, digits, i;
    bool rounds = (kgl_m8(at) & 0x80) != 0, below;
    wide distance, quantum, half, part;
    int32_t step = 0;
    *is_exact = true;
    if (!reading.is_given) {
        return KGL_MISSING;
    }
    for (; reading.digits > 15; reading.digits--) {
        int64_t rounded = reading.mantissa < 0 ? -5 : 5;
        reading.mantissa = reading.mantissa / 10 + (reading.mantissa % 10 + rounded) / 10;
    }
    digits = scale > reading.digits ? scale : reading.digits;
    below = distance_of(reading.mantissa, pow10_of((uint8_t)(digits - reading.digits)), kgl_mi64(at + 1),
                        pow10_of((uint8_t)(digits - scale)), &distance);
    quantum = wide_mul((uint64_t)kgl_mi64(at + 9), pow10_of((uint8_t)(digits - scale)));
    half = wide_half(quantum);
    distance = wide_add(distance, half);
    /* Long division: a quotient of 27 bits, or beyond everything the grid can say. */
    part = quantum;
    for (i = 0; i < 27; i++) {
        part = wide_add(part, part);
    }
    if (!is_less(distance, part)) {
        return below ? KGL_BELOW : KGL_ABOVE;
    }
    for (i = 0; i < 27; i++) {
        part = wide_half(part);
        step <<= 1;
        if (!is_less(distance, part)) {
            distance = wide_sub(distance, part);
            step |= 1;
        }
    }
    if (step > KGL_STEP_MAX) {
        return below ? KGL_BELOW : KGL_ABOVE;
    }
    *is_exact = rounds || (distance.high == half.high && distance.low == half.low);
    return below ? -step : step;
}
