/* Inside the codec. Names as in spec/codec.md; sites of the format as in the Rust crate. */
#ifndef KGL_CODEC_INNER_H
#define KGL_CODEC_INNER_H

#include "kgl_codec.h"
#include "kgl_parts.h"

#define KGL_LATENT_MAX 2047
#define KGL_HIDDEN_VALUE_MAX 127
#define KGL_HISTORY_WORDS 4
#define KGL_BEAM 4
#define KGL_CANDIDATES_MAX 8
#define KGL_RAW_BITS_MAX 28
#define KGL_CHANNEL_LEN 26
#define KGL_LATTICE_LEN 8
#define KGL_NORM_LEN 12
#define KGL_SCALING_LEN 12
#define KGL_RAW_CONTEXTS 380
#define KGL_SYMBOLS_MAX 128
#define KGL_CLASSES_MAX 48
#define KGL_RESIDUAL_CONTEXTS 6
#define KGL_OWN_LAGS_MAX 16
#define KGL_OTHER_LAGS_MAX 4
#define KGL_PREDICT_HIDDEN_MAX 32
#define KGL_COMPONENTS 3
#define KGL_BUDGET_VALUES_MAX 128
#define KGL_SAID_WORDS 8
#define KGL_PADDING_MAX 2
#define KGL_HEAD_SYMBOLS 6
#define KGL_HEAD_SPECIAL 5
#define KGL_RESIDUES_MAX 64
#define KGL_BOUND_STEPS_MAX (UINT32_C(1) << 24)

/* --- model bytes, little-endian ------------------------------------------------------------------------------- */

/* One load where a chip can load unaligned words, and then it is shorter than a call; a call elsewhere. */
#ifdef __ARM_FEATURE_UNALIGNED
#define KGL_INLINE static inline __attribute__((always_inline))
#else
#define KGL_INLINE static inline
#endif

static inline uint8_t kgl_m8(const uint8_t *p) {
    return KGL_ROM_U8(p);
}
KGL_INLINE uint16_t kgl_m16(const uint8_t *p) {
    return (uint16_t)((uint32_t)kgl_m8(p) | (uint32_t)kgl_m8(p + 1) << 8);
}
KGL_INLINE uint32_t kgl_m32(const uint8_t *p) {
    return (uint32_t)kgl_m8(p) | (uint32_t)kgl_m8(p + 1) << 8 | (uint32_t)kgl_m8(p + 2) << 16 |
           (uint32_t)kgl_m8(p + 3) << 24;
}
KGL_INLINE int32_t kgl_mi32(const uint8_t *p) {
    return (int32_t)kgl_m32(p);
}
static inline int16_t kgl_mi16(const uint8_t *p) {
    return (int16_t)kgl_m16(p);
}
KGL_INLINE int64_t kgl_mi64(const uint8_t *p) {
    return (int64_t)((uint64_t)kgl_m32(p) | (uint64_t)kgl_m32(p + 4) << 32);
}

/* Reads off the front of a section; `is_short` once it has ended early. */
typedef struct kgl_reader {
    const uint8_t *at;
    uint32_t left;
    bool is_short;
} kgl_reader;

const uint8_t *kgl_take(kgl_reader *reader, uint32_t len);
uint8_t kgl_take_u8(kgl_reader *reader);
uint16_t kgl_take_u16(kgl_reader *reader);
uint32_t kgl_take_u32(kgl_reader *reader);

/* --- parts of a model: the compiler leaves out what comes after one that is not read -------------------------------- */

#define KGL_READS(section) (((KGL_PARTS >> (section)) & 1) != 0)

#define KGL_READS_NETWORKS (KGL_READS(6) || KGL_READS(8) || KGL_READS(12))

static inline bool kgl_has_context(const kgl_model *model) {
    return KGL_READS(4) && model->has_context;
}
static inline bool kgl_has_latent(const kgl_model *model) {
    return KGL_READS(5) && model->has_latent;
}
static inline bool kgl_has_predict(const kgl_model *model) {
    return KGL_READS_NETWORKS && model->has_predict;
}
/* Of a model that has networks. */
static inline bool kgl_is_gated(const kgl_model *model) {
    return !KGL_READS(6) || model->predict.is_gated;
}
static inline bool kgl_has_budget(const kgl_model *model) {
    return KGL_READS(12) && model->predict.has_budget;
}
static inline bool kgl_has_fixed(const kgl_model *model) {
    return KGL_READS(7) && model->has_fixed;
}
static inline bool kgl_has_counts(const kgl_model *model) {
    return KGL_READS(9) && model->counts != NULL;
}
static inline bool kgl_has_expected(const kgl_model *model) {
    return KGL_READS(10) && model->expected != NULL;
}
static inline bool kgl_has_references(const kgl_model *model) {
    return KGL_READS(11) && model->has_references;
}

