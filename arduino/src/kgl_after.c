/* Codes that refer to an earlier window. The path is searched after the end of that, so that a sensor that stands still is
 * held where it was, and written twice on the same rung: after the tail, and alone. Step by step as the Rust encoder. */
#include "kgl_ladder.h"

#define HEAD_SPECIAL 3

/* How far a code refers: nearly always to the window before. */
static const uint8_t DISTANCES[KGL_DISTANCE_MAX] KGL_PROGMEM = {2, 64, 96, 96};

static size_t room_len(const kgl_model *model) {
    return (size_t)KGL_TAIL_SAMPLES_MAX * model->n_channels;
}

bool kgl_reference_parse(kgl_model *model, kgl_reader section) {
    return kgl_table_parse(&section, 2, &model->reference.mark) &&
           kgl_table_parse(&section, HEAD_SPECIAL + 1, &model->reference.head) && section.left == 0;
}

static bool distance_code(kgl_coder *coder, uint8_t distance) {
    uint32_t cum = 0, total = 0, freq = 0;
    uint8_t i;
    for (i = 0; i < KGL_DISTANCE_MAX; i++) {
        uint32_t f = kgl_freq_of(KGL_ROM_U8(&DISTANCES[i]));
        cum += i < distance - 1 ? f : 0;
        freq = i == distance - 1 ? f : freq;
        total += f;
    }
    return kgl_narrow(coder, cum, freq, total);
}

/* Puts the tail's lattice values in front of the window's; false if there is no value to go on from. */
static bool begin(const kgl_model *model, const int32_t *tail, size_t n_tail, int32_t *workspace, kgl_window *window) {
    size_t n = n_tail - n_tail % model->n_channels, at;
    bool is_known = false;
    int32_t *past;
    n = n < room_len(model) ? n : room_len(model);
    past = workspace + (room_len(model) - n);
    memcpy(past, tail + (n_tail - n), n * sizeof *past);
    if (kgl_has_counts(model) && n > 0) {
        (void)kgl_counts_of(model, tail + (n_tail - n), past, n);
    }
    for (at = 0; at < n; at++) {
        if (kgl_is_step(past[at])) {
            past[at] = kgl_lattice_nearest(kgl_lattice_of(model, at % model->n_channels), past[at]);
            is_known = true;
        }
    }
    window->past.rs = past;
    window->past.n = n;
    return is_known;
}

/* What the rung itself says, after the tail. */
static bool symbols_code(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a,
                         kgl_coder *coder) {
    size_t n = window->n_values;
    switch (rung) {
    case KGL_RUNG_HOLD: return kgl_hold_code(model, coder, a->values, n, a->scratch, &window->past);
    case KGL_RUNG_CONTEXT: return kgl_context_code(model, coder, a->values, n, a->scratch, &window->past);
    default:
        return kgl_has_predict(model) &&
               kgl_predict_code(model, coder, a->values, n, a->scratch, &window->past, a->said, a->has_said);
    }
}

/* Writes a window after the tail. What a decoder reads is left to the code that stands alone; `back` becomes what is held. */
static bool write_after(const kgl_model *model, const kgl_window *window, kgl_rung rung, uint8_t distance,
                        kgl_areas *a, kgl_coder *coder) {
    size_t len = window->n_values * sizeof *a->values;
    if (rung == KGL_RUNG_HOLD) {
        memcpy(a->values, window->steps, len);
        if (!kgl_hold_choose(model, a->values, window->n_values, a->scratch, window->off_grid ? 1 : 0, -1, 0,
                             &window->past)) {
            return false;
        }
    } else {
        memcpy(a->values, a->path, len);
    }
    if (!kgl_symbol(coder, &model->reference.mark, 0) || !distance_code(coder, distance)) {
        return false;
    }
    if ((window->is_beside || !kgl_is_plain(model, window)) &&
        !(kgl_symbol(coder, &model->reference.head, HEAD_SPECIAL) && kgl_shape_code(model, coder, window))) {
        return false;
    }
    if (!kgl_symbol(coder, &model->reference.head, (size_t)rung) || !symbols_code(model, window, rung, a, coder)) {
        return false;
    }
    if (rung == KGL_RUNG_HOLD) {
        memcpy(a->back, a->values, len);
    } else if (window->is_beside) {
        kgl_to_values(model, a->values, window->n_values);
    }
    return !window->is_beside || kgl_rests_code(model, coder, window->given, a->values, window->n_values);
}

