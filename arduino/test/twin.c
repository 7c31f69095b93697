/* This library behind a pipe, for a driver that holds the Rust crates against it: xtask/tests/c. Requests are a letter and
 * little-endian numbers; each gets its answer at once. */
#include <kgl_bytes.h>
#include <kgl_node.h>

#include "mem_flash.h"

#include <stdio.h>
#include <stdlib.h>

#define FLASH_MAX (1 << 20)
#define MODEL_MAX (1 << 20)

static uint8_t model_bytes[MODEL_MAX], flash_bytes[FLASH_MAX], code[32768], frame[16384];
static int32_t steps[KGL_VALUES_MAX + KGL_TAIL_SAMPLES_MAX * KGL_CHANNELS_MAX], workspace[6 * KGL_VALUES_MAX];
static kgl_model model;
static mem_flash flash;
static kgl_node node;
static kgl_config config;
/* What the driver's node has drawn, in order. */
static uint8_t drawn[4096];
static size_t n_drawn, n_taken;

static void get(void *out, size_t len) {
    if (fread(out, 1, len, stdin) != len) {
        exit(0);
    }
}

static uint64_t get_number(uint8_t n) {
    uint8_t bytes[8];
    get(bytes, n);
    return kgl_get_le(bytes, n);
}

static void put(const void *bytes, size_t len) {
    if (fwrite(bytes, 1, len, stdout) != len) {
        exit(1);
    }
}

static void put_number(uint64_t x, uint8_t n) {
    uint8_t bytes[8];
    kgl_put_le(bytes, x, n);
    put(bytes, n);
}

static void draw(void *context, uint8_t *out, size_t len) {
    (void)context;
    if (len > n_drawn - n_taken) {
        exit(1);
    }
    memcpy(out, drawn + n_taken, len);
    n_taken += len;
}

static void take_model(void) {
    uint32_t len = (uint32_t)get_number(4);
    if (len > MODEL_MAX) {
        exit(1);
    }
    get(model_bytes, len);
    /* In memory of exactly its length, so that a sanitizer sees every read past its end. */
    static uint8_t *exact = NULL;
    free(exact);
    exact = (uint8_t *)malloc(len > 0 ? len : 1);
    memcpy(exact, model_bytes, len);
    put_number(kgl_model_parse(&model, exact, len), 1);
}

static void encode(void) {
    bool off_grid = get_number(1) == 1;
    size_t n = (size_t)get_number(2), i, len = 0, words = 0;
    kgl_rung rung = KGL_RUNG_RAW;
    kgl_status status;
    for (i = 0; i < n; i++) {
        steps[i % KGL_VALUES_MAX] = (int32_t)(uint32_t)get_number(4);
    }
    words = kgl_workspace_len(&model);
    memset(workspace, 0x5a, sizeof workspace);
    status = kgl_encode(&model, steps, n, off_grid, workspace, words, code, kgl_code_len_max(&model), &len, &rung);
    put_number(status, 1);
    put_number(rung, 1);
    put_number(len, 2);
    put(code, len);
    for (i = 0; status == KGL_OK && i < n; i++) {
        put_number((uint32_t)workspace[i], 4);
    }
    /* Nothing behind the workspace was touched. */
    for (i = words; i < sizeof workspace / sizeof *workspace; i++) {
        if (workspace[i] != 0x5a5a5a5a) {
            exit(1);
        }
    }
}

