/* The ladder: a window is coded on the rung that needs the fewest bytes. */
#include "kgl_ladder.h"

size_t kgl_workspace_len(const kgl_model *model) {
    size_t scratch = 2U * KGL_BEAM * KGL_HISTORY_WORDS * model->n_channels, len;
    if (kgl_has_latent(model) && (len = kgl_net_scratch_len(&model->latent.net)) > scratch) {
        scratch = len;
    }
    if (kgl_has_fixed(model) && (len = kgl_net_scratch_len(&model->fixed.net)) > scratch) {
        scratch = len;
    }
    if (kgl_has_references(model)) {
        scratch += (size_t)KGL_TAIL_SAMPLES_MAX * model->n_channels;
    }
    return (3U + kgl_has_counts(model) + kgl_has_expected(model) +
            (kgl_has_budget(model) ? KGL_SAID_WORDS : 0U)) *
               kgl_values(model) +
           scratch;
}

size_t kgl_code_len_max(const kgl_model *model) {
    /* A value takes 4 bytes, its presence one, its rest 3. */
    size_t len = 8 + 5U * (size_t)model->n_channels + (kgl_has_counts(model) ? 8U : 5U) * kgl_values(model), fixed;
    return kgl_has_fixed(model) && (fixed = kgl_fixed_code_len(model)) > len ? fixed : len;
}

/* What a value is: a step, missing, above the grid, below it. */
static uint8_t kind_of(int32_t x) {
    return x == KGL_MISSING ? 1 : x == KGL_ABOVE ? 2 : x == KGL_BELOW ? 3 : 0;
}

/* What a value is likely to be, by what its channel's last one was: a step (or none yet), missing, beyond the grid. */
static const uint8_t PRESENCE[3][4] KGL_PROGMEM = {{2, 64, 128, 128}, {48, 3, 128, 128}, {48, 48, 24, 24}};

static bool has_marks(const kgl_window *window) {
    size_t at = 0;
    while (at < window->n_values && kind_of(window->steps[at]) == 0) {
        at++;
    }
    return at < window->n_values;
}

bool kgl_is_plain(const kgl_model *model, const kgl_window *window) {
    return window->n_values == kgl_values(model) && !has_marks(window);
}

bool kgl_shape_code(const kgl_model *model, kgl_coder *coder, const kgl_window *window) {
    uint8_t last[KGL_CHANNELS_MAX] = {0};
    uint32_t n_samples = (uint32_t)(window->n_values / model->n_channels);
    bool is_short = n_samples < model->n_samples, is_marked = has_marks(window);
    size_t at;
    if (!kgl_bits(coder, 1, is_short) ||
        (is_short && !kgl_narrow(coder, n_samples - 1, 1, (uint32_t)model->n_samples - 1)) ||
        !kgl_bits(coder, 1, is_marked) || (kgl_has_counts(model) && !kgl_bits(coder, 1, window->is_beside))) {
        return false;
    }
    for (at = 0; is_marked && at < window->n_values; at++) {
        uint8_t *before = &last[at % model->n_channels], kind = kind_of(window->steps[at]), i;
        uint32_t cum = 0, total = 0, freq = 0;
        for (i = 0; i < 4; i++) {
            uint32_t f = kgl_freq_of(KGL_ROM_U8(&PRESENCE[*before < 2 ? *before : 2][i]));
            cum += i < kind ? f : 0;
            freq = i == kind ? f : freq;
            total += f;
        }
        if (!kgl_narrow(coder, cum, freq, total)) {
            return false;
        }
        *before = kind;
    }
    return true;
}

