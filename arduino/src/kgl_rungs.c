/* The ends of the ladder: hold, where every channel stays at its first value, and raw, of fixed width. */
#include "kgl_codec_inner.h"

/* Least and greatest step of a channel; false if it has none. */
static bool span_of(const kgl_model *model, const int32_t *values, size_t n_values, size_t idx, int32_t *low,
                    int32_t *high) {
    bool is_any = false;
    size_t at;
    *low = *high = 0;
    for (at = idx; at < n_values; at += model->n_channels) {
        int32_t x = values[at];
        if (kgl_is_step(x)) {
            *low = !is_any || x < *low ? x : *low;
            *high = !is_any || x > *high ? x : *high;
            is_any = true;
        }
    }
    return is_any;
}

static void fill(const kgl_model *model, int32_t *values, size_t n_values, size_t idx, int32_t value) {
    size_t at;
    for (at = idx; at < n_values; at += model->n_channels) {
        if (kgl_is_step(values[at])) {
            values[at] = value;
        }
    }
}

/* Replaces every value by the one its channel is held at, the cheapest within all bounds; false if some channel moves
 * further than its bound allows. */
bool kgl_hold_choose(const kgl_model *model, int32_t *values, size_t n_values, int32_t *histories, int32_t reserve,
                     int8_t forced, int32_t place, const kgl_past *past) {
    uint8_t idx;
    kgl_histories_begin(model, past, histories);
    for (idx = 0; idx < model->n_channels; idx++) {
        kgl_lattice lattice = kgl_lattice_of(model, idx);
        kgl_first first = kgl_first_of(model, idx);
        int32_t bound = kgl_bound_less(model, idx, reserve), predicted, low, high, from, to, ignored, r;
        int32_t best_r = 0, best_value = 0;
        uint32_t best = UINT32_MAX;
        kgl_history history = kgl_history_load(histories, idx);
        kgl_table table = first.table;
        if (!span_of(model, values, n_values, idx, &low, &high)) {
            continue;
        }
        kgl_lattice_candidates(lattice, high, bound, &from, &ignored);
        kgl_lattice_candidates(lattice, low, bound, &ignored, &to);
        if (idx == forced) {
            from += place;
            to = to < from ? to : from;
        }
        predicted = kgl_predict_first(model, idx, histories);
        if (history.n_seen > 0) {
            table = kgl_context_table(model, &history, idx, histories);
        }
        for (r = from; r <= to; r++) {
            int32_t value;
            uint32_t cost = history.n_seen == 0 ? kgl_first_cost(&first, predicted, r)
                                                : kgl_signed_cost(&table, kgl_sub(r, history.r));
            if (kgl_lattice_value(lattice, r, &value) && cost < best) {
                best = cost;
                best_r = r;
                best_value = value;
            }
        }
        if (best == UINT32_MAX) {
            return false;
        }
        kgl_history_push(histories, idx, best_r);
        fill(model, values, n_values, idx, best_value);
    }
    return true;
}

/* One value a channel; `values` come from kgl_hold_choose. */
bool kgl_hold_code(const kgl_model *model, kgl_coder *coder, int32_t *values, size_t n_values, int32_t *histories,
                   const kgl_past *past) {
    uint8_t idx;
    kgl_histories_begin(model, past, histories);
    for (idx = 0; idx < model->n_channels; idx++) {
        kgl_first first = kgl_first_of(model, idx);
        int32_t low, high, r;
        kgl_history history;
        if (!span_of(model, values, n_values, idx, &low, &high)) {
            continue;
        }
        r = kgl_lattice_nearest(kgl_lattice_of(model, idx), low);
        history = kgl_history_load(histories, idx);
        if (history.n_seen > 0) {
            kgl_table table = kgl_context_table(model, &history, idx, histories);
            if (!kgl_signed(coder, &table, kgl_sub(r, history.r))) {
                return false;
            }
        } else if (!kgl_first_code(coder, &first, kgl_predict_first(model, idx, histories), r)) {
            return false;
        }
        kgl_history_push(histories, idx, r);
    }
    return true;
}

/* True if every value lies in its channel's trained range. */
static bool fits(const kgl_model *model, const int32_t *values, size_t n_values) {
    uint8_t idx;
    for (idx = 0; idx < model->n_channels; idx++) {
        const uint8_t *channel = model->channels + (size_t)idx * KGL_CHANNEL_LEN;
        int32_t spacing = 2 * kgl_bound_steps(model, idx) + 1, from = kgl_mi32(channel + 21) - spacing / 2, low, high;
        if (span_of(model, values, n_values, idx, &low, &high) &&
            (low < from || (uint32_t)(high - from) >> kgl_m8(channel + 25) >= (uint32_t)spacing)) {
            return false;
        }
    }
    return true;
}

/* `values` are grid steps and become what a decoder will read. `off_grid`: keep every value to the step. */
bool kgl_raw_code(const kgl_model *model, kgl_coder *coder, int32_t *values, size_t n_values, bool off_grid) {
    bool own = off_grid || !fits(model, values, n_values);
    uint8_t idx;
    if (!kgl_bits(coder, 1, own)) {
        return false;
    }
    for (idx = 0; idx < model->n_channels; idx++) {
        const uint8_t *channel = model->channels + (size_t)idx * KGL_CHANNEL_LEN;
        int32_t base = kgl_mi32(channel + 21), spacing = 2 * kgl_bound_steps(model, idx) + 1, low, high;
        uint8_t n_bits = kgl_m8(channel + 25);
        size_t at;
        if (own) {
            uint32_t span;
            (void)span_of(model, values, n_values, idx, &low, &high);
            span = (uint32_t)(high - low);
            n_bits = (uint8_t)(span > 0 ? kgl_ilog2(span) + 1 : 0);
            base = low;
            spacing = 1;
            if (!kgl_narrow(coder, n_bits, 1, KGL_RAW_BITS_MAX + 1) ||
                !kgl_wide(coder, 28, (uint32_t)(low + (INT32_C(1) << 27)))) {
                return false;
            }
        }
        for (at = idx; at < n_values; at += model->n_channels) {
            if (kgl_is_step(values[at])) {
                int32_t q = (values[at] - base + spacing / 2) / spacing;
                if (!kgl_wide(coder, n_bits, (uint32_t)q)) {
                    return false;
                }
                values[at] = base + q * spacing;
            }
        }
    }
    return true;
}