static void encode_after(void) {
    static int32_t tail[KGL_VALUES_MAX];
    size_t n_tail = (size_t)get_number(2), n, i, words = kgl_workspace_len(&model);
    uint8_t distance;
    bool off_grid;
    kgl_encode_buffers buffers;
    kgl_referring made;
    kgl_status status;
    for (i = 0; i < n_tail; i++) {
        tail[i % KGL_VALUES_MAX] = (int32_t)(uint32_t)get_number(4);
    }
    distance = (uint8_t)get_number(1);
    off_grid = get_number(1) == 1;
    n = (size_t)get_number(2);
    for (i = 0; i < n; i++) {
        steps[i % KGL_VALUES_MAX] = (int32_t)(uint32_t)get_number(4);
    }
    memset(workspace, 0x5a, sizeof workspace);
    memset(&made, 0, sizeof made);
    buffers.workspace = workspace;
    buffers.workspace_len = words;
    buffers.out = code;
    buffers.out_len = 2 * kgl_code_len_max(&model);
    status = kgl_encode_after(&model, tail, n_tail, distance, steps, n, off_grid, &buffers, &made);
    put_number(status == KGL_OK && made.is_made, 1);
    if (status == KGL_OK && made.is_made) {
        put_number(made.code_len, 2);
        put_number(made.alone_len, 2);
        put(code, made.code_len + made.alone_len);
        for (i = 0; i < n; i++) {
            put_number((uint32_t)workspace[i], 4);
        }
    }
    /* Nothing behind the workspace was touched. */
    for (i = words; i < sizeof workspace / sizeof *workspace; i++) {
        if (workspace[i] != 0x5a5a5a5a) {
            exit(1);
        }
    }
}

static kgl_reading get_reading(void) {
    kgl_reading reading;
    reading.is_given = get_number(1) == 1;
    reading.mantissa = (int64_t)get_number(8);
    reading.digits = (uint8_t)get_number(1);
    return reading;
}

static void quantise(void) {
    uint8_t channel = (uint8_t)get_number(1);
    bool is_exact;
    int32_t step = kgl_quantise(&model, channel, get_reading(), &is_exact);
    put_number((uint32_t)step, 4);
    put_number(is_exact, 1);
}

/* A new device: flash of its own, erased; the model is the one last given. */
static void new_world(void) {
    uint32_t sector_len = (uint32_t)get_number(4), n_sectors = (uint32_t)get_number(4);
    uint32_t write_len = (uint32_t)get_number(4);
    if ((uint64_t)sector_len * n_sectors > FLASH_MAX) {
        exit(1);
    }
    mem_init(&flash, flash_bytes, sector_len, n_sectors, write_len);
    config = kgl_config_default();
    config.retry_min_ms = (uint32_t)get_number(4);
    config.retry_max_ms = (uint32_t)get_number(4);
    config.code_len_max = (size_t)get_number(4);
    config.fill_len = (size_t)get_number(4);
    config.padding_class = (uint8_t)get_number(1);
    config.link = (kgl_link)get_number(1);
    put_number(0, 1);
}

static void boot(void) {
    uint8_t key[KGL_SECRET_LEN];
    kgl_buffers buffers;
    buffers.steps = steps;
    buffers.steps_len = kgl_node_steps_len(&model);
    buffers.workspace = workspace;
    buffers.workspace_len = kgl_workspace_len(&model);
    buffers.code = code;
    buffers.code_len = kgl_node_code_len(&model);
    memset(key, 5, sizeof key);
    put_number(kgl_node_open(&node, &flash.flash, draw, NULL, "cellar", key, &model, &buffers, &config), 1);
}

static void sample(bool is_dated) {
    kgl_reading readings[KGL_CHANNELS_MAX];
    uint64_t now = get_number(8);
    int64_t unix_ms = is_dated ? (int64_t)get_number(8) : 0;
    uint8_t n = (uint8_t)get_number(1), i;
    for (i = 0; i < n; i++) {
        readings[i % KGL_CHANNELS_MAX] = get_reading();
    }
    put_number(is_dated ? kgl_node_sample_at(&node, now, unix_ms, readings, n)
                        : kgl_node_sample(&node, now, readings, n),
               1);
}

static void poll(void) {
    uint64_t now = get_number(8);
    kgl_transmit transmit;
    kgl_status status;
    n_taken = 0;
    n_drawn = (size_t)get_number(2);
    if (n_drawn > sizeof drawn) {
        exit(1);
    }
    get(drawn, n_drawn);
    transmit.counter = 0;
    status = kgl_node_poll(&node, now, frame, kgl_node_frame_len_max(&node), &transmit);
    put_number(status, 1);
    put_number(transmit.what, 1);
    put_number(transmit.counter, 8);
    put_number(transmit.len, 2);
    put(frame, transmit.len);
    put_number(n_taken == n_drawn, 1);
}

