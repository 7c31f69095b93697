/* One folder of vectors/codec: every window gives the code that stands there, and every damaged model is refused.
 * VECTOR_FILE is a header with NAME, MODEL, CASES, their lengths, and N_CASES. */
#include "say.h"

#include <kgl_codec.h>

#include VECTOR_FILE

#ifndef WORDS_MAX
#define WORDS_MAX 3500
#endif
#define BYTES_MAX 1200

static int32_t workspace[WORDS_MAX], steps[KGL_VALUES_MAX < WORDS_MAX / 3 ? KGL_VALUES_MAX : WORDS_MAX / 3];
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

/* Instructions so far, and a value's in the dearest full window. */
static uint32_t n_used, most_a_value;

/* Encodes the case that begins at `*at`, and moves on. */
static bool check(const kgl_model *model, uint32_t *at) {
    bool off_grid = u8_at(*at) == 1, is_ok;
    uint16_t n = u16_at(*at + 1), code_len, i;
    uint32_t given = *at + 3, read = given + 4U * n, code = read + 4U * n + 2, used;
    size_t len = 0;
    code_len = u16_at(code - 2);
    for (i = 0; i < n; i++) {
        steps[i] = i32_at(given + 4U * i);
    }
    used = instructions();
    is_ok = kgl_encode(model, steps, n, off_grid, workspace, sizeof workspace / sizeof *workspace, out, sizeof out,
                       &len, NULL) == KGL_OK &&
            len == code_len;
    used = instructions() - used;
    n_used += used;
    if (n == model->n_samples * model->n_channels && used / n > most_a_value) {
        most_a_value = used / n;
    }
    for (i = 0; is_ok && i < code_len; i++) {
        is_ok = out[i] == u8_at(code + i);
    }
    for (i = 0; is_ok && i < n; i++) {
        is_ok = workspace[i] == i32_at(read + 4U * i);
    }
    *at = code + code_len;
    return is_ok;
}

int main(void) {
    kgl_model model;
    uint32_t at = 0, n_cases = 0, n_failed = 0, used;
    bool is_refused = true;
    if (kgl_model_parse(&model, MODEL, MODEL_LEN) != KGL_OK || kgl_workspace_len(&model) > WORDS_MAX ||
        kgl_code_len_max(&model) > BYTES_MAX) {
        verdict(NAME ": the model is read", false);
        finish(false);
    }
    (void)stack_used();
    while (at < CASES_LEN) {
        n_failed += !check(&model, &at);
        n_cases++;
    }
    used = stack_used();
    /* Cut anywhere, a model is none. */
    for (at = 0; at < MODEL_LEN; at += 1 + at / 7) {
        kgl_model cut;
        is_refused = is_refused && kgl_model_parse(&cut, MODEL, at) != KGL_OK;
    }
    verdict(NAME ": every code is the one that stands there", n_failed == 0 && n_cases == N_CASES);
    verdict(NAME ": a model cut short is refused", is_refused);
    say(NAME " ");
    say_number(n_cases);
    say(" cases, ");
    say_number(n_failed);
    say(" differ");
    if (used > 0) {
        say(", stack ");
        say_number(used);
        say(" bytes, workspace ");
        say_number((uint32_t)(4 * kgl_workspace_len(&model) + kgl_code_len_max(&model)));
    }
    if (n_used > 0) {
        say(", instructions a window ");
        say_number(n_used / n_cases);
        say(", a value of the dearest ");
        say_number(most_a_value);
    }
    say("\n");
    finish(n_failed == 0 && is_refused);
    return 0;
}
