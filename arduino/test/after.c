/* One folder of vectors/reference: every window gives the two codes that stand there.
 * VECTOR_FILE is a header with NAME, MODEL, CASES, their lengths, and N_CASES. */
#include "say.h"

#include <kgl_codec.h>

#include VECTOR_FILE

#ifndef WORDS_MAX
#define WORDS_MAX 3500
#endif
#define BYTES_MAX 2400
#define STEPS_MAX (WORDS_MAX / 6)

static int32_t workspace[WORDS_MAX], tail[STEPS_MAX], steps[STEPS_MAX];
static uint8_t out[BYTES_MAX];

static uint8_t u8_at(uint32_t at) {
    return KGL_ROM_U8(CASES + (size_t)at);
}

static uint16_t u16_at(uint32_t at) {
    return (uint16_t)(u8_at(at) | (uint16_t)((uint16_t)u8_at(at + 1) << 8));
}

static int32_t i32_at(uint32_t at) {
    return (int32_t)((uint32_t)u16_at(at) | (uint32_t)u16_at(at + 2) << 16);
}

/* Reads n values after their number. */
static uint16_t take_steps(uint32_t *at, int32_t *into) {
    uint16_t n = u16_at(*at), i;
    for (i = 0; i < n && i < STEPS_MAX; i++) {
        into[i] = i32_at(*at + 2 + 4U * i);
    }
    *at += 2 + 4U * n;
    return n;
}

/* True if `code` is what stands at `*at` after its length; moves on. */
static bool take_code(uint32_t *at, const uint8_t *code, size_t code_len) {
    uint16_t len = u16_at(*at), i;
    bool is_same = len == code_len;
    for (i = 0; is_same && i < len; i++) {
        is_same = code[i] == u8_at(*at + 2 + i);
    }
    *at += 2 + (uint32_t)len;
    return is_same;
}

/* Encodes the case that begins at `*at`, and moves on. */
static bool check(const kgl_model *model, uint32_t *at, uint32_t *n_used) {
    bool off_grid = u8_at(*at) == 1, is_ok, is_alone;
    uint8_t distance = u8_at(*at + 1);
    kgl_encode_buffers buffers;
    kgl_referring made;
    uint16_t n_tail, n, i;
    uint32_t before;
    *at += 2;
    n_tail = take_steps(at, tail);
    n = take_steps(at, steps);
    buffers.workspace = workspace;
    buffers.workspace_len = sizeof workspace / sizeof *workspace;
    buffers.out = out;
    buffers.out_len = sizeof out;
    before = instructions();
    is_ok = kgl_encode_after(model, tail, n_tail, distance, steps, n, off_grid, &buffers, &made) == KGL_OK &&
            made.is_made;
    *n_used += instructions() - before;
    (void)take_steps(at, steps);
    for (i = 0; is_ok && i < n; i++) {
        is_ok = workspace[i] == steps[i];
    }
    is_ok = take_code(at, out, made.code_len) && is_ok;
    is_alone = take_code(at, out + made.code_len, made.alone_len);
    return is_ok && is_alone;
}

int main(void) {
    kgl_model model;
    uint32_t at = 0, n_cases = 0, n_failed = 0, n_used = 0;
    if (kgl_model_parse(&model, MODEL, MODEL_LEN) != KGL_OK || kgl_workspace_len(&model) > WORDS_MAX ||
        2 * kgl_code_len_max(&model) > BYTES_MAX) {
        verdict(NAME ": the model is read", false);
        finish(false);
    }
    while (at < CASES_LEN) {
        n_failed += !check(&model, &at, &n_used);
        n_cases++;
    }
    verdict(NAME ": both codes are the ones that stand there", n_failed == 0 && n_cases == N_CASES);
    say(NAME " ");
    say_number(n_cases);
    say(" cases, ");
    say_number(n_failed);
    say(" differ");
    if (n_used > 0) {
        say(", instructions a window ");
        say_number(n_used / n_cases);
    }
    say("\n");
    finish(n_failed == 0);
    return 0;
}
