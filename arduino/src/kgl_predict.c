/* The predict rung: a small network says how likely each next value is, and the range coder says which it was.
 * Gated networks are what trainers make; mixed ones are what the first bundles had. */
#include "kgl_predict.h"

#define OUTPUTS_MIXED 9
#define OUTPUTS_GATED 10
#define BUDGET_INPUTS 6
/* Bits of a code that say no value, in sixteenths: half a byte is lost at its end, less what chance gives back. */
#define BUDGET_END 40

static uint16_t n_linear(const kgl_model *model) {
    return (uint16_t)(model->predict.own_lags + (model->n_channels - 1) * model->predict.other_lags);
}

static uint16_t n_features(const kgl_model *model) {
    return (uint16_t)(n_linear(model) + model->n_channels + KGL_EXTRAS);
}

/* One channel's network. */
typedef struct record {
    const uint8_t *linear;
    /* Share of the table in the mix, in 64ths; 0 if the network says it. */
    uint8_t table_weight;
    /* Two hidden ones, the outputs, and from what the code's length tells to the outputs. */
    kgl_dense layers[4];
} record;

/* `is_checked`: it was read once before. */
static bool record_read(const kgl_model *model, kgl_reader *reader, bool is_checked, record *out) {
    const uint8_t *n_hidden = model->predict.n_hidden;
    bool is_gated = kgl_is_gated(model);
    uint16_t ins[4], outs[4];
    uint8_t i, n_layers = kgl_has_budget(model) ? 4 : 3;
    ins[0] = n_features(model);
    ins[1] = outs[0] = n_hidden[0];
    ins[2] = outs[1] = n_hidden[1];
    outs[2] = is_gated ? OUTPUTS_GATED : OUTPUTS_MIXED;
    ins[3] = BUDGET_INPUTS;
    outs[3] = OUTPUTS_GATED;
    out->linear = kgl_take(reader, 2U * n_linear(model) * (is_gated ? KGL_COMPONENTS : 1U));
    out->table_weight = is_gated ? 0 : kgl_take_u8(reader);
    for (i = 0; i < n_layers; i++) {
        if (is_checked) {
            kgl_dense_checked(reader, ins[i], outs[i], i < 3, &out->layers[i]);
        } else if (!kgl_dense_parse(reader, ins[i], outs[i], i < 3, &out->layers[i])) {
            return false;
        }
    }
    return !reader->is_short;
}

bool kgl_predict_parse(kgl_model *model, kgl_reader section, uint8_t tag) {
    bool is_gated = !KGL_READS(6) || tag != 6;
    uint8_t i, j;
    model->predict.is_gated = is_gated;
    model->predict.has_budget = tag == 12;
    model->predict.usual_bits = tag == 12 ? (int8_t)kgl_take_u8(&section) : 0;
    model->predict.own_lags = is_gated ? kgl_take_u8(&section) : 8;
    model->predict.other_lags = is_gated ? kgl_take_u8(&section) : 3;
    for (j = 0; j < 2; j++) {
        model->predict.n_hidden[j] = kgl_take_u8(&section);
        if (model->predict.n_hidden[j] < 1 || model->predict.n_hidden[j] > KGL_PREDICT_HIDDEN_MAX) {
            return false;
        }
    }
    if (model->predict.own_lags < 1 || model->predict.own_lags > KGL_OWN_LAGS_MAX || model->predict.other_lags < 1 ||
        model->predict.other_lags > KGL_OTHER_LAGS_MAX) {
        return false;
    }
    model->predict.scalings = kgl_take(&section, (uint32_t)KGL_SCALING_LEN * model->n_channels);
    model->predict.records = section.at;
    model->predict.record_len = section.left / model->n_channels;
    for (i = 0; !section.is_short && i < model->n_channels; i++) {
        const uint8_t *scaling = model->predict.scalings + (size_t)i * KGL_SCALING_LEN;
        uint32_t mean_move = kgl_m32(scaling), deviation = kgl_m32(scaling + 8);
        record one;
        if (mean_move < 1 || mean_move > UINT32_C(1) << 24 || deviation < 1 || deviation > UINT32_C(1) << 26 ||
            kgl_abs(kgl_mi32(scaling + 4)) > UINT32_C(1) << 26 || !record_read(model, &section, false, &one) ||
            one.table_weight > 64) {
            return false;
        }
    }
    return !section.is_short && section.left == 0;
}

/* What a network says of the next difference: linear predictions Q4, outputs Q8. */
typedef struct answer {
    int64_t linear[KGL_COMPONENTS];
    int32_t outputs[OUTPUTS_GATED];
} answer;