/* The lattice values nearest to the steps; false if one lies beyond its bound. */
static bool nearest(const kgl_model *model, const kgl_window *window, int32_t reserve, int32_t *rs) {
    size_t at;
    for (at = 0; at < window->n_values; at++) {
        size_t idx = at % model->n_channels;
        int32_t x = window->steps[at], value;
        kgl_lattice lattice = kgl_lattice_of(model, idx);
        rs[at] = kgl_is_step(x) ? kgl_lattice_nearest(lattice, x) : x;
        if (kgl_is_step(x) && (!kgl_lattice_value(lattice, rs[at], &value) ||
                               kgl_abs(value - x) > (uint32_t)kgl_bound_less(model, idx, reserve))) {
            return false;
        }
    }
    return true;
}

void kgl_to_values(const kgl_model *model, int32_t *rs, size_t n_values) {
    size_t at;
    for (at = 0; at < n_values; at++) {
        int32_t value;
        if (kgl_is_step(rs[at])) {
            rs[at] = kgl_lattice_value(kgl_lattice_of(model, at % model->n_channels), rs[at], &value) ? value
                                                                                                    : KGL_MISSING;
        }
    }
}

bool kgl_prepare(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a) {
    int32_t reserve = window->off_grid ? 1 : 0;
    size_t len = window->n_values * sizeof *a->values;
    switch (rung) {
    case KGL_RUNG_CONTEXT:
        a->has_path = kgl_has_context(model) && kgl_search(model, window, a->path, a->back, a->scratch);
        return a->has_path;
    case KGL_RUNG_LATENT:
        if (!kgl_has_latent(model) || window->n_values != kgl_values(model) || window->off_grid) {
            return false;
        }
        kgl_net_encode(&model->latent.net, model->n_channels, window->steps, window->n_values, a->values,
                       a->scratch);
        memcpy(a->values, window->steps, len);
        return true;
    case KGL_RUNG_PREDICT:
        if (!kgl_has_predict(model)) {
            return false;
        }
        if (!kgl_is_gated(model)) {
            return nearest(model, window, reserve, a->values);
        }
        /* What the context rung has found stands in `path`: it comes first. */
        memcpy(a->values, a->path, len);
        return a->has_path;
    case KGL_RUNG_HOLD:
        memcpy(a->values, window->steps, len);
        return kgl_hold_choose(model, a->values, window->n_values, a->scratch, reserve, -1, 0, NULL);
    case KGL_RUNG_RAW:
        memcpy(a->values, window->steps, len);
        return true;
    default:
        return false;
    }
}

/* What the rung itself says. */
static bool symbols_code(const kgl_model *model, kgl_rung rung, kgl_areas *a, kgl_coder *coder, size_t n,
                         bool off_grid) {
    switch (rung) {
    case KGL_RUNG_CONTEXT:
        return kgl_context_code(model, coder, a->path, n, a->scratch, NULL);
    case KGL_RUNG_PREDICT:
        return kgl_has_predict(model) &&
               kgl_predict_code(model, coder, a->values, n, a->scratch, NULL, a->said, a->has_said);
    case KGL_RUNG_HOLD: return kgl_hold_code(model, coder, a->values, n, a->scratch, NULL);
    case KGL_RUNG_LATENT: return kgl_has_latent(model) && kgl_latent_code(model, coder, a->values, n, a->back, a->scratch);
    case KGL_RUNG_RAW: return kgl_raw_code(model, coder, a->values, n, off_grid);
    default: return false;
    }
}

/* Turns what a rung has said into grid steps, and says the rests of those beside the counts. */
static bool finish_values(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a,
                          kgl_coder *coder) {
    size_t n = window->n_values;
    if (rung == KGL_RUNG_CONTEXT) {
        memcpy(a->values, a->path, n * sizeof *a->values);
    }
    if (rung == KGL_RUNG_CONTEXT || rung == KGL_RUNG_PREDICT) {
        kgl_to_values(model, a->values, n);
    }
    return kgl_rests_code(model, coder, window->is_beside ? window->given : NULL, a->values, n);
}

