/* Integer inference of small networks, and the two uses of the autoencoder: the latent rung, and windows in a fixed
 * number of bytes. Weights are int8 with one scale an output, sums are 32-bit, rescaled with one rounding, half up. */
#include "kgl_codec_inner.h"

#define INPUT_MAX 8191
#define LATENTS_MAX 255
#define HIDDEN_MAX 64
#define BIAS_MAX (UINT32_C(1) << 29)
#define FIXED_BITS_MAX 12
#define OUTPUT_MAX (INT32_C(1) << 27)

static uint8_t out_len(bool is_biased) {
    return is_biased ? 7 : 3;
}

void kgl_dense_checked(kgl_reader *reader, uint16_t n_in, uint16_t n_out, bool is_biased, kgl_dense *dense) {
    dense->weights = kgl_take(reader, (uint32_t)n_in * n_out);
    dense->outs = kgl_take(reader, (uint32_t)out_len(is_biased) * n_out);
    dense->n_in = n_in;
    dense->n_out = n_out;
    dense->is_biased = is_biased;
}

bool kgl_dense_parse(kgl_reader *reader, uint16_t n_in, uint16_t n_out, bool is_biased, kgl_dense *dense) {
    const uint8_t *out;
    uint16_t i;
    kgl_dense_checked(reader, n_in, n_out, is_biased, dense);
    if (reader->is_short) {
        return false;
    }
    out = dense->outs;
    for (i = 0; i < n_out; i++, out += out_len(is_biased)) {
        uint8_t shift = kgl_m8(out + out_len(is_biased) - 1);
        if ((is_biased && kgl_abs(kgl_mi32(out)) > BIAS_MAX) || shift < 1 || shift > 46) {
            return false;
        }
    }
    return true;
}

/* All outputs. Sums stay within 32 bits: 1024 inputs x 128 x INPUT_MAX, plus the largest bias. */
void kgl_dense_run(const kgl_dense *dense, const int32_t *input, int32_t *out, kgl_dense_use use) {
    const uint8_t *weight = dense->weights, *row = dense->outs;
    const int32_t *fours = input + (dense->n_in & ~3U), *end = input + dense->n_in;
    int32_t *out_end = out + dense->n_out;
    for (; out < out_end; out++, row += 3) {
        const int32_t *x = input;
        int32_t sum = 0;
        int64_t scaled;
        uint8_t shift;
        if (dense->is_biased) {
            sum = kgl_mi32(row);
            row += 4;
        }
        /* Four at a time: a small processor spends as much on the loop as on a product. */
        for (; x < fours; x += 4, weight += 4) {
            sum += (int8_t)kgl_m8(weight) * x[0] + (int8_t)kgl_m8(weight + 1) * x[1] +
                   (int8_t)kgl_m8(weight + 2) * x[2] + (int8_t)kgl_m8(weight + 3) * x[3];
        }
        for (; x < end; x++, weight++) {
            sum += (int8_t)kgl_m8(weight) * *x;
        }
        if (use == KGL_DENSE_HIDDEN && sum <= 0) {
            /* It stays on its side of 0. */
            *out = 0;
            continue;
        }
        shift = (uint8_t)(kgl_m8(row + 2) - 1);
        if (sum == (int16_t)sum) {
            /* It nearly always fits 32 bits. */
            sum = (sum * (int32_t)kgl_m16(row)) >> (shift < 31 ? shift : 31);
            sum = kgl_clamp((sum + 1) >> 1, -OUTPUT_MAX, OUTPUT_MAX);
        } else {
            scaled = ((((int64_t)sum * kgl_m16(row)) >> shift) + 1) >> 1;
            sum = scaled < -OUTPUT_MAX ? -OUTPUT_MAX : scaled > OUTPUT_MAX ? OUTPUT_MAX : (int32_t)scaled;
        }
        if (use == KGL_DENSE_HIDDEN && sum > KGL_HIDDEN_VALUE_MAX) {
            sum = KGL_HIDDEN_VALUE_MAX;
        }
        *out = use == KGL_DENSE_ADD ? *out + sum : sum;
    }
}

static bool half_parse(kgl_reader *reader, uint16_t n_in, uint16_t n_hidden, uint16_t n_out, kgl_half *half) {
    return kgl_dense_parse(reader, n_in, n_out, true, &half->linear) &&
           kgl_dense_parse(reader, n_in, n_hidden, true, &half->hidden) &&
           kgl_dense_parse(reader, n_hidden, n_hidden > 0 ? n_out : 0, false, &half->output);
}

static void half_run(const kgl_half *half, const int32_t *input, int32_t *hidden, int32_t *out) {
    kgl_dense_run(&half->hidden, input, hidden, KGL_DENSE_HIDDEN);
    kgl_dense_run(&half->linear, input, out, KGL_DENSE_OUTPUT);
    kgl_dense_run(&half->output, hidden, out, KGL_DENSE_ADD);
}

