/* The integer range coder with the shortest ending, its tables, and signed numbers in them. */
#include "kgl_codec_inner.h"

#define RENORM_BELOW (UINT32_C(1) << 24)

/* 2^15 . 2^(-i/16), rounded. */
static const uint16_t MANTISSA[16] KGL_PROGMEM = {32768, 31379, 30048, 28774, 27554, 26386, 25268, 24196,
                                                  23170, 22188, 21247, 20347, 19484, 18658, 17867, 17109};

uint32_t kgl_freq_of(uint8_t code) {
    uint16_t freq = (uint16_t)(KGL_ROM_U16(&MANTISSA[code & 15]) >> (code >> 4));
    return freq > 0 ? freq : 1;
}

/* Binary logarithm in sixteenths, linear inside an octave; 0 for 0. */
uint32_t kgl_log2_q4(uint32_t x) {
    uint8_t octave = kgl_ilog2(x);
    uint32_t mantissa = octave >= 4 ? x >> (octave - 4) : x << (4 - octave);
    return x == 0 ? 0 : 16U * octave + (mantissa & 15);
}

bool kgl_table_parse(kgl_reader *reader, uint8_t n_symbols, kgl_table *table) {
    uint32_t total = (uint32_t)kgl_take_u16(reader) + 1, sum = 0;
    const uint8_t *codes = kgl_take(reader, n_symbols);
    uint8_t i;
    if (reader->is_short || n_symbols > KGL_SYMBOLS_MAX) {
        return false;
    }
    for (i = 0; i < n_symbols; i++) {
        sum += kgl_freq_of(kgl_m8(codes + i));
    }
    table->codes = codes;
    table->total = total;
    table->n_symbols = n_symbols;
    return sum == total;
}

kgl_table kgl_table_at(const uint8_t *bytes, uint8_t n_symbols) {
    kgl_table table;
    table.total = (uint32_t)kgl_m16(bytes) + 1;
    table.codes = bytes + 2;
    table.n_symbols = n_symbols;
    return table;
}

void kgl_coder_init(kgl_coder *coder, uint8_t *out, size_t out_cap, bool writes, bool meters, uint32_t cost_max) {
    coder->low = 0;
    coder->range = UINT32_MAX;
    coder->out = out;
    coder->out_cap = out_cap;
    coder->out_len = 0;
    coder->meter_range = UINT32_MAX;
    coder->n_bytes = 0;
    coder->cost_max = cost_max;
    coder->code_len = KGL_LEN_UNKNOWN;
    coder->writes = writes;
    coder->meters = meters;
}

/* Sixteenths of a bit so far. */
uint32_t kgl_coder_cost(const kgl_coder *coder) {
    return coder->n_bytes * 128 + 512 - kgl_log2_q4(coder->meter_range);
}

uint32_t kgl_coder_spent(const kgl_coder *coder) {
    return (uint32_t)coder->out_len * 128 + 512 - kgl_log2_q4(coder->range);
}

/* Adds one to the bytes already written. There always is one to add to: the value stays below 1. */
static void carry(kgl_coder *coder) {
    size_t at = coder->out_len;
    while (at > 0) {
        at--;
        coder->out[at] = (uint8_t)(coder->out[at] + 1);
        if (coder->out[at] != 0) {
            break;
        }
    }
}

bool kgl_coder_finish(kgl_coder *coder, size_t *code_len) {
    if (coder->low != 0) {
        if (coder->low + (coder->range - 1) < coder->low) {
            /* 2^32 lies in the range: carry, and everything after is zero. */
            carry(coder);
        } else {
            /* The range holds a multiple of 2^24. */
            if (coder->out_len >= coder->out_cap) {
                return false;
            }
            coder->out[coder->out_len++] = (uint8_t)((coder->low + (RENORM_BELOW - 1)) >> 24);
        }
    }
    while (coder->out_len > 0 && coder->out[coder->out_len - 1] == 0) {
        coder->out_len--;
    }
    *code_len = coder->out_len;
    return true;
}

