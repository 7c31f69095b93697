/* Lattices, first values, and the context rung: each value as the difference from its channel's last one, in a table
 * chosen by what happened just before. */
#include "kgl_codec_inner.h"

int32_t kgl_div_floor(int32_t a, int32_t b) {
    int32_t q = a / b;
    return a % b < 0 ? q - 1 : q;
}

kgl_lattice kgl_lattice_of(const kgl_model *model, size_t idx) {
    const uint8_t *at = model->lattice + idx * KGL_LATTICE_LEN;
    kgl_lattice lattice;
    lattice.step = kgl_mi32(at);
    lattice.phase = kgl_mi32(at + 4);
    return lattice;
}

/* False beyond what a grid can say. An encoder's r stand for values near given ones, so that 32 bits are enough:
 * 2^26 of a step, 2^25 each of the lattice's step and phase. */
bool kgl_lattice_value(kgl_lattice lattice, int32_t r, int32_t *value) {
    *value = lattice.step * r + lattice.phase;
    return kgl_is_step(*value);
}

bool kgl_lattice_value_wide(kgl_lattice lattice, int32_t r, int32_t *value) {
    int64_t wide = (int64_t)lattice.step * r + lattice.phase;
    bool is_sayable = wide >= -KGL_DECODED_MAX && wide <= KGL_DECODED_MAX;
    *value = is_sayable ? (int32_t)wide : 0;
    return is_sayable;
}

int32_t kgl_lattice_nearest(kgl_lattice lattice, int32_t x) {
    return kgl_div_floor(x - lattice.phase + lattice.step / 2, lattice.step);
}

int32_t kgl_lattice_lowest(kgl_lattice lattice, int32_t x, int32_t bound) {
    return kgl_div_floor(x - bound - lattice.phase + lattice.step - 1, lattice.step);
}

/* First and last r whose value lies within the bound of x; none when first > last. */
void kgl_lattice_candidates(kgl_lattice lattice, int32_t x, int32_t bound, int32_t *from, int32_t *to) {
    *from = kgl_lattice_lowest(lattice, x, bound);
    *to = kgl_div_floor(x + bound - lattice.phase, lattice.step);
}

bool kgl_first_parse(kgl_reader *reader, uint8_t idx, kgl_first *first) {
    uint8_t n_bins;
    first->mean = (int32_t)kgl_take_u32(reader);
    first->coefs = kgl_take(reader, 2U * idx);
    first->bin_first = (int32_t)kgl_take_u32(reader);
    first->bin_shift = kgl_take_u8(reader);
    n_bins = kgl_take_u8(reader);
    first->zero = 0;
    return !reader->is_short && first->bin_shift <= 16 && n_bins >= 1 && n_bins <= KGL_SYMBOLS_MAX - 2 &&
           kgl_abs(first->mean) <= (uint32_t)KGL_STEP_MAX && kgl_abs(first->bin_first) <= UINT32_C(1) << 26 &&
           kgl_table_parse(reader, (uint8_t)(n_bins + 2), &first->table);
}

kgl_first kgl_first_of(const kgl_model *model, uint8_t idx) {
    const uint8_t *at = model->firsts;
    kgl_first first;
    uint8_t i;
    for (i = 0;; i++) {
        const uint8_t *bins = at + 4 + 2U * i;
        uint8_t n_symbols = (uint8_t)(kgl_m8(bins + 5) + 2);
        if (i == idx) {
            first.mean = kgl_mi32(at);
            first.coefs = at + 4;
            first.bin_first = kgl_mi32(bins);
            first.bin_shift = kgl_m8(bins + 4);
            first.zero = kgl_has_expected(model) ? kgl_m8(model->expected + 1 + idx) : 0;
            first.table = kgl_table_at(bins + 6, n_symbols);
            return first;
        }
        at = bins + 8 + n_symbols;
    }
}

