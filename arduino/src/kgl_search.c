/* Which lattice value to say: among all that lie within the bound, the path that codes shortest. A beam search keeps
 * the few cheapest beginnings. Only the encoder searches, so nothing here is part of the format; but it is the search
 * of the Rust encoder, step by step, so that the bytes are the same. */
#include "kgl_codec_inner.h"

#define AHEAD 12
#define AHEAD_BONUS 5
#define KEPT_MAX (2 * KGL_BEAM)

typedef struct candidate {
    int32_t rank, cost, r;
    uint8_t parent, choice;
} candidate;

typedef struct kept {
    candidate list[KEPT_MAX];
    uint8_t len;
} kept;

/* The best so far, cheapest first; twice the beam, because some turn out to be alike. */
static void offer(kept *kept_, const candidate *c) {
    candidate *at = kept_->list + kept_->len;
    if (kept_->len < KEPT_MAX) {
        kept_->len++;
    } else if ((--at)->rank <= c->rank) {
        return;
    }
    for (; at > kept_->list && at[-1].rank > c->rank; at--) {
        *at = at[-1];
    }
    *at = *c;
}

/* The bonus of each of the `n` lattice values within the bound: for how many of the next samples the channel could stay
 * there. They ascend, so that those drop out first that lie at the ends. */
static void bonuses_of(const kgl_model *model, const kgl_window *window, size_t at, int32_t bound,
                       const int32_t *values, int32_t n, int32_t *bonuses) {
    int32_t first = 0, bonus = 0;
    for (at += model->n_channels; first < n && bonus < AHEAD * AHEAD_BONUS && at < window->n_values;
         at += model->n_channels, bonus += AHEAD_BONUS) {
        int32_t x = window->steps[at];
        if (kgl_is_step(x)) {
            while (first < n && values[first] < x - bound) {
                bonuses[first++] = bonus;
            }
            while (first < n && values[n - 1] > x + bound) {
                bonuses[--n] = bonus;
            }
        }
    }
    while (first < n) {
        bonuses[first++] = bonus;
    }
}

/* One value within each bound: there is nothing to choose. */
static bool is_decided(const kgl_model *model, int32_t reserve) {
    uint8_t idx;
    for (idx = 0; idx < model->n_channels; idx++) {
        if (kgl_lattice_of(model, idx).step != 2 * kgl_bound_less(model, idx, reserve) + 1) {
            return false;
        }
    }
    return true;
}

void kgl_search_trace(const kgl_model *model, const kgl_window *window, size_t from, int32_t *rs, const int32_t *back,
                      uint8_t slot) {
    int32_t reserve = window->off_grid ? 1 : 0;
    size_t at = window->n_values;
    while (at > from) {
        int32_t x = window->steps[--at];
        size_t idx = at % model->n_channels;
        uint8_t byte;
        if (!kgl_is_step(x)) {
            rs[at] = x;
            continue;
        }
        byte = (uint8_t)((uint32_t)back[at] >> (8U * slot));
        rs[at] = kgl_lattice_lowest(kgl_lattice_of(model, idx), x, kgl_bound_less(model, idx, reserve)) + (byte >> 2);
        slot = byte & 3;
    }
}

size_t kgl_search_shared(const kgl_window *window, const int32_t *back, uint8_t n_paths) {
    uint8_t slots[KGL_BEAM] = {0, 1, 2, 3}, i;
    size_t at = window->n_values, n_shared = at;
    while (at > 0) {
        bool are_one = true;
        for (i = 1; i < n_paths; i++) {
            are_one = are_one && slots[i] == slots[0];
        }
        if (are_one) {
            break;
        }
        if (kgl_is_step(window->steps[--at])) {
            for (i = 0; i < n_paths; i++) {
                slots[i] = (uint8_t)((uint32_t)back[at] >> (8U * slots[i])) & 3;
            }
            n_shared = at;
        }
    }
    return n_shared;
}

/* Offers every way to say value `at` after each of the beginnings; if `forced` is not negative, that way alone. */
static void extend(const kgl_model *model, const kgl_window *window, int32_t forced, size_t at, const int32_t *now,
                   const int32_t *costs, uint8_t n_paths, kept *kept_) {
    size_t path_len = (size_t)model->n_channels * KGL_HISTORY_WORDS;
    uint8_t idx = (uint8_t)(at % model->n_channels), parent;
    kgl_lattice lattice = kgl_lattice_of(model, idx);
    int32_t bound = kgl_bound_less(model, idx, window->off_grid ? 1 : 0), from, to, r, first_r, n = 0;
    int32_t values[KGL_CANDIDATES_MAX], bonuses[KGL_CANDIDATES_MAX];
    kgl_lattice_candidates(lattice, window->steps[at], bound, &from, &to);
    first_r = from;
    to = to < from + KGL_CANDIDATES_MAX - 1 ? to : from + KGL_CANDIDATES_MAX - 1;
    if (forced >= 0) {
        from += forced;
        to = to < from ? to : from;
    }
    for (r = from; r <= to; r++) {
        (void)kgl_lattice_value(lattice, r, &values[n++]);
    }
    bonuses_of(model, window, at, bound, values, n, bonuses);
    for (parent = 0; parent < n_paths; parent++) {
        const int32_t *histories = now + parent * path_len;
        kgl_history history = kgl_history_load(histories, idx);
        bool is_first = history.n_seen == 0;
        int32_t predicted = 0;
        kgl_first own;
        kgl_table table;
        if (is_first) {
            own = kgl_first_of(model, idx);
            predicted = kgl_predict_first(model, idx, histories);
        } else {
            table = kgl_context_table(model, &history, idx, histories);
        }
        for (r = from, n = 0; r <= to; r++, n++) {
            candidate c;
            c.cost = costs[parent] + (int32_t)(is_first ? kgl_first_cost(&own, predicted, r)
                                                        : kgl_signed_cost(&table, kgl_sub(r, history.r)));
            c.rank = c.cost - bonuses[n];
            c.r = r;
            c.parent = parent;
            c.choice = (uint8_t)(r - first_r);
            offer(kept_, &c);
        }
    }
}