bool kgl_net_parse(kgl_reader *reader, const kgl_model *model, kgl_net *net) {
    uint8_t n_latents = kgl_take_u8(reader), n_enc = kgl_take_u8(reader), n_dec = kgl_take_u8(reader), i;
    uint16_t n_values = (uint16_t)kgl_values(model);
    if (reader->is_short || n_latents < 1 || n_enc > HIDDEN_MAX || n_dec > HIDDEN_MAX) {
        return false;
    }
    net->n_latents = n_latents;
    net->norms = kgl_take(reader, (uint32_t)KGL_NORM_LEN * model->n_channels);
    for (i = 0; !reader->is_short && i < model->n_channels; i++) {
        if (kgl_abs(kgl_mi32(net->norms + (size_t)i * KGL_NORM_LEN)) > (uint32_t)KGL_STEP_MAX) {
            return false;
        }
    }
    return !reader->is_short && half_parse(reader, n_values, n_enc, n_latents, &net->encoder) &&
           half_parse(reader, n_latents, n_dec, n_values, &net->decoder);
}

/* Words of scratch: latents, then the larger hidden layer. */
size_t kgl_net_scratch_len(const kgl_net *net) {
    uint16_t enc = net->encoder.hidden.n_out, dec = net->decoder.hidden.n_out;
    return (size_t)net->n_latents + (enc > dec ? enc : dec);
}

/* Latents of a full window, to the front of `scratch`; what is no step is filled with the channel's last value. */
void kgl_net_encode(const kgl_net *net, uint8_t n_channels, const int32_t *steps, size_t n_values, int32_t *input,
                    int32_t *scratch) {
    uint8_t idx, i;
    size_t at;
    for (idx = 0; idx < n_channels; idx++) {
        const uint8_t *norm = net->norms + (size_t)idx * KGL_NORM_LEN;
        int32_t mean = kgl_mi32(norm), to_input = kgl_mi32(norm + 4), last = mean;
        for (at = idx; at < n_values; at += n_channels) {
            int64_t deviation;
            last = kgl_is_step(steps[at]) ? steps[at] : last;
            deviation = ((int64_t)(last - mean) * to_input + (INT32_C(1) << 15)) >> 16;
            input[at] = deviation < -INPUT_MAX ? -INPUT_MAX : deviation > INPUT_MAX ? INPUT_MAX : (int32_t)deviation;
        }
    }
    half_run(&net->encoder, input, scratch + net->n_latents, scratch);
    for (i = 0; i < net->n_latents; i++) {
        scratch[i] = kgl_clamp((scratch[i] + 8) >> 4, -KGL_LATENT_MAX, KGL_LATENT_MAX);
    }
}

/* Grid steps of a full window from the latents at the front of `scratch`. */
void kgl_net_decode(const kgl_net *net, uint8_t n_channels, int32_t *scratch, int32_t *steps, size_t n_values) {
    size_t at;
    half_run(&net->decoder, scratch, scratch + net->n_latents, steps);
    for (at = 0; at < n_values; at++) {
        const uint8_t *norm = net->norms + (at % n_channels) * KGL_NORM_LEN;
        int64_t value = kgl_mi32(norm) + (((int64_t)steps[at] * kgl_mi32(norm + 8) + (INT32_C(1) << 15)) >> 16);
        steps[at] = value < -KGL_STEP_MAX ? -KGL_STEP_MAX : value > KGL_STEP_MAX ? KGL_STEP_MAX : (int32_t)value;
    }
}

/* --- latent rung -------------------------------------------------------------------------------------------------- */

static const uint8_t *tables_parse(kgl_reader *reader, uint8_t n_tables, uint8_t *n_symbols) {
    uint8_t n_classes = kgl_take_u8(reader), i;
    kgl_reader check;
    kgl_table table;
    if (reader->is_short || n_classes < 1 || n_classes > KGL_CLASSES_MAX) {
        return NULL;
    }
    *n_symbols = (uint8_t)(2 * n_classes + 1);
    check = *reader;
    for (i = 0; i < n_tables; i++) {
        if (!kgl_table_parse(&check, *n_symbols, &table)) {
            return NULL;
        }
    }
    return kgl_take(reader, (uint32_t)n_tables * (2U + *n_symbols));
}