/* Which symbol says r, and what follows it. */
static uint8_t first_symbol(const kgl_first *first, int32_t predicted, int32_t r, uint32_t *inside) {
    uint8_t n_bins = (uint8_t)(first->table.n_symbols - 2);
    int32_t from = predicted + first->bin_first;
    int32_t end = from + ((int32_t)n_bins << first->bin_shift);
    uint8_t bin;
    if (r < from) {
        *inside = (uint32_t)kgl_sub(from - 1, r) & KGL_MAGNITUDE_MAX;
        return n_bins;
    }
    if (r >= end) {
        *inside = (uint32_t)kgl_sub(r, end) & KGL_MAGNITUDE_MAX;
        return (uint8_t)(n_bins + 1);
    }
    *inside = (uint32_t)(r - from) & ((UINT32_C(1) << first->bin_shift) - 1);
    bin = (uint8_t)((r - from) >> first->bin_shift);
    return (uint8_t)(bin < first->zero ? bin + n_bins - first->zero : bin - first->zero);
}

bool kgl_first_code(kgl_coder *coder, const kgl_first *first, int32_t predicted, int32_t r) {
    uint32_t inside;
    uint8_t sym = first_symbol(first, predicted, r, &inside);
    bool is_open = sym >= first->table.n_symbols - 2;
    return kgl_symbol(coder, &first->table, sym) &&
           (is_open ? kgl_unbounded(coder, inside) : kgl_bits(coder, first->bin_shift, inside));
}

/* Sixteenths of a bit, for the search. */
uint32_t kgl_first_cost(const kgl_first *first, int32_t predicted, int32_t r) {
    uint32_t inside;
    uint8_t sym = first_symbol(first, predicted, r, &inside);
    bool is_open = sym >= first->table.n_symbols - 2;
    uint32_t raw = is_open ? 2U * kgl_ilog2(inside + 1) + 1 : first->bin_shift;
    return kgl_table_cost(&first->table, sym) + 16 * raw;
}

/* Where the first value of channel idx is expected, in lattice units. */
int32_t kgl_predict_first(const kgl_model *model, uint8_t idx, const int32_t *histories) {
    kgl_first own = kgl_first_of(model, idx);
    int64_t sum = 0, predicted;
    uint8_t other;
    for (other = 0; other < idx; other++) {
        kgl_history history = kgl_history_load(histories, other);
        int32_t value;
        if (history.n_seen > 0) {
            if (!kgl_lattice_value(kgl_lattice_of(model, other), history.r, &value)) {
                value = 0;
            }
            sum += (int64_t)kgl_mi16(own.coefs + 2U * other) * (value - kgl_first_of(model, other).mean);
        }
    }
    predicted = own.mean + (sum >> 8);
    predicted = predicted < -KGL_STEP_MAX ? -KGL_STEP_MAX : predicted > KGL_STEP_MAX ? KGL_STEP_MAX : predicted;
    return kgl_lattice_nearest(kgl_lattice_of(model, idx), (int32_t)predicted);
}

int32_t kgl_first_expected(const kgl_model *model, uint8_t idx, const int32_t *histories) {
    kgl_first first = kgl_first_of(model, idx);
    return kgl_predict_first(model, idx, histories) + first.bin_first + ((int32_t)first.zero << first.bin_shift);
}

void kgl_history_push(int32_t *histories, size_t idx, int32_t r) {
    int32_t *to = histories + idx * KGL_HISTORY_WORDS, words[KGL_HISTORY_WORDS];
    kgl_history history = kgl_history_load(histories, idx);
    if (history.n_seen > 0) {
        int32_t d = kgl_sub(r, history.r);
        history.d2 = history.d1;
        history.d1 = d;
        if (d == 0) {
            history.run = (uint16_t)(history.run + (history.run < UINT16_MAX));
        } else {
            history.run = 0;
            history.sign = d > 0 ? 1 : -1;
        }
    }
    history.n_seen = (uint8_t)(history.n_seen < 3 ? history.n_seen + 1 : 3);
    history.r = r;
    memcpy(words, &history, sizeof words);
    to[0] = words[0];
    to[1] = words[1];
    to[2] = words[2];
    to[3] = words[3];
}

/* How many of the first n of `tops` lie below x. */
static uint8_t n_below(const uint8_t *tops, uint8_t n, uint32_t x) {
    uint8_t i = 0;
    while (i < n && x > KGL_ROM_U8(&tops[i])) {
        i++;
    }
    return i;
}

