/* The window that is expected: what the empty code says. A decoder reads zeros past a code's end, so that every symbol of
 * the empty code is the first of its table and all its bits are 0; this reads that one code, and no other. */
#include "kgl_codec_inner.h"

bool kgl_expected_parse(kgl_model *model, kgl_reader section) {
    uint8_t idx;
    const uint8_t *bins;
    model->expected = NULL;
    bins = section.at + 1;
    if (section.left != 1U + model->n_channels || kgl_m8(section.at) >= KGL_HEAD_SYMBOLS) {
        return false;
    }
    for (idx = 0; idx < model->n_channels; idx++) {
        if (kgl_m8(bins + idx) >= kgl_first_of(model, idx).table.n_symbols - 2) {
            return false;
        }
    }
    model->expected = section.at;
    return true;
}

/* Every channel stays at its first value: so says hold, and context, where the first symbol is no difference. */
static bool held(const kgl_model *model, int32_t *values, int32_t *histories) {
    uint8_t idx;
    memset(histories, 0, (size_t)model->n_channels * KGL_HISTORY_WORDS * sizeof *histories);
    for (idx = 0; idx < model->n_channels; idx++) {
        int32_t r = kgl_first_expected(model, idx, histories), value;
        size_t at;
        if (!kgl_lattice_value_wide(kgl_lattice_of(model, idx), r, &value)) {
            return false;
        }
        kgl_history_push(histories, idx, r);
        for (at = idx; at < kgl_values(model); at += model->n_channels) {
            values[at] = value;
        }
    }
    return true;
}

static bool predicted(const kgl_model *model, int32_t *values, int32_t *histories) {
    size_t at;
    memset(values, 0, kgl_values(model) * sizeof *values);
    if (!kgl_predict_code(model, NULL, values, kgl_values(model), histories, NULL, NULL, false)) {
        return false;
    }
    for (at = 0; at < kgl_values(model); at++) {
        (void)kgl_lattice_value_wide(kgl_lattice_of(model, at % model->n_channels), values[at], &values[at]);
    }
    return true;
}

bool kgl_expected(const kgl_model *model, int32_t *values, int32_t *scratch, kgl_rung *rung) {
    uint8_t head = kgl_m8(model->expected);
    bool is_said = true;
    size_t at;
    if (kgl_has_references(model)) {
        /* The empty code then refers to an earlier window. */
        return false;
    }
    *rung = (kgl_rung)head;
    switch (head) {
    case KGL_RUNG_HOLD: is_said = held(model, values, scratch); break;
    case KGL_RUNG_CONTEXT: is_said = kgl_has_context(model) && held(model, values, scratch); break;
    case KGL_RUNG_PREDICT: is_said = kgl_has_predict(model) && predicted(model, values, scratch); break;
    case KGL_RUNG_LATENT:
        is_said = kgl_has_latent(model);
        if (is_said) {
            memset(scratch, 0, model->latent.net.n_latents * sizeof *scratch);
            kgl_net_decode(&model->latent.net, model->n_channels, scratch, values, kgl_values(model));
        }
        break;
    case KGL_RUNG_RAW:
        for (at = 0; at < kgl_values(model); at++) {
            values[at] = kgl_mi32(model->channels + (at % model->n_channels) * KGL_CHANNEL_LEN + 21);
        }
        break;
    /* A special window that is not special is none. */
    default: is_said = false;
    }
    return is_said && kgl_rests_code(model, NULL, NULL, values, kgl_values(model));
}
