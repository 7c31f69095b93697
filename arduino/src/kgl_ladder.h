/* Inside the ladder: what both ways to choose a rung share. */
#ifndef KGL_LADDER_H
#define KGL_LADDER_H

#include "kgl_codec_inner.h"

/* The parts of a workspace. */
typedef struct kgl_areas {
    /* What a decoder will read; the context rung's path; the search's back pointers, or the autoencoder's guess; the best
     * path so far, where whole bytes are looked for. */
    int32_t *values, *path, *back, *best, *scratch;
    bool has_path;
} kgl_areas;

/* True for a full window of steps. */
bool kgl_is_plain(const kgl_model *model, const kgl_window *window);
/* Makes ready what kgl_write_rung says; false if the rung cannot keep this window's bound. */
bool kgl_prepare(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a);
/* Writes a prepared window; `values` becomes what a decoder reads. */
bool kgl_write_rung(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a, kgl_coder *coder);
/* The fewest whole bytes, for a model that expects a window. False if `out` is too short. */
bool kgl_shortest(const kgl_model *model, const kgl_window *window, kgl_areas *a, uint8_t *out, size_t out_len,
                  size_t *code_len, kgl_rung *rung);

#endif
