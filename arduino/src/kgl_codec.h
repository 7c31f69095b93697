/* How a window of samples becomes a code, within a bound: the encoder of spec/codec.md.
 *
 * The same window with the same bundle gives the same bytes as the encoder in Rust, on every target.
 *
 * A window is [samples x channels] grid steps, sample-major: steps[t * n_channels + c]. A step is what
 * kgl_quantise makes of a reading; KGL_MISSING, KGL_ABOVE and KGL_BELOW stand for readings that have no step and
 * reach the server as what they are.
 */
#ifndef KGL_CODEC_H
#define KGL_CODEC_H

#include "kgl_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KGL_CHANNELS_MAX 16
#define KGL_SAMPLES_MAX 256
#define KGL_VALUES_MAX 1024
#define KGL_FINGERPRINT_LEN 16

/* A reading the sensor did not give; one above, one below everything the grid can say. */
#define KGL_MISSING INT32_MIN
#define KGL_ABOVE INT32_MAX
#define KGL_BELOW (-INT32_MAX)
/* Largest magnitude of a reading's step, and of a decoded one. */
#define KGL_STEP_MAX ((INT32_C(1) << 26) - 1)
#define KGL_DECODED_MAX ((INT32_C(1) << 27) - 1)

/* A frequency table inside the model. */
typedef struct kgl_table {
    const uint8_t *codes;
    uint32_t total;
    uint8_t n_symbols;
} kgl_table;

/* One layer: outputs = (bias + weights . input) . mul >> shift. */
typedef struct kgl_dense {
    const uint8_t *weights;
    const uint8_t *outs;
    uint16_t n_in, n_out;
    bool is_biased;
} kgl_dense;

/* A linear map with a hidden ReLU layer beside it. */
typedef struct kgl_half {
    kgl_dense linear, hidden, output;
} kgl_half;

/* An autoencoder on whole windows. */
typedef struct kgl_net {
    const uint8_t *norms;
    kgl_half encoder, decoder;
    uint8_t n_latents;
} kgl_net;

/* A model: a checked view on the bytes a device keeps. It borrows them; its fields are for this library alone. */
typedef struct kgl_model {
    const uint8_t *bytes;
    uint32_t len;
    uint32_t period_ms, max_delay_ms;
    const uint8_t *channels, *lattice, *firsts;
    kgl_table head;
    uint16_t n_samples;
    uint8_t n_channels;
    bool has_context, has_latent, has_predict, has_fixed, has_references;
    /* How codes begin where a window may be coded after an earlier one. */
    struct {
        kgl_table mark, head;
    } reference;
    struct {
        const uint8_t *map, *tables;
        uint8_t n_symbols, n_tables;
    } context;
    struct {
        kgl_net net;
        const uint8_t *latents, *residuals;
        kgl_table flag;
        uint8_t n_latent_symbols, n_residual_symbols;
    } latent;
    struct {
        const uint8_t *scalings, *records;
        uint32_t record_len;
        uint8_t own_lags, other_lags, n_hidden[2];
        bool is_gated;
        /* The code's length moves what the networks say; the logarithm of the bits usual for a value, Q4. */
        bool has_budget;
        int8_t usual_bits;
    } predict;
    struct {
        kgl_net net;
        const uint8_t *n_bits;
    } fixed;
    /* What the sensors count, and the window the empty code says; NULL without. */
    const uint8_t *counts, *expected;
} kgl_model;

/* Checks every byte: a model this accepts makes no later call read out of its bounds. Damaged, cut or foreign bytes
 * are refused. `bytes` stand where KGL_PROGMEM puts them, and must stay there. */
kgl_status kgl_model_parse(kgl_model *model, const uint8_t *bytes, uint32_t len);

/* The first 16 bytes of the SHA-256 of the model's bytes: what frames are bound to. */
void kgl_model_fingerprint(const kgl_model *model, uint8_t out[KGL_FINGERPRINT_LEN]);

/* int32_t words kgl_encode needs as workspace, and bytes it needs as out: as much as this bundle asks for. The macros say
 * it for arrays; they are enough for every bundle without an autoencoder, and with one that has at most 64 latents and
 * units. */
size_t kgl_workspace_len(const kgl_model *model);
size_t kgl_code_len_max(const kgl_model *model);
#define KGL_WORKSPACE_LEN(n_samples, n_channels) \
    (((n_samples) * (n_channels) > 128 ? 5 : 12) * (n_samples) * (n_channels) + 48 * (n_channels) + 128)