/* What the features were is gone after it. */
static void say(const kgl_model *model, const record *net, kgl_features *features, answer *out) {
    bool is_gated = kgl_is_gated(model);
    uint16_t n = n_linear(model), i;
    int64_t *linear = out->linear;
    int32_t hidden[KGL_PREDICT_HIDDEN_MAX], *second = features->values;
    const uint8_t *weight = net->linear;
    uint8_t k;
    for (k = 0; k < KGL_COMPONENTS; k++) {
        int64_t sum = 0;
        if (k > 0 && !is_gated) {
            linear[k] = linear[0];
            continue;
        }
        for (i = 0; i < n; i++, weight += 2) {
            sum += (int64_t)kgl_mi16(weight) * features->linear[i];
        }
        linear[k] = sum >> 8;
    }
    kgl_dense_run(&net->layers[0], features->values, hidden, KGL_DENSE_HIDDEN);
    kgl_dense_run(&net->layers[1], hidden, second, KGL_DENSE_HIDDEN);
    kgl_dense_run(&net->layers[2], second, out->outputs, KGL_DENSE_OUTPUT);
}

/* --- budgets: what the length of a code tells of the values still to come ------------------------------------------- */

#define PREDICTION_MAX (INT64_C(2147483136)) /* 2^31 - 512 */

/* Limited to what is kept of it: predictions of 32 bits and outputs of 16. */
static void said_limit(answer *s) {
    uint8_t i;
    for (i = 0; i < KGL_COMPONENTS; i++) {
        int64_t x = s->linear[i];
        s->linear[i] = x < -PREDICTION_MAX ? -PREDICTION_MAX : x > PREDICTION_MAX ? PREDICTION_MAX : x;
    }
    for (i = 0; i < OUTPUTS_GATED; i++) {
        s->outputs[i] = kgl_clamp(s->outputs[i], INT16_MIN, INT16_MAX);
    }
}

static void said_store(const answer *s, int32_t *words) {
    uint8_t i;
    for (i = 0; i < KGL_COMPONENTS; i++) {
        words[i] = (int32_t)s->linear[i];
    }
    for (i = 0; i < OUTPUTS_GATED; i = (uint8_t)(i + 2)) {
        words[KGL_COMPONENTS + i / 2] =
            (int32_t)((uint32_t)(uint16_t)s->outputs[i] | (uint32_t)s->outputs[i + 1] << 16);
    }
}

static void said_load(answer *s, const int32_t *words) {
    uint8_t i;
    for (i = 0; i < KGL_COMPONENTS; i++) {
        s->linear[i] = words[i];
    }
    for (i = 0; i < OUTPUTS_GATED; i = (uint8_t)(i + 2)) {
        uint32_t pair = (uint32_t)words[KGL_COMPONENTS + i / 2];
        s->outputs[i] = (int16_t)(uint16_t)pair;
        s->outputs[i + 1] = (int16_t)(uint16_t)(pair >> 16);
    }
}

static int32_t per_value(const kgl_model *model, uint32_t bits, uint32_t n) {
    int32_t x = (int32_t)kgl_log2_q4(bits > 0 ? bits : 1) - (int32_t)kgl_log2_q4(16 * n) - model->predict.usual_bits;
    return kgl_clamp(2 * x, -127, 127);
}

/* The logarithm of the bits left a value: now, bent, later in the window more, in its last samples alone; the same of the
 * whole code, and bent. */
static void budget_inputs(const kgl_model *model, const kgl_coder *coder, size_t n_values, size_t nth, int32_t *inputs) {
    uint32_t total = 128 * coder->code_len, spent = kgl_coder_spent(coder), n_left = (uint32_t)(n_values - nth);
    uint32_t whole = total > BUDGET_END ? total - BUDGET_END : 0;
    int32_t now = per_value(model, whole > spent ? whole - spent : 0, n_left);
    int32_t all = per_value(model, whole, (uint32_t)n_values);
    inputs[0] = now;
    inputs[1] = kgl_clamp((now * now) >> 6, 0, 127);
    inputs[2] = now * (int32_t)nth / (int32_t)n_values;
    inputs[3] = n_left < 5U * model->n_channels ? now >> 1 : 0;
    inputs[4] = all;
    inputs[5] = kgl_clamp((all * all) >> 6, 0, 127);
}

/* --- gated: the table is one more component ----------------------------------------------------------------------- */