static void downlink(void) {
    uint64_t now = get_number(8);
    size_t len = (size_t)get_number(2);
    uint8_t *exact = (uint8_t *)malloc(len > 0 ? len : 1);
    kgl_downlink did;
    get(exact, len);
    put_number(kgl_node_downlink(&node, now, exact, len, &did), 1);
    put_number(did, 1);
    free(exact);
}

static void receipt(void) {
    uint64_t now = get_number(8);
    kgl_transmit transmit;
    transmit.what = (kgl_what)get_number(1);
    transmit.counter = get_number(8);
    kgl_node_receipt(&node, now, &transmit);
    put_number(0, 1);
}

static void tell(void) {
    kgl_stats stats = kgl_node_stats(&node);
    put_number(stats.n_samples_open, 2);
    put_number(stats.n_windows_waiting, 4);
    put_number(stats.n_in_flight, 1);
    put_number(stats.windows_lost, 4);
    put_number(stats.generation, 4);
    put_number(stats.boot, 4);
    put_number(kgl_node_poll_at(&node), 8);
}

/* A hash of the flash's bytes (FNV-1a over words of eight). */
static void image(void) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    uint32_t i;
    for (i = 0; i < mem_len(&flash); i += 8) {
        hash = (hash ^ kgl_get_le(flash_bytes + i, 8)) * UINT64_C(0x100000001b3);
    }
    put_number(hash, 8);
}

static void set_image(void) {
    get(flash_bytes, mem_len(&flash));
    put_number(0, 1);
}

/* How the driver's flash stands: its supply, when that goes, the writes so far. */
static void sync(void) {
    flash.is_dead = get_number(1) == 1;
    flash.is_cut_set = get_number(1) == 1;
    flash.until_cut = (uint32_t)get_number(4);
    flash.tear = (uint32_t)get_number(4);
    flash.n_writes = (uint32_t)get_number(4);
}

/* One call of the node, after the state of the flash and followed by it. */
static bool call(int letter) {
    sync();
    switch (letter) {
    case 'O': boot(); break;
    case 'S': sample(false); break;
    case 'U': sample(true); break;
    case 'F': put_number(kgl_node_flush(&node, get_number(8)), 1); break;
    case 'T': poll(); break;
    case 'D': downlink(); break;
    case 'X': {
        uint64_t now = get_number(8);
        put_number(kgl_node_set_unix_time(&node, now, (int64_t)get_number(8)), 1);
        break;
    }
    default: return false;
    }
    put_number(flash.is_dead, 1);
    put_number(flash.n_writes, 4);
    return true;
}

int main(void) {
    static char in[1 << 16];
    setvbuf(stdin, in, _IOFBF, sizeof in);
    for (;;) {
        int letter;
        /* Answers leave before the next request is waited for. */
        fflush(stdout);
        letter = fgetc(stdin);
        switch (letter) {
        case EOF: return 0;
        case 'M': take_model(); break;
        case 'E': encode(); break;
        case 'A': encode_after(); break;
        case 'Q': quantise(); break;
        case 'N': new_world(); break;
        case 'R': receipt(); break;
        case 'H': kgl_node_join_hint(&node, get_number(8)); put_number(0, 1); break;
        case 'L': kgl_node_link_up(&node, get_number(8)); put_number(0, 1); break;
        case 'B': kgl_node_set_battery_mv(&node, (uint16_t)get_number(2)); put_number(0, 1); break;
        case 'W': kgl_node_request_status(&node); put_number(0, 1); break;
        case 'G': tell(); break;
        case 'I': image(); break;
        case 'J': set_image(); break;
        default:
            if (!call(letter)) {
                return 1;
            }
        }
    }
}