#define KGL_CODE_LEN_MAX(n_samples, n_channels) (8 + 5 * (n_channels) + 8 * (n_samples) * (n_channels) + 256)

/* One reading, exactly: mantissa x 10^-digits. */
typedef struct kgl_reading {
    int64_t mantissa;
    uint8_t digits;
    bool is_given;
} kgl_reading;

static inline kgl_reading kgl_no_reading(void) {
    kgl_reading reading;
    reading.mantissa = 0;
    reading.digits = 0;
    reading.is_given = false;
    return reading;
}

static inline kgl_reading kgl_reading_of(int64_t mantissa, uint8_t digits) {
    kgl_reading reading;
    reading.mantissa = mantissa;
    reading.digits = digits;
    reading.is_given = true;
    return reading;
}

/* The step nearest to the reading, halves away from zero. `is_exact` becomes false if the reading lies beside a grid
 * that leaves no room for rounding: such a window is encoded with `off_grid`. */
int32_t kgl_quantise(const kgl_model *model, uint8_t channel, kgl_reading reading, bool *is_exact);

/* Which rung of the ladder made the shortest code. */
typedef enum kgl_rung {
    KGL_RUNG_HOLD,
    KGL_RUNG_CONTEXT,
    KGL_RUNG_PREDICT,
    KGL_RUNG_LATENT,
    KGL_RUNG_RAW,
    KGL_RUNG_FIXED
} kgl_rung;

/* Encodes one window on the rung that needs the fewest bytes. With a bundle that expects a window many ways to say it are
 * written and measured, three times the work and more; the expected window itself is no byte at all.
 *
 * `steps`: 1 to n_samples whole samples, n_values in all. `off_grid`: some reading lay beside its grid. `workspace`:
 * kgl_workspace_len words, contents ignored. `out`: kgl_code_len_max bytes. `code_len` may become 0: that is a code.
 * After the call the first n_values words of `workspace` hold what the server will read. `rung` may be NULL. */
kgl_status kgl_encode(const kgl_model *model, const int32_t *steps, size_t n_values, bool off_grid,
                      int32_t *workspace, size_t workspace_len, uint8_t *out, size_t out_len, size_t *code_len,
                      kgl_rung *rung);

/* Watches a window grow until its code is as long as it may be. All zero at first. */
typedef struct kgl_filling {
    size_t n_fit, check_at;
} kgl_filling;

/* The first samples of a window, encoded; n_samples 0 stands for "nothing has to go". */
typedef struct kgl_front {
    size_t n_samples, code_len;
} kgl_front;

/* Buffers of kgl_encode, together. */
typedef struct kgl_encode_buffers {
    int32_t *workspace;
    size_t workspace_len;
    uint8_t *out;
    size_t out_len;
} kgl_encode_buffers;

/* To be called after each sample that was added. If `front` has samples, the window no longer fits `code_len_max` bytes,
 * and these, whose code stands in out, shall go; call again with what is left. */
kgl_status kgl_filling_added(kgl_filling *filling, const kgl_model *model, const int32_t *steps, size_t n_values,
                             bool off_grid, size_t code_len_max, const kgl_encode_buffers *buffers,
                             kgl_front *front);

/* The window shall go: encodes as many of its samples as fit, at least one. */
kgl_status kgl_filling_cut(kgl_filling *filling, const kgl_model *model, const int32_t *steps, size_t n_values,
                           bool off_grid, size_t code_len_max, const kgl_encode_buffers *buffers, kgl_front *front);

/* Samples of a window that a later one is coded after, at most, and the farthest that a code refers. */
#define KGL_TAIL_SAMPLES_MAX 16
#define KGL_DISTANCE_MAX 4

/* Two codes of the same values, one behind the other: the first refers, the second stands alone. */
typedef struct kgl_referring {
    size_t code_len, alone_len;
    bool is_made;
} kgl_referring;

/* Encodes one window after an earlier one, which its decoder must have: the server makes the second code of the first.
 *
 * `tail`: the last samples of the earlier window as its decoder reads them, n_tail values; of more than
 * KGL_TAIL_SAMPLES_MAX samples the last count. `distance`: how far that window lies behind, 1 to KGL_DISTANCE_MAX. `out`: at
 * least twice kgl_code_len_max bytes. Not `is_made` where it brings nothing; otherwise as kgl_encode. */
kgl_status kgl_encode_after(const kgl_model *model, const int32_t *tail, size_t n_tail, uint8_t distance,
                            const int32_t *steps, size_t n_values, bool off_grid, const kgl_encode_buffers *buffers,
                            kgl_referring *made);

#ifdef __cplusplus
}
#endif
#endif