bool kgl_latent_parse(kgl_model *model, kgl_reader section) {
    if (!kgl_net_parse(&section, model, &model->latent.net)) {
        return false;
    }
    model->latent.latents = tables_parse(&section, model->latent.net.n_latents, &model->latent.n_latent_symbols);
    if (model->latent.latents == NULL || !kgl_table_parse(&section, 2, &model->latent.flag)) {
        return false;
    }
    model->latent.residuals =
        tables_parse(&section, KGL_RESIDUAL_CONTEXTS, &model->latent.n_residual_symbols);
    return model->latent.residuals != NULL && section.left == 0;
}

static kgl_table table_in(const uint8_t *tables, uint8_t n_symbols, size_t idx) {
    return kgl_table_at(tables + idx * (2U + n_symbols), n_symbols);
}

static int32_t residual_of(const kgl_model *model, size_t at, int32_t x, const int32_t *guess) {
    int32_t spacing = 2 * kgl_bound_steps(model, at % model->n_channels) + 1;
    return kgl_div_floor(x - guess[at] + spacing / 2, spacing);
}

/* `values`: grid steps of a full window, become what a decoder reads. Latents at the front of `scratch`. */
bool kgl_latent_code(const kgl_model *model, kgl_coder *coder, int32_t *values, size_t n_values, int32_t *guess,
                     int32_t *scratch) {
    int32_t last[KGL_CHANNELS_MAX] = {0}, before = 0;
    bool any = false;
    size_t at;
    for (at = 0; at < model->latent.net.n_latents; at++) {
        kgl_table table = table_in(model->latent.latents, model->latent.n_latent_symbols, at);
        if (!kgl_signed(coder, &table, scratch[at])) {
            return false;
        }
    }
    kgl_net_decode(&model->latent.net, model->n_channels, scratch, guess, n_values);
    for (at = 0; at < n_values && !any; at++) {
        any = kgl_is_step(values[at]) && residual_of(model, at, values[at], guess) != 0;
    }
    if (!kgl_symbol(coder, &model->latent.flag, any)) {
        return false;
    }
    for (at = 0; at < n_values; at++) {
        size_t idx = at % model->n_channels;
        int32_t residual = 0;
        if (!kgl_is_step(values[at])) {
            continue;
        }
        if (any) {
            uint32_t size = kgl_abs(last[idx]);
            kgl_table table = table_in(model->latent.residuals, model->latent.n_residual_symbols,
                                       (size_t)(size < 2 ? size : 2) * 2 + (before != 0));
            residual = residual_of(model, at, values[at], guess);
            if (!kgl_signed(coder, &table, residual)) {
                return false;
            }
            last[idx] = residual;
            before = residual;
        }
        values[at] = guess[at] + residual * (2 * kgl_bound_steps(model, idx) + 1);
    }
    return true;
}

/* --- fixed size --------------------------------------------------------------------------------------------------- */

size_t kgl_fixed_code_len(const kgl_model *model) {
    size_t n_bits = 0;
    uint8_t i;
    for (i = 0; i < model->fixed.net.n_latents; i++) {
        n_bits += kgl_m8(model->fixed.n_bits + i);
    }
    return n_bits / 8;
}

bool kgl_fixed_parse(kgl_model *model, kgl_reader section) {
    uint16_t sum = 0;
    uint8_t i;
    if (!kgl_net_parse(&section, model, &model->fixed.net)) {
        return false;
    }
    model->fixed.n_bits = kgl_take(&section, model->fixed.net.n_latents);
    for (i = 0; !section.is_short && i < model->fixed.net.n_latents; i++) {
        uint8_t n_bits = kgl_m8(model->fixed.n_bits + i);
        if (n_bits < 1 || n_bits > FIXED_BITS_MAX) {
            return false;
        }
        sum = (uint16_t)(sum + n_bits);
    }
    return !section.is_short && sum % 8 == 0 && section.left == 0;
}

/* A full window in exactly so many bytes, most significant bits first; `values` becomes what a decoder reads. */
void kgl_fixed_encode(const kgl_model *model, const int32_t *steps, int32_t *values, int32_t *scratch, uint8_t *out) {
    uint32_t held = 0;
    uint8_t n_held = 0, i;
    kgl_net_encode(&model->fixed.net, model->n_channels, steps, kgl_values(model), values, scratch);
    for (i = 0; i < model->fixed.net.n_latents; i++) {
        uint8_t n_bits = kgl_m8(model->fixed.n_bits + i);
        int32_t half = INT32_C(1) << (n_bits - 1);
        scratch[i] = kgl_clamp(scratch[i], -half, half - 1);
        held = held << n_bits | (uint32_t)(scratch[i] + half);
        for (n_held = (uint8_t)(n_held + n_bits); n_held >= 8; n_held = (uint8_t)(n_held - 8)) {
            *out++ = (uint8_t)(held >> (n_held - 8));
        }
    }
    kgl_net_decode(&model->fixed.net, model->n_channels, scratch, values, kgl_values(model));
}
