/* A small dense network, 24-32-16-4, 1,344 products: the yardstick by which inference on chips is compared. */
#include "say.h"

#include <kgl_codec_inner.h>

#define N_RUNS 50

static uint8_t bytes[24 * 32 + 32 * 7 + 32 * 16 + 16 * 7 + 16 * 4 + 4 * 7];
static const uint8_t SIZES[4] = {24, 32, 16, 4};

int main(void) {
    int32_t values[2][32];
    kgl_dense layers[3];
    kgl_reader reader;
    uint32_t before, used, dice = 1, sum = 0;
    uint16_t i, n;
    bool ok = true;
    for (i = 0; i < sizeof bytes; i++) {
        dice = dice * UINT32_C(1664525) + UINT32_C(1013904223);
        bytes[i] = (uint8_t)(dice >> 24);
    }
    reader.at = bytes;
    reader.left = sizeof bytes;
    reader.is_short = false;
    for (n = 0; n < 3; n++) {
        uint8_t *outs = bytes + (reader.at - bytes) + SIZES[n] * SIZES[n + 1];
        for (i = 0; i < SIZES[n + 1]; i++) {
            /* A bias of two bytes, and a shift a layer may have. */
            outs[7 * i + 2] = outs[7 * i + 3] = 0;
            outs[7 * i + 6] = 22;
        }
        ok = ok && kgl_dense_parse(&reader, SIZES[n], SIZES[n + 1], true, &layers[n]);
    }
    for (i = 0; i < 24; i++) {
        values[0][i] = (int32_t)(i * 37U % 255U) - 127;
    }
    before = instructions();
    for (n = 0; n < N_RUNS; n++) {
        kgl_dense_run(&layers[0], values[0], values[1], KGL_DENSE_HIDDEN);
        kgl_dense_run(&layers[1], values[1], values[0], KGL_DENSE_HIDDEN);
        kgl_dense_run(&layers[2], values[0], values[1], KGL_DENSE_OUTPUT);
        sum = sum * 31 + (uint32_t)values[1][n % 4];
    }
    used = instructions() - before;
    verdict("dense: its layers are taken", ok && sum != 0);
    if (used > 0) {
        ok = ok && used / N_RUNS <= 10400;
        verdict("dense: at most 10,400 instructions", ok);
        say("dense 24-32-16-4: instructions an inference ");
        say_number(used / N_RUNS);
        say("\n");
    }
    finish(ok);
    return 0;
}