#define CLASSES 32
#define SYMBOLS_GATED (2 * CLASSES + 1)
#define TOTAL (UINT32_C(1) << 16)
#define CENTRE_MAX (INT32_C(1) << 26)

/* The lowest distance of a class. */
static int32_t edge_of(int8_t class_idx) {
    return class_idx > 0 ? (int32_t)kgl_class_first((uint8_t)class_idx)
                         : 1 - (int32_t)kgl_class_first((uint8_t)(1 - class_idx));
}

/* Where the symbol of a class begins whose lowest value is `edge`, `freq` being the table's share below that. Every
 * symbol keeps a width of one. */
static uint32_t gated_cum(const kgl_mixture *mixture, const kgl_table *table, int8_t class_idx, int32_t edge,
                          uint32_t freq) {
    /* Boundaries lie half way between values. */
    uint32_t below = kgl_mixture_below(mixture, (int64_t)edge * 16 - 8) + mixture->rest * ((freq << 15) / table->total);
    return (((below >> 9) * (TOTAL - SYMBOLS_GATED)) >> 16) + (uint32_t)(class_idx + CLASSES);
}

static bool gated_code(kgl_coder *coder, const kgl_mixture *mixture, const kgl_table *table, int32_t *d) {
    int32_t centre = kgl_clamp(mixture->centre, -CENTRE_MAX, CENTRE_MAX), distance = kgl_sub(*d, centre), edge, end;
    int8_t class_idx = kgl_signed_class(distance, CLASSES);
    uint32_t from = 0, to = TOTAL, freq;
    if (coder == NULL) {
        /* The lowest class, and of it the value nearest to the centre. */
        *d = centre - (int32_t)kgl_class_first(CLASSES);
        return true;
    }
    edge = centre + edge_of(class_idx);
    freq = kgl_freq_below(table, edge);
    if (class_idx > -CLASSES) {
        from = gated_cum(mixture, table, class_idx, edge, freq);
    }
    if (class_idx < CLASSES) {
        end = centre + edge_of((int8_t)(class_idx + 1));
        /* Most symbols are one value. */
        if (end == edge + 1 && kgl_abs(edge) < 9U && kgl_abs(edge) < table->n_symbols / 2U) {
            freq += kgl_freq_of_value(table, edge);
        } else {
            freq = kgl_freq_below(table, end);
        }
        to = gated_cum(mixture, table, (int8_t)(class_idx + 1), end, freq);
    }
    return kgl_narrow(coder, from, to - from, TOTAL) && kgl_inside(coder, class_idx, CLASSES, distance);
}

/* --- mixed: symbol frequencies are mixed with the table's ----------------------------------------------------------- */

#define REACH 24
#define SYMBOLS_MIXED (2 * REACH + 3)

static bool mixed_code(kgl_coder *coder, const kgl_mixture *mixture, const kgl_table *table, uint32_t weight,
                       int32_t *given) {
    int32_t d = *given, centre = mixture->centre, low = centre - REACH, high = centre + REACH;
    int64_t x = ((int64_t)centre - REACH) * 16 - 8;
    uint32_t freqs[SYMBOLS_MIXED], below = 0, rest = table->total, cum = 0, total = 0;
    uint8_t sym, wanted;
    if (coder == NULL) {
        *given = low - 1;
        return true;
    }
    for (sym = 0; sym < SYMBOLS_MIXED - 1; sym++, x += 16) {
        uint32_t up_to = kgl_mixture_below(mixture, x) >> 10;
        freqs[sym] = up_to - below;
        below = up_to;
    }
    freqs[SYMBOLS_MIXED - 1] = below < UINT32_C(1) << 15 ? (UINT32_C(1) << 15) - below : 0;
    for (sym = 1; sym < SYMBOLS_MIXED - 1; sym++) {
        uint32_t share = kgl_freq_of_value(table, low - 1 + sym);
        rest = rest > share ? rest - share : 0;
        freqs[sym] = ((weight * share + (64 - weight) * freqs[sym]) >> 6) + 1;
    }
    freqs[0] = ((weight * (rest / 2) + (64 - weight) * freqs[0]) >> 6) + 1;
    freqs[SYMBOLS_MIXED - 1] = ((weight * (rest / 2) + (64 - weight) * freqs[SYMBOLS_MIXED - 1]) >> 6) + 1;
    wanted = d < low ? 0 : d > high ? SYMBOLS_MIXED - 1 : (uint8_t)(d - low + 1);
    for (sym = 0; sym < SYMBOLS_MIXED; sym++) {
        cum += sym < wanted ? freqs[sym] : 0;
        total += freqs[sym];
    }
    if (!kgl_narrow(coder, cum, freqs[wanted], total)) {
        return false;
    }
    if (wanted == 0) {
        return kgl_unbounded(coder, (uint32_t)kgl_sub(kgl_sub(low, 1), d) & KGL_MAGNITUDE_MAX);
    }
    return wanted < SYMBOLS_MIXED - 1 ||
           kgl_unbounded(coder, (uint32_t)kgl_sub(kgl_sub(d, high), 1) & KGL_MAGNITUDE_MAX);
}