static void copy(int32_t *path, const int32_t *from, size_t path_len) {
    size_t i;
    for (i = 0; i < path_len; i += KGL_HISTORY_WORDS) {
        /* Not a loop that becomes memcpy. */
        path[i] = from[i];
        path[i + 1] = from[i + 1];
        path[i + 2] = from[i + 2];
        path[i + 3] = from[i + 3];
    }
}

static bool is_like(const int32_t *path, const int32_t *other, size_t path_len) {
    while (path_len > 0 && path[path_len - 1] == other[path_len - 1]) {
        path_len--;
    }
    return path_len == 0;
}

/* Beginnings that end alike differ in the past only: the cheapest stands for all. Gives how many are kept. */
static uint8_t keep(const kgl_model *model, size_t idx, const kept *kept_, const int32_t *now, int32_t *next,
                    int32_t *costs, uint32_t *word) {
    size_t path_len = (size_t)model->n_channels * KGL_HISTORY_WORDS;
    uint8_t n_kept = 0, i, j;
    *word = 0;
    for (i = 0; i < kept_->len && n_kept < KGL_BEAM; i++) {
        const candidate *c = &kept_->list[i];
        int32_t *path = next + n_kept * path_len;
        bool is_new = true;
        copy(path, now + c->parent * path_len, path_len);
        kgl_history_push(path, idx, c->r);
        for (j = 0; j < n_kept && is_new; j++) {
            /* Few say the same value. */
            const int32_t *other = next + j * path_len;
            is_new = other[idx * KGL_HISTORY_WORDS] != c->r || !is_like(path, other, path_len);
        }
        if (is_new) {
            costs[n_kept] = c->cost;
            *word |= (uint32_t)(c->parent | (uint8_t)(c->choice << 2)) << (8U * n_kept);
            n_kept++;
        }
    }
    return n_kept;
}

/* Costs of the beginnings kept at the window's end; gives how many, 0 if some value has no lattice value within its
 * bound. `forced`: see extend, for the first value. */
static uint8_t run(const kgl_model *model, const kgl_window *window, int32_t forced, int32_t *costs, int32_t *back,
                   int32_t *beam) {
    size_t path_len = (size_t)model->n_channels * KGL_HISTORY_WORDS, at;
    int32_t *now = beam, *next = beam + KGL_BEAM * path_len;
    uint8_t n_paths = 1;
    memset(costs, 0, KGL_BEAM * sizeof *costs);
    memset(now, 0, KGL_BEAM * path_len * sizeof *now);
    kgl_histories_begin(model, &window->past, now);
    for (at = 0; at < window->n_values; at++) {
        kept found;
        uint32_t word;
        int32_t *swap = now;
        if (!kgl_is_step(window->steps[at])) {
            continue;
        }
        found.len = 0;
        extend(model, window, forced, at, now, costs, n_paths, &found);
        forced = -1;
        n_paths = keep(model, at % model->n_channels, &found, now, next, costs, &word);
        if (n_paths == 0) {
            return 0;
        }
        back[at] = (int32_t)word;
        now = next;
        next = swap;
    }
    return n_paths;
}

uint8_t kgl_search_ends(const kgl_model *model, const kgl_window *window, int32_t forced, int32_t *back,
                        int32_t *beam) {
    int32_t costs[KGL_BEAM];
    return is_decided(model, window->off_grid ? 1 : 0) ? 0 : run(model, window, forced, costs, back, beam);
}

/* Fills `rs` with the path found; false if some value has no lattice value within its bound.
 * `back`: a word per value. `beam`: two generations of histories for each beginning. */
bool kgl_search(const kgl_model *model, const kgl_window *window, int32_t *rs, int32_t *back, int32_t *beam) {
    int32_t costs[KGL_BEAM];
    uint8_t n_paths, best = 0, i;
    size_t at;
    if (is_decided(model, window->off_grid ? 1 : 0)) {
        for (at = 0; at < window->n_values; at++) {
            int32_t x = window->steps[at];
            rs[at] = kgl_is_step(x) ? kgl_lattice_nearest(kgl_lattice_of(model, at % model->n_channels), x) : x;
        }
        return true;
    }
    n_paths = run(model, window, -1, costs, back, beam);
    for (i = 1; i < n_paths; i++) {
        best = costs[i] < costs[best] ? i : best;
    }
    if (n_paths > 0) {
        kgl_search_trace(model, window, 0, rs, back, best);
    }
    return n_paths > 0;
}
