/* The fewest whole bytes. A window of a calm sensor is a byte or two, and which of them is half chance. So where the bound
 * leaves several ways to say a window all are written, and the one of fewest bytes goes out; the window that is expected
 * most costs none. The ways and their order are those of the Rust encoder. */
#include "kgl_ladder.h"

/* Lattice values within its bound that the first value is forced to, one after the other: a search each. */
#define FORCED_MAX 4
/* No code yet. */
#define NO_LEN UINT32_MAX

/* What is looked for, where, and the shortest code so far. */
typedef struct job {
    const kgl_model *model;
    const kgl_window *window;
    kgl_areas *a;
    uint8_t *out;
    size_t out_cap;
    uint32_t len, cost;
    kgl_rung rung;
} job;

/* Keeps a code if it is the shortest so far, and of those of equal length the one that costs least. */
static void take(job *j, uint32_t len, uint32_t cost, kgl_rung rung) {
    if (len < j->len || (len == j->len && cost < j->cost)) {
        j->len = len;
        j->cost = cost;
        j->rung = rung;
        memcpy(j->a->best, j->a->path, j->window->n_values * sizeof *j->a->best);
    }
}

/* Measures what was prepared, of hold and context also in `path`. False if a written code has no room for its end. */
static bool offer(job *j, kgl_rung rung, uint32_t cost_max) {
    kgl_coder coder;
    size_t len;
    kgl_coder_init(&coder, j->out, j->out_cap, true, true, cost_max);
    if (kgl_write_rung(j->model, j->window, rung, j->a, &coder)) {
        uint32_t cost = kgl_coder_cost(&coder);
        if (!kgl_coder_finish(&coder, &len)) {
            return false;
        }
        take(j, (uint32_t)len, cost, rung);
    }
    return true;
}

/* Undoes a carry, if one has come as far as the first `len` bytes: then it has changed the last of them. */
static void undo_carry(uint8_t *bytes, size_t len, uint8_t last) {
    if (len > 0 && bytes[len - 1] != last) {
        while (len > 0 && bytes[--len]-- == 0) {
        }
    }
}

/* The paths a search has kept. They differ in their last values at most: what they share is written once. */
static void offer_ends(job *j, uint8_t n_ends) {
    size_t n_shared = kgl_search_shared(j->window, j->a->back, n_ends), n = j->window->n_values;
    size_t histories_len = (size_t)KGL_HISTORY_WORDS * j->model->n_channels;
    int32_t *histories = j->a->scratch, *kept = histories + histories_len;
    kgl_coder shared;
    uint8_t slot, last;
    kgl_search_trace(j->model, j->window, 0, j->a->path, j->a->back, 0);
    kgl_coder_init(&shared, j->out, j->out_cap, true, true, UINT32_MAX);
    if (!kgl_write_head(j->model, j->window, KGL_RUNG_CONTEXT, &shared) ||
        !kgl_context_code(j->model, &shared, j->a->path, n_shared, kept, NULL)) {
        return;
    }
    last = shared.out_len > 0 ? j->out[shared.out_len - 1] : 0;
    for (slot = 0; slot < n_ends; slot++) {
        kgl_coder coder = shared;
        size_t len;
        kgl_search_trace(j->model, j->window, n_shared, j->a->path, j->a->back, slot);
        memcpy(histories, kept, histories_len * sizeof *histories);
        if (kgl_context_run(j->model, &coder, j->a->path, n_shared, n, histories)) {
            uint32_t cost = kgl_coder_cost(&coder);
            if (kgl_coder_finish(&coder, &len)) {
                take(j, (uint32_t)len, cost, KGL_RUNG_CONTEXT);
            }
        }
        undo_carry(j->out, shared.out_len, last);
    }
}

/* The paths that the search ends with, for each value within the bound that the first may take. */
static void offer_paths(job *j) {
    int32_t forced;
    if (!kgl_has_context(j->model) || j->window->is_beside || !kgl_is_plain(j->model, j->window)) {
        return;
    }
    for (forced = 0; forced < FORCED_MAX; forced++) {
        uint8_t n_ends = kgl_search_ends(j->model, j->window, forced, j->a->back, j->a->scratch);
        if (n_ends == 0) {
            return;
        }
        offer_ends(j, n_ends);
    }
}