static inline bool kgl_is_step(int32_t x) {
    return x >= -KGL_DECODED_MAX && x <= KGL_DECODED_MAX;
}
static inline size_t kgl_values(const kgl_model *model) {
    return (size_t)model->n_samples * model->n_channels;
}
/* The bound in grid steps. */
static inline int32_t kgl_grid_bound(const kgl_model *model, size_t idx) {
    return kgl_mi32(model->channels + idx * KGL_CHANNEL_LEN + 17);
}
/* The bound in what is coded, counts or grid steps. */
static inline int32_t kgl_bound_steps(const kgl_model *model, size_t idx) {
    return kgl_has_counts(model) ? kgl_mi32(model->counts + idx * 4) : kgl_grid_bound(model, idx);
}
/* The bound less what is kept in reserve for readings beside the grid. */
static inline int32_t kgl_bound_less(const kgl_model *model, size_t idx, int32_t reserve) {
    int32_t bound = kgl_bound_steps(model, idx) - reserve;
    return bound < 0 ? 0 : bound;
}

/* --- tables --------------------------------------------------------------------------------------------------- */

uint32_t kgl_freq_of(uint8_t code);
uint32_t kgl_log2_q4(uint32_t x);
bool kgl_table_parse(kgl_reader *reader, uint8_t n_symbols, kgl_table *table);
/* A table that was checked before. */
kgl_table kgl_table_at(const uint8_t *bytes, uint8_t n_symbols);

static inline uint32_t kgl_table_cost(const kgl_table *table, size_t sym) {
    return kgl_m8(table->codes + sym);
}
static inline uint32_t kgl_table_freq(const kgl_table *table, size_t sym) {
    return kgl_freq_of(kgl_m8(table->codes + sym));
}

/* --- range coder: writes a code, measures it, or both ----------------------------------------------------------- */

#define KGL_LEN_UNKNOWN UINT32_MAX

typedef struct kgl_coder {
    uint32_t low, range;
    uint8_t *out;
    size_t out_cap, out_len;
    /* Measured: its own range, whole bytes, and the cost in sixteenths of a bit at which it stops. */
    uint32_t meter_range, n_bytes, cost_max;
    /* The length the code shall have; KGL_LEN_UNKNOWN while that is looked for. */
    uint32_t code_len;
    bool writes, meters;
} kgl_coder;

void kgl_coder_init(kgl_coder *coder, uint8_t *out, size_t out_cap, bool writes, bool meters, uint32_t cost_max);
uint32_t kgl_coder_cost(const kgl_coder *coder);
/* Sixteenths of a bit written so far: what a decoder knows to have read. */
uint32_t kgl_coder_spent(const kgl_coder *coder);
/* All of these say false when there is no room, or the code is longer than it may be. */
bool kgl_coder_finish(kgl_coder *coder, size_t *code_len);
bool kgl_narrow(kgl_coder *coder, uint32_t cum, uint32_t freq, uint32_t total);
bool kgl_symbol(kgl_coder *coder, const kgl_table *table, size_t sym);
bool kgl_bits(kgl_coder *coder, uint8_t n_bits, uint32_t value);
bool kgl_unbounded(kgl_coder *coder, uint32_t value);
bool kgl_wide(kgl_coder *coder, uint8_t n_bits, uint32_t value);

/* --- signed numbers --------------------------------------------------------------------------------------------- */

#define KGL_MAGNITUDE_MAX ((UINT32_C(1) << 28) - 1)
uint32_t kgl_class_first(uint8_t class_idx);
int8_t kgl_signed_class(int32_t value, int8_t n_classes);
bool kgl_inside(kgl_coder *coder, int8_t class_idx, int8_t n_classes, int32_t value);
bool kgl_signed(kgl_coder *coder, const kgl_table *table, int32_t value);
uint32_t kgl_signed_cost(const kgl_table *table, int32_t value);
/* Of a value below 9 and the open class it is what kgl_freq_below grows by from it to the next. */
uint32_t kgl_freq_of_value(const kgl_table *table, int32_t value);
uint32_t kgl_freq_below(const kgl_table *table, int32_t value);