bool kgl_write_head(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_coder *coder) {
    bool is_special = window->is_beside || !kgl_is_plain(model, window);
    return (!kgl_has_references(model) || kgl_symbol(coder, &model->reference.mark, 1)) &&
           (!is_special || (kgl_symbol(coder, &model->head, kgl_head_symbol(model, KGL_HEAD_SPECIAL)) &&
                            kgl_shape_code(model, coder, window))) &&
           kgl_symbol(coder, &model->head, kgl_head_symbol(model, (size_t)rung));
}

bool kgl_write_rung(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a, kgl_coder *coder) {
    return kgl_write_head(model, window, rung, coder) &&
           symbols_code(model, rung, a, coder, window->n_values, window->off_grid) &&
           /* What nobody needs to go on is left for the code that is taken: many are only measured. */
           (!window->is_beside || finish_values(model, window, rung, a, coder));
}

bool kgl_settle(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a) {
    return window->is_beside || finish_values(model, window, rung, a, NULL);
}

bool kgl_is_window(const kgl_model *model, const kgl_window *window) {
    size_t at;
    if (window->n_values == 0 || window->n_values % model->n_channels != 0 ||
        window->n_values > kgl_values(model)) {
        return false;
    }
    for (at = 0; at < window->n_values; at++) {
        int32_t x = window->steps[at];
        if (kgl_abs(x) > (uint32_t)KGL_STEP_MAX && kind_of(x) == 0) {
            return false;
        }
    }
    return true;
}

/* Writes on the predict rung. */
static bool write_predicted(const kgl_writing *w, kgl_coder *coder) {
    bool is_written = kgl_prepare(w->model, w->window, KGL_RUNG_PREDICT, w->areas) &&
                      kgl_write_rung(w->model, w->window, KGL_RUNG_PREDICT, w->areas, coder);
    w->areas->has_said = true;
    return is_written;
}

/* Measures the cheap rungs, then lets the networks write what they measure. Gives the rung that won; `is_written` if
 * its code already stands in the coder. */
static kgl_rung choose(const kgl_model *model, const kgl_window *window, kgl_areas *a, kgl_coder *coder, uint8_t *out,
                       size_t out_len, bool *is_written, size_t *code_len) {
    /* The context rung comes first: what it has found stays in `path`, the others are soon prepared again. */
    static const uint8_t order[4] KGL_PROGMEM = {KGL_RUNG_CONTEXT, KGL_RUNG_HOLD, KGL_RUNG_LATENT, KGL_RUNG_RAW};
    uint32_t best_cost = UINT32_MAX;
    kgl_rung best = KGL_RUNG_RAW;
    uint8_t i;
    *is_written = false;
    for (i = 0; i < 4; i++) {
        kgl_rung rung = (kgl_rung)KGL_ROM_U8(&order[i]);
        if (!kgl_prepare(model, window, rung, a)) {
            continue;
        }
        kgl_coder_init(coder, NULL, 0, false, true, UINT32_MAX);
        if (kgl_write_rung(model, window, rung, a, coder) && kgl_coder_cost(coder) < best_cost) {
            best_cost = kgl_coder_cost(coder);
            best = rung;
        }
    }
    /* The networks are dear: they run once, and no further than where they have lost. */
    if (kgl_has_budget(model) && a->said != NULL) {
        kgl_writing w = {model, window, a, 0};
        *is_written = kgl_length(write_predicted, &w, best_cost, out, out_len, code_len);
    } else if (kgl_prepare(model, window, KGL_RUNG_PREDICT, a)) {
        kgl_coder_init(coder, out, out_len, true, true, best_cost);
        if (kgl_write_rung(model, window, KGL_RUNG_PREDICT, a, coder)) {
            uint32_t cost = kgl_coder_cost(coder);
            bool on_par_wins = best == KGL_RUNG_LATENT || best == KGL_RUNG_RAW;
            *is_written = (cost < best_cost || (on_par_wins && cost == best_cost)) && kgl_coder_finish(coder, code_len);
        }
    }
    return *is_written ? KGL_RUNG_PREDICT : best;
}

