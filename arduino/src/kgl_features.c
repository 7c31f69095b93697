/* What the network sees of the window so far. */
#include "kgl_predict.h"

/* A number in sixteenths, linear up to 1 and logarithmic beyond, limited to a byte; with a sign of its own. */
static int32_t compress(uint64_t magnitude, bool is_negative) {
    uint32_t m = magnitude < UINT32_C(1) << 30 ? (uint32_t)magnitude : UINT32_C(1) << 30;
    int32_t small = m <= 16 ? (int32_t)m : (int32_t)kgl_log2_q4(m) - 48;
    small = small < 127 ? small : 127;
    return is_negative ? -small : small;
}

void kgl_measure_read(kgl_measure *measure, const uint8_t *scaling) {
    measure->mean_move = kgl_m32(scaling);
    measure->mean = kgl_mi32(scaling + 4);
    measure->deviation = kgl_m32(scaling + 8);
    measure->move_inverse = UINT32_MAX / measure->mean_move;
    measure->deviation_inverse = UINT32_MAX / measure->deviation;
}

/* A difference in units of the usual one, compressed. */
static int32_t movement(const kgl_model *model, const kgl_measure *measure, int32_t d) {
    uint64_t wide = kgl_abs(d);
    wide = kgl_is_gated(model) ? (wide * measure->move_inverse) >> 20 : kgl_div_u64(wide << 12, measure->mean_move);
    return compress(wide, d < 0);
}

/* A value's distance from the mean, compressed. */
static int32_t level(const kgl_model *model, const kgl_measure *measure, int32_t r) {
    int32_t distance = kgl_sub(r, measure->mean);
    uint64_t wide = kgl_abs(distance);
    wide = kgl_is_gated(model) ? (wide * measure->deviation_inverse) >> 28 : kgl_div_u64(wide << 4, measure->deviation);
    return compress(wide, distance < 0);
}

/* A channel's values that are steps, backwards from before value `end`. */
typedef struct past {
    const int32_t *rs;
    size_t end;
    uint8_t n_channels;
} past;

static bool past_next(past *p, int32_t *r) {
    while (p->end >= p->n_channels) {
        p->end -= p->n_channels;
        if (kgl_is_step(p->rs[p->end])) {
            *r = p->rs[p->end];
            return true;
        }
    }
    return false;
}

static past past_from(const int32_t *rs, size_t end, uint8_t n_channels) {
    past p;
    p.rs = rs;
    p.end = end;
    p.n_channels = n_channels;
    return p;
}

void kgl_features_look(kgl_features *features, const kgl_model *model, const kgl_measure *measures,
                       const int32_t *rs, size_t at, const kgl_history *history) {
    uint8_t n = model->n_channels, idx = (uint8_t)(at % n), own = model->predict.own_lags, lag, other;
    size_t next = 0, sample = at - idx, n_before = at / n;
    int32_t r, last = history->r, ignored;
    uint32_t activity[2] = {0, 0};
    past p = past_from(rs, at, n);
    /* With an earlier window's values in front there are more than a network has learned from. */
    n_before = n_before < model->n_samples ? n_before : (size_t)model->n_samples - 1;
    (void)past_next(&p, &ignored);
    for (lag = 0; lag < own; lag++, next++) {
        /* Before the window there is nothing: a value that does not move. */
        int32_t d = 0;
        if (past_next(&p, &r)) {
            uint32_t moved = kgl_abs(kgl_sub(r, last));
            moved = moved < UINT32_C(1) << 26 ? moved : UINT32_C(1) << 26;
            activity[1] += moved;
            activity[0] += lag < 4 ? moved : 0;
            last = r;
            d = kgl_sub(r, history->r);
        }
        features->linear[next] = d;
        features->values[next] = movement(model, &measures[idx], d);
    }
    for (other = 0; other < n; other++) {
        /* Earlier channels are known at this instant: their last value but one is where they came from. */
        bool is_now = other < idx && kgl_is_step(rs[sample + other]), has_now = false, has_base;
        int32_t now = 0, base = 0;
        if (other == idx) {
            continue;
        }
        p = past_from(rs, sample + other + (is_now ? n : 0), n);
        if (is_now) {
            has_now = past_next(&p, &now);
        }
        has_base = past_next(&p, &base);
        for (lag = 0; lag < model->predict.other_lags; lag++, next++) {
            int32_t d = 0;
            if (lag == 0 && other < idx) {
                d = has_now && has_base ? kgl_sub(now, base) : 0;
            } else if (past_next(&p, &r) && has_base) {
                d = kgl_sub(r, base);
            }
            features->linear[next] = d;
            features->values[next] = movement(model, &measures[other], d);
        }
    }
    for (other = 0; other < n; other++) {
        p = past_from(rs, sample + other + (other < idx ? n : 0), n);
        features->values[next++] = past_next(&p, &r) ? level(model, &measures[other], r) : 0;
    }
    features->values[next++] = 2 * (int32_t)(n_before < 8 ? n_before : 8);
    features->values[next++] = n_before == 1 ? 16 : 0;
    features->values[next++] = (int32_t)(n_before / 2 < 127 ? n_before / 2 : 127);
    features->values[next++] = movement(model, &measures[idx], (int32_t)(activity[0] / 4));
    features->values[next++] = movement(model, &measures[idx], (int32_t)(activity[1] / own));
    r = (int32_t)kgl_log2_q4(1 + (uint32_t)history->run);
    features->values[next] = r < 127 ? r : 127;
}