/* The rung of the fewest bytes, and of those the least cost, and its bytes; UINT32_MAX if none says the window. */
static uint32_t choose(const kgl_model *model, const kgl_window *window, uint8_t distance, kgl_areas *a, uint8_t *out,
                   size_t out_len, kgl_rung *rung) {
    static const uint8_t order[3] KGL_PROGMEM = {KGL_RUNG_HOLD, KGL_RUNG_CONTEXT, KGL_RUNG_PREDICT};
    uint32_t best_len = UINT32_MAX, best_cost = UINT32_MAX;
    uint8_t i, n_tried = kgl_has_predict(model) && !kgl_has_budget(model) ? 3 : 2;
    for (i = 0; i < n_tried; i++) {
        kgl_rung tried = (kgl_rung)KGL_ROM_U8(&order[i]);
        kgl_coder coder;
        size_t len;
        kgl_coder_init(&coder, out, out_len, true, true,
                       best_len == UINT32_MAX ? UINT32_MAX : best_len * 128 + 127);
        if (write_after(model, window, tried, distance, a, &coder)) {
            uint32_t cost = kgl_coder_cost(&coder);
            if (kgl_coder_finish(&coder, &len) && (len < best_len || (len == best_len && cost < best_cost))) {
                best_len = (uint32_t)len;
                best_cost = cost;
                *rung = tried;
            }
        }
    }
    return best_len;
}

static bool write_predicted(const kgl_writing *w, kgl_coder *coder) {
    bool is_written = write_after(w->model, w->window, KGL_RUNG_PREDICT, w->distance, w->areas, coder);
    w->areas->has_said = true;
    return is_written;
}

/* The predict rung where the length of a code tells, if it takes fewer bytes than `best_len`. */
static bool fitting(const kgl_writing *w, uint32_t best_len, uint8_t *out, size_t cap, size_t *code_len) {
    uint32_t cost_max = best_len == UINT32_MAX ? UINT32_MAX : best_len * 128 - 1 - KGL_LENGTH_END;
    return kgl_has_budget(w->model) && w->areas->said != NULL && best_len > 0 &&
           kgl_length(write_predicted, w, cost_max, out, cap, code_len);
}

/* Writes both codes, one behind the other; false if one has no room. */
static bool write_both(const kgl_model *model, const kgl_window *window, uint8_t distance, kgl_areas *a,
                       uint8_t *out, size_t out_len, kgl_referring *made) {
    size_t cap = kgl_code_len_max(model), len = window->n_values * sizeof *a->values;
    kgl_rung rung = KGL_RUNG_CONTEXT;
    uint32_t best_len = choose(model, window, distance, a, out, out_len, &rung);
    kgl_writing w = {model, window, a, distance};
    kgl_coder coder;
    if (fitting(&w, best_len, out, cap, &made->code_len)) {
        rung = KGL_RUNG_PREDICT;
    } else {
        kgl_coder_init(&coder, out, cap, true, false, UINT32_MAX);
        if (best_len == UINT32_MAX || !write_after(model, window, rung, distance, a, &coder) ||
            !kgl_coder_finish(&coder, &made->code_len)) {
            return false;
        }
    }
    a->said = NULL;
    a->has_said = false;
    memcpy(a->values, rung == KGL_RUNG_HOLD ? a->back : a->path, len);
    kgl_coder_init(&coder, out + cap, cap, true, false, UINT32_MAX);
    if (!kgl_write_rung(model, window, rung, a, &coder) || !kgl_coder_finish(&coder, &made->alone_len) ||
        !kgl_settle(model, window, rung, a)) {
        return false;
    }
    memmove(out + made->code_len, out + cap, made->alone_len);
    return true;
}

kgl_status kgl_encode_after(const kgl_model *model, const int32_t *tail, size_t n_tail, uint8_t distance,
                            const int32_t *steps, size_t n_values, bool off_grid, const kgl_encode_buffers *buffers,
                            kgl_referring *made) {
    kgl_window window;
    kgl_areas a;
    made->is_made = false;
    kgl_window_of(&window, steps, n_values, off_grid);
    if (!kgl_is_window(model, &window)) {
        return KGL_ERR_WINDOW;
    }
    if (buffers->workspace_len < kgl_workspace_len(model) || buffers->out_len / 2 < kgl_code_len_max(model)) {
        return KGL_ERR_BUFFER;
    }
    if (!kgl_has_references(model) || distance < 1 || distance > KGL_DISTANCE_MAX) {
        return KGL_OK;
    }
    a.values = buffers->workspace + room_len(model);
    a.path = a.values + kgl_values(model);
    a.back = a.path + kgl_values(model);
    a.best = a.scratch = a.back + kgl_values(model);
    a.said = NULL;
    if (kgl_has_budget(model)) {
        a.said = a.scratch;
        a.scratch += KGL_SAID_WORDS * kgl_values(model);
    }
    a.has_path = true;
    a.has_said = false;
    kgl_window_count(model, buffers->workspace, buffers->workspace_len, &window);
    if (!begin(model, tail, n_tail, buffers->workspace, &window) ||
        !kgl_search(model, &window, a.path, a.back, a.scratch) ||
        !write_both(model, &window, distance, &a, buffers->out, buffers->out_len, made)) {
        return KGL_OK;
    }
    memmove(buffers->workspace, a.values, n_values * sizeof *a.values);
    made->is_made = made->code_len < made->alone_len;
    return KGL_OK;
}