/* Narrows the range to [cum, cum + freq) of total; the last symbol takes the remainder. */
bool kgl_narrow(kgl_coder *coder, uint32_t cum, uint32_t freq, uint32_t total) {
    if (coder->meters) {
        uint32_t range = coder->meter_range / total * freq;
        while (range < RENORM_BELOW) {
            range <<= 8;
            coder->n_bytes++;
        }
        coder->meter_range = range;
        /* Whole bytes alone, which is quicker to compare and never more than the cost. */
        if (coder->n_bytes * 128 > coder->cost_max) {
            return false;
        }
    }
    if (coder->writes) {
        uint32_t unit = coder->range / total, below = unit * cum;
        coder->low += below;
        if (coder->low < below) {
            carry(coder);
        }
        coder->range = cum + freq == total ? coder->range - below : unit * freq;
        while (coder->range < RENORM_BELOW) {
            if (coder->out_len >= coder->out_cap) {
                return false;
            }
            coder->out[coder->out_len++] = (uint8_t)(coder->low >> 24);
            coder->low <<= 8;
            coder->range <<= 8;
        }
    }
    return true;
}

bool kgl_symbol(kgl_coder *coder, const kgl_table *table, size_t sym) {
    uint32_t cum = 0;
    if (coder->writes) {
        size_t i;
        for (i = 0; i < sym; i++) {
            cum += kgl_table_freq(table, i);
        }
    }
    return kgl_narrow(coder, cum, kgl_table_freq(table, sym), table->total);
}

/* n_bits <= 16 equally likely bits. */
bool kgl_bits(kgl_coder *coder, uint8_t n_bits, uint32_t value) {
    return n_bits == 0 || kgl_narrow(coder, value, 1, UINT32_C(1) << n_bits);
}

/* A value below 2^n_bits, n_bits <= 32: the high bits, then the low 16. */
bool kgl_wide(kgl_coder *coder, uint8_t n_bits, uint32_t value) {
    uint8_t low_bits = n_bits < 16 ? n_bits : 16;
    uint8_t high_bits = (uint8_t)(n_bits - low_bits);
    return kgl_bits(coder, high_bits, high_bits == 0 ? 0 : value >> low_bits) &&
           kgl_bits(coder, low_bits, value & ((UINT32_C(1) << low_bits) - 1));
}

/* Elias gamma on value + 1, value < 2^28. */
bool kgl_unbounded(kgl_coder *coder, uint32_t value) {
    uint8_t n_bits = kgl_ilog2(value + 1), i;
    for (i = 0; i < n_bits; i++) {
        if (!kgl_bits(coder, 1, 1)) {
            return false;
        }
    }
    return kgl_bits(coder, 1, 0) && kgl_wide(coder, n_bits, (value + 1) & ((UINT32_C(1) << n_bits) - 1));
}

/* --- signed numbers: magnitudes up to 8 have a symbol each, above them half-octaves ------------------------------- */

#define EXACT 8U

/* Class of a magnitude, its first member and its raw bits. */
static uint8_t class_of(uint32_t magnitude, uint32_t *first, uint8_t *raw_bits) {
    uint8_t octave, half;
    uint32_t octave_first;
    if (magnitude <= EXACT) {
        *first = magnitude;
        *raw_bits = 0;
        return (uint8_t)magnitude;
    }
    octave = kgl_ilog2((magnitude - EXACT - 1) / 4 + 1);
    octave_first = EXACT + 1 + 4 * ((UINT32_C(1) << octave) - 1);
    half = (uint8_t)((magnitude - octave_first) >> (octave + 1));
    *first = octave_first + ((uint32_t)half << (octave + 1));
    *raw_bits = (uint8_t)(octave + 1);
    return (uint8_t)(EXACT + 1 + 2U * octave + half);
}

static uint32_t class_span(uint8_t class_idx, uint8_t *raw_bits) {
    uint8_t octave, half;
    if (class_idx <= EXACT) {
        *raw_bits = 0;
        return class_idx;
    }
    octave = (uint8_t)((class_idx - EXACT - 1) / 2);
    half = (uint8_t)((class_idx - EXACT - 1) % 2);
    *raw_bits = (uint8_t)(octave + 1);
    return EXACT + 1 + 4 * ((UINT32_C(1) << octave) - 1) + ((uint32_t)half << (octave + 1));
}

uint32_t kgl_class_first(uint8_t class_idx) {
    uint8_t raw_bits;
    return class_span(class_idx, &raw_bits);
}

static size_t symbol_of(int32_t value, uint8_t n_classes, uint8_t class_idx) {
    uint8_t c = class_idx < n_classes ? class_idx : n_classes;
    return value == 0 ? 0 : value > 0 ? (size_t)(2U * c - 1U) : (size_t)(2U * c);
}