/* For each channel each of the lattice values that could hold it, the other channels' being the cheapest. */
static void offer_holds(job *j) {
    size_t len = j->window->n_values * sizeof *j->a->values;
    uint8_t idx, place;
    for (idx = 0; idx < j->model->n_channels; idx++) {
        for (place = 0; place < KGL_CANDIDATES_MAX; place++) {
            memcpy(j->a->values, j->window->steps, len);
            if (!kgl_hold_choose(j->model, j->a->values, j->window->n_values, j->a->scratch,
                                 j->window->off_grid ? 1 : 0, (int8_t)idx, place, NULL)) {
                break;
            }
            memcpy(j->a->path, j->a->values, len);
            (void)offer(j, KGL_RUNG_HOLD, UINT32_MAX);
        }
    }
}

/* True if what the empty code says lies within the window's bounds; `values` then holds that. */
static bool is_expected(const kgl_model *model, const kgl_window *window, kgl_areas *a, kgl_rung *rung) {
    size_t at;
    if (window->n_values != kgl_values(model) || !kgl_expected(model, a->values, a->scratch, rung)) {
        return false;
    }
    for (at = 0; at < window->n_values; at++) {
        int32_t bound = kgl_grid_bound(model, at % model->n_channels) - (window->off_grid ? 1 : 0);
        if (!kgl_is_step(window->given[at]) || !kgl_is_step(a->values[at]) ||
            kgl_abs(window->given[at] - a->values[at]) > (uint32_t)(bound < 0 ? 0 : bound)) {
            return false;
        }
    }
    return true;
}

bool kgl_shortest(const kgl_model *model, const kgl_window *window, kgl_areas *a, uint8_t *out, size_t out_len,
                  size_t *code_len, kgl_rung *rung) {
    kgl_coder coder;
    job j;
    *code_len = 0;
    if (is_expected(model, window, a, rung)) {
        return true;
    }
    j.model = model;
    j.window = window;
    j.a = a;
    j.out = out;
    j.out_cap = out_len;
    j.len = NO_LEN;
    j.cost = UINT32_MAX;
    j.rung = KGL_RUNG_RAW;
    /* The path of least cost first: the networks follow it, and no further than where they have lost. */
    if (kgl_prepare(model, window, KGL_RUNG_CONTEXT, a)) {
        (void)offer(&j, KGL_RUNG_CONTEXT, UINT32_MAX);
    }
    if (kgl_prepare(model, window, KGL_RUNG_PREDICT, a) &&
        !offer(&j, KGL_RUNG_PREDICT, j.len == NO_LEN ? UINT32_MAX : j.len * 128 + 127)) {
        return false;
    }
    offer_paths(&j);
    offer_holds(&j);
    if (kgl_prepare(model, window, KGL_RUNG_LATENT, a)) {
        (void)offer(&j, KGL_RUNG_LATENT, UINT32_MAX);
    }
    if (kgl_prepare(model, window, KGL_RUNG_RAW, a)) {
        (void)offer(&j, KGL_RUNG_RAW, UINT32_MAX);
    }
    /* The best once more. */
    if (j.rung == KGL_RUNG_CONTEXT) {
        memcpy(a->path, a->best, window->n_values * sizeof *a->path);
    } else if (j.rung == KGL_RUNG_HOLD || j.rung == KGL_RUNG_PREDICT) {
        memcpy(a->values, a->best, window->n_values * sizeof *a->values);
    } else {
        (void)kgl_prepare(model, window, j.rung, a);
    }
    *rung = j.rung;
    kgl_coder_init(&coder, out, out_len, true, false, UINT32_MAX);
    return kgl_write_rung(model, window, j.rung, a, &coder) && kgl_coder_finish(&coder, code_len) &&
           kgl_settle(model, window, j.rung, a);
}