/* `nth` of the window's values; `words`: where what the network says is kept, or NULL; `has_said`: it is there. */
static bool code_later(const kgl_model *model, kgl_coder *coder, kgl_features *features, const kgl_measure *measures,
                       int32_t *rs, size_t n_values, size_t at, size_t nth, const kgl_history *history,
                       const int32_t *histories, int32_t *words, bool has_said) {
    uint8_t idx = (uint8_t)(at % model->n_channels);
    kgl_table table = kgl_context_table(model, history, idx, histories);
    int32_t d = kgl_sub(rs[at], history->r);
    kgl_mixture mixture;
    kgl_reader reader;
    record net;
    answer out;
    reader.at = model->predict.records + (size_t)(idx * model->predict.record_len);
    reader.left = model->predict.record_len;
    reader.is_short = false;
    if (!record_read(model, &reader, true, &net)) {
        return false;
    }
    if (KGL_READS(12) && has_said) {
        said_load(&out, words);
    } else {
        kgl_features_look(features, model, measures, rs, at, history);
        say(model, &net, features, &out);
        if (kgl_has_budget(model)) {
            said_limit(&out);
        }
        if (KGL_READS(12) && words != NULL) {
            said_store(&out, words);
        }
    }
    if (kgl_has_budget(model) && coder->code_len != KGL_LEN_UNKNOWN) {
        int32_t inputs[BUDGET_INPUTS];
        budget_inputs(model, coder, n_values, nth, inputs);
        kgl_dense_run(&net.layers[3], inputs, out.outputs, KGL_DENSE_ADD);
    }
    kgl_mixture_make(&mixture, out.linear, measures[idx].mean_move, out.outputs,
                     kgl_is_gated(model) ? &out.outputs[OUTPUTS_MIXED] : NULL);
    if (!(kgl_is_gated(model) ? gated_code(coder, &mixture, &table, &d)
                                  : mixed_code(coder, &mixture, &table, net.table_weight, &d))) {
        return false;
    }
    rs[at] = (int32_t)((uint32_t)history->r + (uint32_t)d);
    return true;
}

/* `rs`: lattice values, sample-major; what is no step is skipped. `histories`: as much as a search's beam. */
bool kgl_predict_code(const kgl_model *model, kgl_coder *coder, int32_t *rs, size_t n_values, int32_t *histories,
                      const kgl_past *past, int32_t *said, bool has_said) {
    kgl_features features;
    /* Behind the histories, where the search had its beam: a stack has less room. */
    kgl_measure *measures = (kgl_measure *)(void *)(histories + (size_t)model->n_channels * KGL_HISTORY_WORDS);
    size_t at, n_past = past != NULL ? past->n : 0;
    uint8_t idx;
    kgl_histories_begin(model, past, histories);
    rs -= n_past;
    for (idx = 0; idx < model->n_channels; idx++) {
        kgl_measure_read(&measures[idx], model->predict.scalings + (size_t)idx * KGL_SCALING_LEN);
    }
    for (at = n_past; at < n_past + n_values; at++) {
        kgl_history history;
        int32_t value;
        if (coder != NULL && !kgl_is_step(rs[at])) {
            continue;
        }
        idx = (uint8_t)(at % model->n_channels);
        history = kgl_history_load(histories, idx);
        if (history.n_seen == 0) {
            kgl_first first = kgl_first_of(model, idx);
            if (coder == NULL) {
                rs[at] = kgl_first_expected(model, idx, histories);
            } else if (!kgl_first_code(coder, &first, kgl_predict_first(model, idx, histories), rs[at])) {
                return false;
            }
        } else if (!code_later(model, coder, &features, measures, rs, n_values, at, at - n_past, &history, histories,
                               KGL_READS(12) && said != NULL ? said + (at - n_past) * KGL_SAID_WORDS : NULL, has_said)) {
            return false;
        }
        if (!kgl_lattice_value_wide(kgl_lattice_of(model, idx), rs[at], &value)) {
            return false;
        }
        kgl_history_push(histories, idx, rs[at]);
    }
    return true;
}
