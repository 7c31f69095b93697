/* A model: a checked view on the bytes a device keeps (spec/bundle.md). Everything later calls rely on is checked
 * here, once; the checks and their limits are those of the Rust crate. */
#include "kgl_codec_inner.h"
#include "kgl_crypto.h"

#define SCALE_MAX 15
#define ROUNDS 0x80

const uint8_t *kgl_take(kgl_reader *reader, uint32_t len) {
    const uint8_t *at = reader->at;
    if (reader->is_short || len > reader->left) {
        reader->is_short = true;
        return at;
    }
    reader->at += (size_t)len;
    reader->left -= len;
    return at;
}

uint8_t kgl_take_u8(kgl_reader *reader) {
    const uint8_t *at = kgl_take(reader, 1);
    return reader->is_short ? 0 : kgl_m8(at);
}

uint16_t kgl_take_u16(kgl_reader *reader) {
    const uint8_t *at = kgl_take(reader, 2);
    return reader->is_short ? 0 : kgl_m16(at);
}

uint32_t kgl_take_u32(kgl_reader *reader) {
    const uint8_t *at = kgl_take(reader, 4);
    return reader->is_short ? 0 : kgl_m32(at);
}

/* The next section, if it has this tag. */
static bool section(kgl_reader *reader, uint8_t tag, kgl_reader *inside) {
    uint32_t len;
    if (reader->left == 0 || kgl_m8(reader->at) != tag) {
        return false;
    }
    (void)kgl_take_u8(reader);
    len = kgl_take_u32(reader);
    inside->at = kgl_take(reader, len);
    inside->left = reader->is_short ? 0 : len;
    inside->is_short = reader->is_short;
    return true;
}

/* Well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing past U+10FFFF. */
static bool is_utf8(const uint8_t *at, uint8_t len) {
    uint8_t i = 0;
    while (i < len) {
        uint8_t lead = kgl_m8(at + i), n, low = 0x80, high = 0xBF;
        i++;
        if (lead < 0x80) {
            continue;
        }
        if (lead >= 0xC2 && lead <= 0xDF) {
            n = 1;
        } else if (lead >= 0xE0 && lead <= 0xEF) {
            n = 2;
            low = lead == 0xE0 ? 0xA0 : low;
            high = lead == 0xED ? 0x9F : high;
        } else if (lead >= 0xF0 && lead <= 0xF4) {
            n = 3;
            low = lead == 0xF0 ? 0x90 : low;
            high = lead == 0xF4 ? 0x8F : high;
        } else {
            return false;
        }
        for (; n > 0; n--, i++) {
            if (i >= len || kgl_m8(at + i) < low || kgl_m8(at + i) > high) {
                return false;
            }
            low = 0x80;
            high = 0xBF;
        }
    }
    return true;
}

static bool check_text(kgl_reader *reader, uint8_t len_max) {
    uint8_t len = kgl_take_u8(reader);
    const uint8_t *at = kgl_take(reader, len);
    return !reader->is_short && len <= len_max && is_utf8(at, len);
}

static bool check_channels(kgl_model *model, kgl_reader reader) {
    const int64_t quantum_max = (int64_t)1 << 34, origin_max = (int64_t)1 << 62;
    uint8_t i;
    model->channels = kgl_take(&reader, (uint32_t)model->n_channels * KGL_CHANNEL_LEN);
    for (i = 0; !reader.is_short && i < model->n_channels; i++) {
        const uint8_t *at = model->channels + (size_t)i * KGL_CHANNEL_LEN;
        int64_t origin = kgl_mi64(at + 1), quantum = kgl_mi64(at + 9);
        bool ok = (kgl_m8(at) & ~ROUNDS) <= SCALE_MAX && quantum >= 1 && quantum <= quantum_max &&
                  origin >= -origin_max && origin <= origin_max && kgl_m32(at + 17) <= KGL_BOUND_STEPS_MAX &&
                  kgl_m8(at + 25) <= KGL_RAW_BITS_MAX && kgl_abs(kgl_mi32(at + 21)) <= (uint32_t)KGL_STEP_MAX;
        if (!ok || !check_text(&reader, 32) || !check_text(&reader, 16)) {
            return false;
        }
    }
    return !reader.is_short && reader.left == 0;
}

static bool check_lattice(kgl_model *model, kgl_reader reader) {
    uint8_t i;
    model->lattice = kgl_take(&reader, (uint32_t)model->n_channels * KGL_LATTICE_LEN);
    model->firsts = reader.at;
    for (i = 0; !reader.is_short && i < model->n_channels; i++) {
        const uint8_t *at = model->lattice + (size_t)i * KGL_LATTICE_LEN;
        uint32_t step = kgl_m32(at), span = 2 * (uint32_t)kgl_bound_steps(model, i) + 1;
        kgl_first first;
        if (step < 1 || step > span || span / step >= KGL_CANDIDATES_MAX || kgl_abs(kgl_mi32(at + 4)) >= step ||
            !kgl_first_parse(&reader, i, &first)) {
            return false;
        }
    }
    return !reader.is_short && reader.left == 0;
}