/* --- lattice, first values, context ------------------------------------------------------------------------------- */

typedef struct kgl_lattice {
    int32_t step, phase;
} kgl_lattice;

typedef struct kgl_first {
    const uint8_t *coefs;
    kgl_table table;
    int32_t mean, bin_first;
    uint8_t bin_shift;
    /* The bin that is symbol 0. */
    uint8_t zero;
} kgl_first;

/* How a channel moved up to now, in lattice units. Four words of a workspace hold one. */
typedef struct kgl_history {
    int32_t r, d1, d2;
    uint16_t run;
    int8_t sign;
    uint8_t n_seen;
} kgl_history;
typedef char kgl_history_fits[sizeof(kgl_history) == KGL_HISTORY_WORDS * sizeof(int32_t) ? 1 : -1];

int32_t kgl_div_floor(int32_t a, int32_t b);
kgl_lattice kgl_lattice_of(const kgl_model *model, size_t idx);
bool kgl_lattice_value(kgl_lattice lattice, int32_t r, int32_t *value);
/* The same for an r that anyone may have chosen. */
bool kgl_lattice_value_wide(kgl_lattice lattice, int32_t r, int32_t *value);
int32_t kgl_lattice_nearest(kgl_lattice lattice, int32_t x);
/* The first of the candidates. */
int32_t kgl_lattice_lowest(kgl_lattice lattice, int32_t x, int32_t bound);
void kgl_lattice_candidates(kgl_lattice lattice, int32_t x, int32_t bound, int32_t *from, int32_t *to);
bool kgl_first_parse(kgl_reader *reader, uint8_t idx, kgl_first *first);
kgl_first kgl_first_of(const kgl_model *model, uint8_t idx);
uint32_t kgl_first_cost(const kgl_first *first, int32_t predicted, int32_t r);
bool kgl_first_code(kgl_coder *coder, const kgl_first *first, int32_t predicted, int32_t r);
int32_t kgl_predict_first(const kgl_model *model, uint8_t idx, const int32_t *histories);
/* The first value that the first symbols say. */
int32_t kgl_first_expected(const kgl_model *model, uint8_t idx, const int32_t *histories);

/* Word by word, so that compilers know how it is aligned: else it is a call, and where a C library is small byte by byte. */
static inline kgl_history kgl_history_load(const int32_t *histories, size_t idx) {
    const int32_t *from = histories + idx * KGL_HISTORY_WORDS;
    int32_t words[KGL_HISTORY_WORDS];
    kgl_history history;
    words[0] = from[0];
    words[1] = from[1];
    words[2] = from[2];
    words[3] = from[3];
    memcpy(&history, words, sizeof history);
    return history;
}
void kgl_history_push(int32_t *histories, size_t idx, int32_t r);
/* The context table of the next difference of channel idx. */
kgl_table kgl_context_table(const kgl_model *model, const kgl_history *history, uint8_t idx,
                            const int32_t *histories);
/* Lattice values of an earlier window that both ends know, sample-major. */
typedef struct kgl_past {
    const int32_t *rs;
    size_t n;
} kgl_past;
/* Makes `histories` what they are after the past; NULL is none. */
void kgl_histories_begin(const kgl_model *model, const kgl_past *past, int32_t *histories);
bool kgl_context_code(const kgl_model *model, kgl_coder *coder, const int32_t *rs, size_t n_values,
                      int32_t *histories, const kgl_past *past);
/* The same for a run of `rs`; `histories` are what they are before it, and become what they are after it. */
bool kgl_context_run(const kgl_model *model, kgl_coder *coder, const int32_t *rs, size_t from, size_t to,
                     int32_t *histories);

/* --- rungs ---------------------------------------------------------------------------------------------------------- */

/* A window as the rungs see it. */
typedef struct kgl_window {
    /* Counts where the model has them, else grid steps; and the window as it was given, in grid steps. */
    const int32_t *steps, *given;
    size_t n_values;
    /* Some reading lay beside its grid; some value lies beside the counts. */
    bool off_grid, is_beside;
    /* What it is searched after; none for one that stands alone. */
    kgl_past past;
} kgl_window;

bool kgl_counts_parse(kgl_model *model, kgl_reader section);
/* Counts in place of a window's grid steps; true if some steps lie beside them. */
bool kgl_counts_of(const kgl_model *model, const int32_t *steps, int32_t *counts, size_t n_values);
/* Turns `values` from counts into what a decoder reads, and codes the rests of `given`, the window in grid steps; NULL
 * where none lie beside the counts, and then no coder is needed. */