/* Cost of a value in sixteenths of a bit. */
uint32_t kgl_signed_cost(const kgl_table *table, int32_t value) {
    uint8_t n_classes = table->n_symbols / 2, raw_bits;
    uint32_t first, magnitude = kgl_abs(value), raw;
    uint8_t class_idx = class_of(magnitude, &first, &raw_bits);
    if (class_idx < n_classes) {
        raw = raw_bits;
    } else {
        raw = 2U * kgl_ilog2(magnitude - kgl_class_first(n_classes) + 1) + 1;
    }
    return kgl_table_cost(table, symbol_of(value, n_classes, class_idx)) + 16 * raw;
}

/* Share of a table's total that falls on the value alone. */
uint32_t kgl_freq_of_value(const kgl_table *table, int32_t value) {
    uint8_t n_classes = table->n_symbols / 2, raw_bits;
    uint32_t first;
    uint8_t class_idx = class_of(kgl_abs(value), &first, &raw_bits);
    if (class_idx >= n_classes) {
        /* Values of the open class share it out as far as an octave of its own would. */
        raw_bits = (uint8_t)((raw_bits < 3 ? 3 : raw_bits) + 1);
    }
    return kgl_table_freq(table, symbol_of(value, n_classes, class_idx)) >> (raw_bits < 31 ? raw_bits : 31);
}

/* Share of magnitudes above `magnitude` of one sign: symbols sym_of_one, two further, four further, ... */
static uint32_t freq_beyond(const kgl_table *table, uint32_t magnitude, uint8_t sym_of_one) {
    uint8_t n_classes = table->n_symbols / 2, raw_bits, i;
    uint32_t first, sum = 0;
    uint8_t class_idx = class_of(magnitude, &first, &raw_bits);
    if (class_idx > n_classes) {
        return 0;
    }
    if (class_idx > 0) {
        uint32_t left = (UINT32_C(1) << raw_bits) - 1 - (magnitude - first);
        uint32_t freq = kgl_table_freq(table, (size_t)(sym_of_one + 2U * (class_idx - 1U)));
        sum = (uint32_t)(((uint64_t)freq * left) >> raw_bits);
    }
    for (i = (uint8_t)(class_idx + 1); i <= n_classes; i++) {
        sum += kgl_table_freq(table, (size_t)(sym_of_one + 2U * (i - 1U)));
    }
    return sum;
}

/* Share of a table's total below the value, each class spread evenly over its values. */
uint32_t kgl_freq_below(const kgl_table *table, int32_t value) {
    return value <= 0 ? freq_beyond(table, kgl_abs(value), 2)
                      : table->total - freq_beyond(table, kgl_abs(value) - 1, 1);
}

/* The class of a value, negative for negative values, with at most n_classes on each side. */
int8_t kgl_signed_class(int32_t value, int8_t n_classes) {
    uint32_t first;
    uint8_t raw_bits;
    int8_t class_idx = (int8_t)class_of(kgl_abs(value), &first, &raw_bits);
    class_idx = class_idx < n_classes ? class_idx : n_classes;
    return value < 0 ? (int8_t)-class_idx : class_idx;
}

/* Where in its class a value lies; the outermost class is open. */
bool kgl_inside(kgl_coder *coder, int8_t class_idx, int8_t n_classes, int32_t value) {
    uint8_t raw_bits, magnitude_class = (uint8_t)(class_idx < 0 ? -class_idx : class_idx);
    uint32_t first = class_span(magnitude_class, &raw_bits);
    uint32_t above = (kgl_abs(value) - first) & KGL_MAGNITUDE_MAX;
    bool coded = magnitude_class == (uint8_t)n_classes ? kgl_unbounded(coder, above) : kgl_wide(coder, raw_bits, above);
    return coded && first + above <= KGL_MAGNITUDE_MAX;
}

bool kgl_signed(kgl_coder *coder, const kgl_table *table, int32_t value) {
    int8_t n_classes = (int8_t)(table->n_symbols / 2);
    int8_t class_idx = kgl_signed_class(value, n_classes);
    size_t sym = class_idx > 0 ? (size_t)(2 * class_idx - 1) : (size_t)(-2 * class_idx);
    return kgl_symbol(coder, table, sym) && (sym == 0 || kgl_inside(coder, class_idx, n_classes, value));
}
