/* What a sensor counts, where its readings are written finer than it counts. A channel's counts number the grid steps
 * that occur; they repeat with a period, so that a few residues say them all. A value beside them is the count below it,
 * and the rest up to it is said after the rung's symbols. */
#include "kgl_codec_inner.h"

/* The counts of one channel. */
typedef struct count {
    /* u16 each, ascending, below the period. */
    const uint8_t *residues;
    int32_t period;
    uint8_t n;
} count;

static int32_t residue(const count *c, int32_t at) {
    return kgl_m16(c->residues + 2 * (size_t)at);
}

/* The grid step of a count, be it on the grid or not. */
static int64_t wide(const count *c, int32_t n) {
    int32_t turn = kgl_div_floor(n, c->n);
    return (int64_t)turn * c->period + residue(c, n - turn * c->n);
}

/* The greatest count at or below a grid step. */
static int32_t count_of(const count *c, int32_t step) {
    int32_t turn = kgl_div_floor(step, c->period), place = step - turn * c->period;
    uint8_t at = 0;
    while (at < c->n && residue(c, at) <= place) {
        at++;
    }
    return turn * c->n + at - 1;
}

/* The most grid steps from one count to the next: so many rests there are. */
static uint32_t n_rests(const count *c) {
    uint32_t most = 1;
    uint8_t at;
    for (at = 0; at < c->n; at++) {
        uint32_t gap = (uint32_t)(wide(c, at + 1) - wide(c, at));
        most = gap > most ? gap : most;
    }
    return most;
}

static void count_read(kgl_reader *reader, count *c) {
    c->period = kgl_take_u16(reader);
    c->n = kgl_take_u8(reader);
    c->residues = kgl_take(reader, 2U * c->n);
}

/* Reads off the channels' counts, one after the other, of a section that was checked. */
static kgl_reader channels_of(const kgl_model *model) {
    kgl_reader reader;
    reader.at = model->counts + 4U * model->n_channels;
    reader.left = UINT32_MAX;
    reader.is_short = false;
    return reader;
}

static bool is_count(const count *c) {
    uint8_t at;
    if (c->n < 1 || c->n > KGL_RESIDUES_MAX || c->period < 1 || residue(c, c->n - 1) >= c->period) {
        return false;
    }
    for (at = 1; at < c->n; at++) {
        if (residue(c, at - 1) >= residue(c, at)) {
            return false;
        }
    }
    return true;
}

bool kgl_counts_parse(kgl_model *model, kgl_reader section) {
    const uint8_t *bounds = kgl_take(&section, 4U * model->n_channels);
    uint8_t idx, at;
    for (idx = 0; !section.is_short && idx < model->n_channels; idx++) {
        uint32_t bound = kgl_m32(bounds + 4U * idx);
        count c;
        count_read(&section, &c);
        if (section.is_short || bound > KGL_BOUND_STEPS_MAX || !is_count(&c)) {
            return false;
        }
        /* As many counts apart as the bound says is never more steps apart than the bound in steps. */
        for (at = 0; at < c.n; at++) {
            if (wide(&c, at + (int32_t)bound) - wide(&c, at) > kgl_grid_bound(model, idx)) {
                return false;
            }
        }
    }
    model->counts = bounds;
    return !section.is_short && section.left == 0;
}

bool kgl_counts_of(const kgl_model *model, const int32_t *steps, int32_t *counts, size_t n_values) {
    kgl_reader reader = channels_of(model);
    bool is_beside = false;
    uint8_t idx;
    for (idx = 0; idx < model->n_channels; idx++) {
        count c;
        size_t at;
        count_read(&reader, &c);
        for (at = idx; at < n_values; at += model->n_channels) {
            int32_t x = steps[at];
            counts[at] = kgl_is_step(x) ? count_of(&c, x) : x;
            is_beside = is_beside || (kgl_is_step(x) && wide(&c, counts[at]) != x);
        }
    }
    return is_beside;
}

/* Whether a rest is the channel's last one: where the count has not moved, or there was none beside; where it has,
 * after a rest of 0; the same after another. [yes, no]. */
static const uint8_t SAME[3][2] KGL_PROGMEM = {{1, 78}, {3, 57}, {57, 3}};

/* A rest that is not above n, after the channel's last one. */
static bool rest_code(kgl_coder *coder, uint8_t context, uint32_t n, uint32_t last, uint32_t rest) {
    uint32_t yes = kgl_freq_of(KGL_ROM_U8(&SAME[context][0])), no = kgl_freq_of(KGL_ROM_U8(&SAME[context][1]));
    if (rest == last) {
        return kgl_narrow(coder, 0, yes, yes + no);
    }
    /* Of all rests but the last one. */
    return kgl_narrow(coder, yes, no, yes + no) && kgl_narrow(coder, rest - (rest > last), 1, n - 1);
}

/* One channel of kgl_rests_code; its rests come from `given`, if there are any. */
static bool channel_code(kgl_coder *coder, const count *c, const int32_t *given, int32_t *values, size_t n_values,
                         uint8_t n_channels) {
    uint32_t n = n_rests(c), last = 0;
    /* No count is a mark. */
    int32_t last_count = KGL_MISSING;
    size_t at;
    for (at = 0; at < n_values; at += n_channels) {
        uint32_t rest = 0;
        int64_t value;
        if (!kgl_is_step(values[at])) {
            continue;
        }
        if (given != NULL && n > 1) {
            uint8_t context = last_count == values[at] ? 0 : last == 0 ? 1 : 2;
            rest = (uint32_t)(given[at] - wide(c, count_of(c, given[at])));
            if (!rest_code(coder, context, n, last, rest)) {
                return false;
            }
            last_count = values[at];
            last = rest;
        }
        value = wide(c, values[at]) + rest;
        if (value < -KGL_DECODED_MAX || value > KGL_DECODED_MAX) {
            return false;
        }
        values[at] = (int32_t)value;
    }
    return true;
}

bool kgl_rests_code(const kgl_model *model, kgl_coder *coder, const int32_t *given, int32_t *values, size_t n_values) {
    kgl_reader reader;
    uint8_t idx;
    if (!kgl_has_counts(model)) {
        return true;
    }
    reader = channels_of(model);
    for (idx = 0; idx < model->n_channels; idx++) {
        count c;
        count_read(&reader, &c);
        if (n_values > idx && !channel_code(coder, &c, given != NULL ? given + idx : NULL, values + idx,
                                            n_values - idx, model->n_channels)) {
            return false;
        }
    }
    return true;
}