bool kgl_rests_code(const kgl_model *model, kgl_coder *coder, const int32_t *given, int32_t *values, size_t n_values);

bool kgl_expected_parse(kgl_model *model, kgl_reader section);
/* What the empty code says, in grid steps, and on which rung; false if it says no window. */
bool kgl_expected(const kgl_model *model, int32_t *values, int32_t *scratch, kgl_rung *rung);
static inline size_t kgl_head_symbol(const kgl_model *model, size_t place) {
    size_t first = kgl_has_expected(model) ? kgl_m8(model->expected) : 0;
    return (place + KGL_HEAD_SYMBOLS - first) % KGL_HEAD_SYMBOLS;
}

bool kgl_search(const kgl_model *model, const kgl_window *window, int32_t *rs, int32_t *back, int32_t *beam);
/* The paths a search ends with when the first value takes a given one of the lattice values within its bound. Gives
 * how many; none where there is nothing to choose. kgl_search_trace has them. */
uint8_t kgl_search_ends(const kgl_model *model, const kgl_window *window, int32_t forced, int32_t *back,
                        int32_t *beam);
/* Follows the back pointers of the path that ends in a slot, down to value `from`. */
void kgl_search_trace(const kgl_model *model, const kgl_window *window, size_t from, int32_t *rs, const int32_t *back,
                      uint8_t slot);
/* How many values at the window's beginning are the same in the first paths kept. */
size_t kgl_search_shared(const kgl_window *window, const int32_t *back, uint8_t n_paths);
/* `forced`: a channel and which of the values within all its bounds it takes, channel -1 for the cheapest of all. */
bool kgl_hold_choose(const kgl_model *model, int32_t *values, size_t n_values, int32_t *histories, int32_t reserve,
                     int8_t forced, int32_t place, const kgl_past *past);
bool kgl_hold_code(const kgl_model *model, kgl_coder *coder, int32_t *values, size_t n_values, int32_t *histories,
                   const kgl_past *past);
bool kgl_raw_code(const kgl_model *model, kgl_coder *coder, int32_t *values, size_t n_values, bool off_grid);
/* Without a coder `rs` become what the first symbols say. The past, if there is one, stands before `rs`. `said`, if it is not
 * NULL, keeps what networks say of each value, KGL_SAID_WORDS each, and `has_said` is true once it does: they are not asked
 * again. */
bool kgl_predict_code(const kgl_model *model, kgl_coder *coder, int32_t *rs, size_t n_values, int32_t *histories,
                      const kgl_past *past, int32_t *said, bool has_said);
bool kgl_reference_parse(kgl_model *model, kgl_reader section);
/* Sections 6, 8 and 12. */
bool kgl_predict_parse(kgl_model *model, kgl_reader section, uint8_t tag);

bool kgl_dense_parse(kgl_reader *reader, uint16_t n_in, uint16_t n_out, bool is_biased, kgl_dense *dense);
/* A layer that was checked before. */
void kgl_dense_checked(kgl_reader *reader, uint16_t n_in, uint16_t n_out, bool is_biased, kgl_dense *dense);
/* What becomes of a layer's outputs: as they are, ReLU into a byte's range, or added to what stands there. */
typedef enum kgl_dense_use { KGL_DENSE_OUTPUT, KGL_DENSE_HIDDEN, KGL_DENSE_ADD } kgl_dense_use;
void kgl_dense_run(const kgl_dense *dense, const int32_t *input, int32_t *out, kgl_dense_use use);
bool kgl_net_parse(kgl_reader *reader, const kgl_model *model, kgl_net *net);
size_t kgl_net_scratch_len(const kgl_net *net);
void kgl_net_encode(const kgl_net *net, uint8_t n_channels, const int32_t *steps, size_t n_values, int32_t *input,
                    int32_t *scratch);
void kgl_net_decode(const kgl_net *net, uint8_t n_channels, int32_t *scratch, int32_t *steps, size_t n_values);
bool kgl_latent_parse(kgl_model *model, kgl_reader section);
bool kgl_latent_code(const kgl_model *model, kgl_coder *coder, int32_t *values, size_t n_values, int32_t *guess,
                     int32_t *scratch);
bool kgl_fixed_parse(kgl_model *model, kgl_reader section);
size_t kgl_fixed_code_len(const kgl_model *model);
void kgl_fixed_encode(const kgl_model *model, const int32_t *steps, int32_t *values, int32_t *scratch, uint8_t *out);

#endif
