/* Inside the predict rung: what the network sees, and what its outputs mean. */
#ifndef KGL_PREDICT_H
#define KGL_PREDICT_H

#include "kgl_codec_inner.h"

/* Features beside lags and levels: place in the window (3), activity (2), run (1). */
#define KGL_EXTRAS 6
#define KGL_LINEAR_MAX (KGL_OWN_LAGS_MAX + (KGL_CHANNELS_MAX - 1) * KGL_OTHER_LAGS_MAX)
#define KGL_FEATURES_MAX (KGL_LINEAR_MAX + KGL_CHANNELS_MAX + KGL_EXTRAS)

/* What is usual for a channel, and the quotients by which gated networks multiply: small processors divide slowly. */
typedef struct kgl_measure {
    uint32_t mean_move, deviation, move_inverse, deviation_inverse;
    int32_t mean;
} kgl_measure;
typedef char kgl_measures_fit[sizeof(kgl_measure) <= (2 * KGL_BEAM - 1) * KGL_HISTORY_WORDS * sizeof(int32_t) ? 1 : -1];

typedef struct kgl_features {
    /* Lattice units. */
    int32_t linear[KGL_LINEAR_MAX];
    /* Each within a byte. */
    int32_t values[KGL_FEATURES_MAX];
} kgl_features;

/* Three logistic distributions of a difference: means in lattice units Q4, scales as indices, weights in 1024ths. */
typedef struct kgl_mixture {
    int64_t means[KGL_COMPONENTS];
    uint32_t weights[KGL_COMPONENTS];
    uint8_t scales[KGL_COMPONENTS];
    /* What the three leave of 1024, for the table beside them. */
    uint32_t rest;
    int32_t centre;
} kgl_mixture;

void kgl_measure_read(kgl_measure *measure, const uint8_t *scaling);
/* Looks back from value `at`, whose channel has `history`. */
void kgl_features_look(kgl_features *features, const kgl_model *model, const kgl_measure *measures,
                       const int32_t *rs, size_t at, const kgl_history *history);
/* `outputs`: three offsets, three logarithms of scales, three logits, all Q8. `rest`: the table's logit, or NULL. */
void kgl_mixture_make(kgl_mixture *mixture, const int64_t *linear, uint32_t mean_move, const int32_t *outputs,
                      const int32_t *rest);
/* The components' share of what lies below x (Q4), Q25. */
uint32_t kgl_mixture_below(const kgl_mixture *mixture, int64_t x);

#endif