static const uint8_t ACTIVITIES[7] KGL_PROGMEM = {3, 5, 8, 13, 24, 48, 96};
static const uint8_t SIZES[2] KGL_PROGMEM = {1, 3};
static const uint8_t RUNS[6] KGL_PROGMEM = {1, 2, 4, 8, 16, 32};

static uint8_t state_of(const kgl_history *history) {
    uint8_t sign = history->sign == 0 ? 0 : history->sign > 0 ? 1 : 2;
    /* Beyond 96 all activities are alike. */
    uint32_t d1 = kgl_abs(history->d1), d2 = kgl_abs(history->d2);
    d1 = d1 < 1000 ? d1 : 1000;
    d2 = d2 < 1000 ? d2 : 1000;
    if (history->n_seen < 2) {
        return 0;
    }
    if (d1 != 0) {
        uint8_t turn = d2 == 0 ? 0 : (history->d1 < 0) == (history->d2 < 0) ? 1 : 2;
        return (uint8_t)(1 + (n_below(ACTIVITIES, 7, 2 * d1 + d2) * 2 + (sign - 1)) * 3 + turn);
    }
    if (history->run == 1 && d2 != 0) {
        return (uint8_t)(49 + n_below(SIZES, 2, d2) * 2 + (sign - 1));
    }
    return (uint8_t)(55 + n_below(RUNS, 6, history->run) * 3 + sign);
}

kgl_table kgl_context_table(const kgl_model *model, const kgl_history *history, uint8_t idx,
                            const int32_t *histories) {
    /* The channel before at this instant; beside the first, the last one at the instant before. */
    uint8_t n = model->n_channels, neighbour = idx > 0 ? (uint8_t)(idx - 1) : (uint8_t)(n - 1), beside;
    int32_t moved = n == 1 ? 0 : kgl_history_load(histories, neighbour).d1;
    uint32_t raw_context, table;
    beside = moved == 0 ? 0 : moved == 1 ? 1 : moved == -1 ? 2 : moved > 0 ? 3 : 4;
    raw_context = (uint32_t)idx * KGL_RAW_CONTEXTS + (uint32_t)state_of(history) * 5U + beside;
    table = kgl_m8(model->context.map + (size_t)raw_context);
    return kgl_table_at(model->context.tables + (size_t)(table * (2U + model->context.n_symbols)),
                        model->context.n_symbols);
}

void kgl_histories_begin(const kgl_model *model, const kgl_past *past, int32_t *histories) {
    size_t at;
    memset(histories, 0, (size_t)model->n_channels * KGL_HISTORY_WORDS * sizeof *histories);
    for (at = 0; past != NULL && at < past->n; at++) {
        if (kgl_is_step(past->rs[at])) {
            kgl_history_push(histories, at % model->n_channels, past->rs[at]);
        }
    }
}

/* `rs`: lattice values, sample-major; what is no step is skipped. */
bool kgl_context_code(const kgl_model *model, kgl_coder *coder, const int32_t *rs, size_t n_values,
                      int32_t *histories, const kgl_past *past) {
    kgl_histories_begin(model, past, histories);
    return kgl_context_run(model, coder, rs, 0, n_values, histories);
}

bool kgl_context_run(const kgl_model *model, kgl_coder *coder, const int32_t *rs, size_t from, size_t to,
                     int32_t *histories) {
    size_t at;
    uint8_t idx = (uint8_t)(from % model->n_channels);
    for (at = from; at < to; at++, idx = (uint8_t)(idx + 1 < model->n_channels ? idx + 1 : 0)) {
        int32_t value;
        kgl_history history;
        if (!kgl_is_step(rs[at])) {
            continue;
        }
        history = kgl_history_load(histories, idx);
        if (history.n_seen == 0) {
            kgl_first first = kgl_first_of(model, idx);
            if (!kgl_first_code(coder, &first, kgl_predict_first(model, idx, histories), rs[at])) {
                return false;
            }
        } else {
            kgl_table table = kgl_context_table(model, &history, idx, histories);
            if (!kgl_signed(coder, &table, kgl_sub(rs[at], history.r))) {
                return false;
            }
        }
        if (!kgl_lattice_value(kgl_lattice_of(model, idx), rs[at], &value)) {
            return false;
        }
        kgl_history_push(histories, idx, rs[at]);
    }
    return true;
}