static bool context_parse(kgl_model *model, kgl_reader reader) {
    uint8_t n_classes = kgl_take_u8(&reader), n_tables = kgl_take_u8(&reader), i;
    uint16_t at;
    kgl_table table;
    model->context.map = kgl_take(&reader, (uint32_t)KGL_RAW_CONTEXTS * model->n_channels);
    model->context.tables = reader.at;
    if (reader.is_short || n_classes < 1 || n_classes > KGL_CLASSES_MAX || n_tables < 1 || n_tables > 64) {
        return false;
    }
    model->context.n_tables = n_tables;
    model->context.n_symbols = (uint8_t)(2 * n_classes + 1);
    for (i = 0; i < n_tables; i++) {
        if (!kgl_table_parse(&reader, model->context.n_symbols, &table)) {
            return false;
        }
    }
    for (at = 0; at < (uint16_t)(KGL_RAW_CONTEXTS * model->n_channels); at++) {
        if (kgl_m8(model->context.map + at) >= n_tables) {
            return false;
        }
    }
    return reader.left == 0;
}

/* The sections a bundle has only if they pay. Networks lean on the context rung's tables, and one kind of them is enough. */
static bool parse_optional(kgl_model *model, uint8_t tag, kgl_reader part) {
    switch (tag) {
    case 4: return model->has_context = KGL_READS(4) && context_parse(model, part);
    case 5: return model->has_latent = KGL_READS(5) && kgl_latent_parse(model, part);
    case 7: return model->has_fixed = KGL_READS(7) && kgl_fixed_parse(model, part);
    /* What has no bound has nothing to keep exact, and nothing to choose from. */
    case 9: return KGL_READS(9) && !kgl_has_fixed(model) && kgl_counts_parse(model, part);
    case 10: return KGL_READS(10) && !kgl_has_fixed(model) && kgl_expected_parse(model, part);
    /* What follows on an earlier window leans on the context rung's tables, and its values on a bound. */
    case 11:
        return model->has_references = KGL_READS(11) && kgl_has_context(model) && !kgl_has_fixed(model) &&
                                       (!kgl_has_predict(model) || kgl_is_gated(model)) &&
                                       kgl_reference_parse(model, part);
    default:
        if (!KGL_READS(tag) || !kgl_has_context(model) || model->has_predict) {
            return false;
        }
        /* A length that is looked for, or given, tells nothing. */
        if (tag == 12 && (kgl_has_fixed(model) || kgl_has_expected(model) || kgl_values(model) > KGL_BUDGET_VALUES_MAX)) {
            return false;
        }
        return model->has_predict = KGL_READS_NETWORKS && kgl_predict_parse(model, part, tag);
    }
}

static bool parse_sections(kgl_model *model, kgl_reader *reader) {
    kgl_reader channels, head, lattice, part;
    uint8_t tag;
    if (!section(reader, 1, &channels) || !section(reader, 2, &head) || !section(reader, 3, &lattice) ||
        reader->is_short || !kgl_table_parse(&head, 6, &model->head) || head.left != 0 ||
        !check_channels(model, channels)) {
        return false;
    }
    for (tag = 4; tag <= 12; tag++) {
        /* Counts decide what the lattice lies on, and what is expected lies on that. */
        if (tag == 10 && !check_lattice(model, lattice)) {
            return false;
        }
        if (section(reader, tag, &part) && (reader->is_short || !parse_optional(model, tag, part))) {
            return false;
        }
    }
    return reader->left == 0;
}

kgl_status kgl_model_parse(kgl_model *model, const uint8_t *bytes, uint32_t len) {
    kgl_reader reader;
    memset(model, 0, sizeof *model);
    if (len < 5 || kgl_m8(bytes) != 'K' || kgl_m8(bytes + 1) != 'N' || kgl_m8(bytes + 2) != 'G' ||
        kgl_m8(bytes + 3) != 'L') {
        return KGL_ERR_MAGIC;
    }
    if (kgl_m8(bytes + 4) != 1) {
        return KGL_ERR_VERSION;
    }
#if SIZE_MAX < UINT32_MAX
    if (len > SIZE_MAX - 64) {
        return KGL_ERR_MODEL;
    }
#endif
    reader.at = bytes + 5;
    reader.left = len - 5;
    reader.is_short = false;
    model->bytes = bytes;
    model->len = len;
    /* A model cut short at the end of a section would otherwise be a smaller model. */
    if (kgl_take_u32(&reader) != len) {
        return KGL_ERR_MODEL;
    }
    model->n_channels = kgl_take_u8(&reader);
    model->n_samples = kgl_take_u16(&reader);
    model->period_ms = kgl_take_u32(&reader);
    model->max_delay_ms = kgl_take_u32(&reader);
    if (reader.is_short || model->n_channels < 1 || model->n_channels > KGL_CHANNELS_MAX || model->n_samples < 1 ||
        model->n_samples > KGL_SAMPLES_MAX || kgl_values(model) > KGL_VALUES_MAX || model->period_ms == 0) {
        return KGL_ERR_MODEL;
    }
    return parse_sections(model, &reader) ? KGL_OK : KGL_ERR_MODEL;
}

void kgl_model_fingerprint(const kgl_model *model, uint8_t out[KGL_FINGERPRINT_LEN]) {
    uint8_t chunk[64], digest[KGL_SHA256_LEN];
    kgl_sha256 sha;
    uint32_t at = 0;
    kgl_sha256_init(&sha);
    while (at < model->len) {
        uint8_t n = (uint8_t)(model->len - at < sizeof chunk ? model->len - at : sizeof chunk), i;
        for (i = 0; i < n; i++) {
            chunk[i] = kgl_m8(model->bytes + (size_t)(at + i));
        }
        kgl_sha256_update(&sha, chunk, n);
        at += n;
    }
    kgl_sha256_finish(&sha, digest);
    memcpy(out, digest, KGL_FINGERPRINT_LEN);
}