/* Parts the workspace. */
static void split(const kgl_model *model, int32_t *workspace, kgl_areas *a) {
    size_t n = kgl_values(model);
    a->values = workspace;
    a->path = a->values + n;
    a->back = a->path + n;
    a->best = a->back + n;
    a->scratch = kgl_has_expected(model) ? a->best + n : a->best;
    a->said = NULL;
    /* Where codes may refer, the length of one that stands alone tells nothing. */
    if (kgl_has_budget(model) && !kgl_has_references(model)) {
        a->said = a->scratch;
        a->scratch += KGL_SAID_WORDS * n;
    }
    a->has_path = a->has_said = false;
}

void kgl_window_of(kgl_window *window, const int32_t *steps, size_t n_values, bool off_grid) {
    window->steps = window->given = steps;
    window->n_values = n_values;
    window->off_grid = off_grid;
    window->is_beside = false;
    window->past.rs = NULL;
    window->past.n = 0;
}

void kgl_window_count(const kgl_model *model, int32_t *workspace, size_t workspace_len, kgl_window *window) {
    if (kgl_has_counts(model)) {
        int32_t *counts = workspace + (workspace_len - kgl_values(model));
        window->is_beside = kgl_counts_of(model, window->given, counts, window->n_values);
        window->steps = counts;
    }
}

/* The rung that costs least, to a sixteenth of a bit. */
static bool cheapest(const kgl_model *model, const kgl_window *window, kgl_areas *a, uint8_t *out, size_t out_len,
                     size_t *code_len, kgl_rung *rung) {
    kgl_coder coder;
    bool is_written;
    *rung = choose(model, window, a, &coder, out, out_len, &is_written, code_len);
    if (!is_written) {
        if (*rung != KGL_RUNG_CONTEXT) {
            (void)kgl_prepare(model, window, *rung, a);
        }
        kgl_coder_init(&coder, out, out_len, true, false, UINT32_MAX);
        if (!kgl_write_rung(model, window, *rung, a, &coder) || !kgl_coder_finish(&coder, code_len)) {
            return false;
        }
    }
    if (kgl_has_fixed(model) && *code_len == kgl_fixed_code_len(model)) {
        /* A full window has this many bytes; no code ends in zero, so a zero tells them apart. */
        out[(*code_len)++] = 0;
    }
    return kgl_settle(model, window, *rung, a);
}

kgl_status kgl_encode(const kgl_model *model, const int32_t *steps, size_t n_values, bool off_grid,
                      int32_t *workspace, size_t workspace_len, uint8_t *out, size_t out_len, size_t *code_len,
                      kgl_rung *rung) {
    kgl_window window;
    kgl_areas a;
    kgl_rung best = KGL_RUNG_FIXED;
    bool is_done = true;
    kgl_window_of(&window, steps, n_values, off_grid);
    if (!kgl_is_window(model, &window)) {
        return KGL_ERR_WINDOW;
    }
    if (workspace_len < kgl_workspace_len(model) || out_len < kgl_code_len_max(model)) {
        return KGL_ERR_BUFFER;
    }
    split(model, workspace, &a);
    kgl_window_count(model, workspace, workspace_len, &window);
    if (kgl_has_fixed(model) && kgl_is_plain(model, &window)) {
        kgl_fixed_encode(model, steps, a.values, a.scratch, out);
        *code_len = kgl_fixed_code_len(model);
    } else if (kgl_has_expected(model)) {
        is_done = kgl_shortest(model, &window, &a, out, out_len, code_len, &best);
    } else {
        is_done = cheapest(model, &window, &a, out, out_len, code_len, &best);
    }
    if (is_done && rung != NULL) {
        *rung = best;
    }
    return is_done ? KGL_OK : KGL_ERR_BUFFER;
}
