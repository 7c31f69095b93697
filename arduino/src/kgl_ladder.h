/* Inside the ladder: what both ways to choose a rung share. */
#ifndef KGL_LADDER_H
#define KGL_LADDER_H

#include "kgl_codec_inner.h"

/* The parts of a workspace. */
typedef struct kgl_areas {
    /* What a decoder will read; the context rung's path; the search's back pointers, or the autoencoder's guess; the best
     * path so far, where whole bytes are looked for. */
    int32_t *values, *path, *back, *best, *scratch;
    /* What networks said of each value where the length of the code tells, else NULL; and whether they did. */
    int32_t *said;
    bool has_path, has_said;
} kgl_areas;

/* True for a full window of steps. */
bool kgl_is_plain(const kgl_model *model, const kgl_window *window);
/* True for whole samples of steps and marks, no more than a window has. */
bool kgl_is_window(const kgl_model *model, const kgl_window *window);
void kgl_window_of(kgl_window *window, const int32_t *steps, size_t n_values, bool off_grid);
/* Puts the counts of a window, if the model has counts, at the end of the workspace. */
void kgl_window_count(const kgl_model *model, int32_t *workspace, size_t workspace_len, kgl_window *window);
/* How a special window says its length and which of its values are steps. */
bool kgl_shape_code(const kgl_model *model, kgl_coder *coder, const kgl_window *window);
/* Lattice values become what they stand for. */
void kgl_to_values(const kgl_model *model, int32_t *rs, size_t n_values);
/* Makes ready what kgl_write_rung says; false if the rung cannot keep this window's bound. */
bool kgl_prepare(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a);
/* What stands before the rung's own symbols. */
bool kgl_write_head(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_coder *coder);
/* Writes a prepared window; kgl_settle then makes `values` what a decoder reads. */
bool kgl_write_rung(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a, kgl_coder *coder);
bool kgl_settle(const kgl_model *model, const kgl_window *window, kgl_rung rung, kgl_areas *a);
/* What is written on the predict rung, and after which distance if it refers. */
typedef struct kgl_writing {
    const kgl_model *model;
    const kgl_window *window;
    kgl_areas *areas;
    uint8_t distance;
} kgl_writing;

/* What the end of a code costs on average, in sixteenths of a bit. */
#define KGL_LENGTH_END 41

/* The predict rung where the code's length moves what networks say, if that costs no more than `cost_max`. `write` says the
 * same to each coder, and asks the networks the first time only. */
bool kgl_length(bool (*write)(const kgl_writing *w, kgl_coder *coder), const kgl_writing *w, uint32_t cost_max,
                uint8_t *out, size_t out_len, size_t *code_len);
/* The fewest whole bytes, for a model that expects a window. False if `out` is too short. */
bool kgl_shortest(const kgl_model *model, const kgl_window *window, kgl_areas *a, uint8_t *out, size_t out_len,
                  size_t *code_len, kgl_rung *rung);

#endif
