/* The node: from samples to windows in the outbox, and what its owner asks. */
#include "kgl_node_inner.h"

/* How long the node waits before it uses flash again that has just failed. */
#define FLASH_PAUSE_MS 1000

kgl_config kgl_config_default(void) {
    kgl_config config;
    memset(&config, 0, sizeof config);
    config.retry_min_ms = 2000;
    config.retry_max_ms = UINT32_C(15) * 60 * 1000;
    config.receipt_retry_ms = UINT32_C(10) * 60 * 1000;
    config.code_len_max = KGL_NODE_CODE_LEN_MAX;
    return config;
}

kgl_suite kgl_node_suite(const kgl_node *node) {
    return node->config.link == KGL_LINK_IP ? KGL_SUITE_CCM16 : KGL_SUITE_CCM8;
}

/* Asks for a join, where there are any. */
void kgl_node_want_join(kgl_node *node) {
    if (node->config.link != KGL_LINK_LORAWAN_STATIC) {
        kgl_join_hint(&node->join, node->now);
    }
}

/* What an uplink may add to its content, whenever it is repeated. */
static size_t overhead(kgl_link link, bool may_be_wide) {
    return (may_be_wide ? 2U : 0U) +
           (link == KGL_LINK_IP ? KGL_UP_HEADER_LEN + KGL_TAG_LEN : KGL_LORAWAN_OVERHEAD_LONG);
}

/* A window that is sealed again after a join says so in 10 bytes; on LoRaWAN it would not fit any more. */
#define RESEALED_LEN 10

static size_t fill_len_min(kgl_link link) {
    return overhead(link, true) + 1 + 8 + (link == KGL_LINK_IP ? 0 : RESEALED_LEN) + 1;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

kgl_status kgl_node_open(kgl_node *node, const kgl_flash *flash, kgl_random random, void *random_context,
                         const char *id, const uint8_t device_key[KGL_SECRET_LEN], const kgl_model *model,
                         const kgl_buffers *buffers, const kgl_config *config) {
    uint8_t fingerprint[KGL_FINGERPRINT_LEN];
    bool is_joined;
    memset(node, 0, sizeof *node);
    if (buffers->steps_len < kgl_node_steps_len(model) || buffers->workspace_len < kgl_workspace_len(model) ||
        buffers->code_len < kgl_node_code_len(model)) {
        return KGL_ERR_BUFFER;
    }
    if (!kgl_id_make(&node->id, id) || (config->fill_len > 0 && config->fill_len < fill_len_min(config->link))) {
        return KGL_ERR_SETTING;
    }
    node->model = *model;
    node->buffers = *buffers;
    node->config = *config;
    node->random = random;
    node->random_context = random_context;
    memcpy(node->device_key, device_key, KGL_SECRET_LEN);
    kgl_join_key(device_key, &node->id, node->join_key);
    kgl_model_fingerprint(model, fingerprint);
    KGL_TRY(kgl_outbox_open(&node->outbox, flash, fingerprint));
    if (config->link == KGL_LINK_LORAWAN_STATIC && node->outbox.state.generation == 0) {
        kgl_static_secret(device_key, &node->id, node->outbox.state.secret);
    }
    is_joined = node->outbox.state.generation > 0 || config->link == KGL_LINK_LORAWAN_STATIC;
    if (is_joined) {
        kgl_up_key(node->outbox.state.secret, kgl_node_suite(node), &node->up);
    }
    node->has_up = is_joined;
    node->code_len_limit = least(config->code_len_max, kgl_outbox_code_len_max(&node->outbox));
    kgl_join_init(&node->join, !is_joined);
    kgl_clock_init(&node->clock, model->period_ms);
    kgl_status_at_boot(&node->status);
    node->is_fresh = true;
    node->unheard_since = KGL_NONE;
    return KGL_OK;
}

static void set_now(kgl_node *node, uint64_t now) {
    node->now = kgl_max_u64(node->now, now);
}

/* --- the window being filled ------------------------------------------------------------------------------------------- */

/* When it must be cut at the latest. */
uint64_t kgl_node_deadline(const kgl_node *node) {
    return node->window.n_samples > 0 ? kgl_add_u64(node->window.since, node->model.max_delay_ms) : KGL_NONE;
}

bool kgl_node_is_overdue(const kgl_node *node) {
    return node->window.n_samples > 0 && kgl_node_deadline(node) <= node->now;
}

/* True if a sample at `at` is the next of this window: its decoded time will lie within half a period of its own. */
static bool continues(const kgl_node *node, bool is_unix, int64_t at) {
    const kgl_open_window *window = &node->window;
    int64_t period = node->model.period_ms, distance, off;
    if (window->n_samples == 0) {
        return true;
    }
    if (window->is_unix != is_unix) {
        return false;
    }
    distance = kgl_sub_i64(at, window->first);
    if (distance < -((int64_t)1 << 41) || distance > (int64_t)1 << 41) {
        return false;
    }
    off = distance - period * (int64_t)window->n_samples;
    off = off < 0 ? -off : off;
    return 2 * (off + (kgl_is_whole_s(&node->model) ? 500 : 0)) <= period;
}

static void add(kgl_node *node, bool is_unix, int64_t at, const kgl_reading *readings) {
    kgl_open_window *window = &node->window;
    int32_t *steps = node->buffers.steps + window->n_samples * node->model.n_channels;
    uint8_t idx;
    if (window->n_samples == 0) {
        memset(window, 0, sizeof *window);
        window->first = at;
        window->is_unix = is_unix;
        window->since = node->now;
    }
    for (idx = 0; idx < node->model.n_channels; idx++) {
        bool is_exact;
        steps[idx] = kgl_quantise(&node->model, idx, readings[idx], &is_exact);
        window->off_grid = window->off_grid || !is_exact;
    }
    window->n_samples++;
}

/* Takes `n` samples off the front; what is behind them moves up. */
static void remove_front(kgl_node *node, size_t n) {
    kgl_open_window *window = &node->window;
    size_t n_channels = node->model.n_channels, n_left = window->n_samples - n;
    uint64_t ms = (uint64_t)node->model.period_ms * n;
    memmove(node->buffers.steps, node->buffers.steps + n * n_channels,
            n_left * n_channels * sizeof *node->buffers.steps);
    window->n_samples = n_left;
    if (!window->is_unix) {
        /* Nobody has noted when the sample that is now the first came in; it was not before this. */
        uint64_t half = ((uint64_t)node->model.period_ms + 1) / 2;
        window->since = kgl_max_u64(window->since, kgl_sub_u64((uint64_t)window->first + ms, half));
    }
    window->first = kgl_add_i64(window->first, (int64_t)ms);
    if (n_left == 0) {
        memset(window, 0, sizeof *window);
    }
}

static kgl_stamp window_stamp(const kgl_node *node) {
    const kgl_outbox *outbox = &node->outbox;
    kgl_stamp stamp;
    stamp.is_unix = stamp.is_synced = node->window.is_unix;
    stamp.boot = node->window.is_unix ? 0 : outbox->state.boot;
    stamp.ms = node->window.first;
    return kgl_clock_resolve(&node->clock, node->now, outbox->state.boot, false, 0, 0, stamp);
}

/* Longest code the frame of the open window may have. */
static size_t code_room(const kgl_node *node) {
    /* Far more than can wait: windows that are sealed later get later counters. */
    bool may_be_wide = node->outbox.next_counter >= (UINT64_C(1) << 31) - (UINT32_C(1) << 24);
    size_t around = overhead(node->config.link, may_be_wide), len, head_len;
    size_t padding_class = node->config.padding_class;
    kgl_time time;
    if (node->config.fill_len == 0) {
        return node->code_len_limit;
    }
    around += node->config.link == KGL_LINK_LORAWAN ? RESEALED_LEN : 0;
    len = node->config.fill_len > around ? node->config.fill_len - around : 0;
    if (padding_class > 0) {
        /* At least one byte of padding, up to a multiple of the class. */
        len -= len % padding_class;
        len = len > 0 ? len - 1 : 0;
    }
    time = kgl_stamp_time(window_stamp(node), kgl_is_whole_s(&node->model));
    if (time.kind == KGL_TIME_UNIX_S && !kgl_is_whole_s(&node->model)) {
        /* A clock that is set better until the frame is sealed may move it off the whole second. */
        time.kind = KGL_TIME_UNIX_MS;
    }
    head_len = kgl_data_head_len(time, false);
    return least(len > head_len ? len - head_len : 0, node->code_len_limit);
}

static kgl_encode_buffers encode_buffers(const kgl_node *node) {
    kgl_encode_buffers buffers;
    buffers.workspace = node->buffers.workspace;
    buffers.workspace_len = node->buffers.workspace_len;
    buffers.out = node->buffers.code + KGL_CODE_AT;
    buffers.out_len = node->buffers.code_len - KGL_CODE_AT;
    return buffers;
}

/* Moves samples, whose codes stand in their buffer, into the outbox; the workspace begins with what a decoder will read. */
static kgl_status push_window(kgl_node *node, size_t n_samples, const kgl_after *after, size_t code_len) {
    uint32_t id;
    KGL_TRY(kgl_outbox_push(&node->outbox, window_stamp(node), (uint16_t)n_samples, after, node->buffers.code, code_len,
                            &id));
    kgl_tail_keep(node, id, n_samples);
    remove_front(node, n_samples);
    return KGL_OK;
}

/* Moves what was just encoded into the outbox. */
static kgl_status push_front(kgl_node *node, const kgl_front *front, size_t len_max) {
    if (front->code_len > len_max) {
        /* It would never fit: better to lose this one than all that follow. */
        remove_front(node, front->n_samples);
        return KGL_ERR_CODE_TOO_LONG;
    }
    return push_window(node, front->n_samples, NULL, front->code_len);
}

/* Moves as many samples from the front as fit a frame into the outbox. */
static kgl_status cut_front(kgl_node *node) {
    size_t len_max = code_room(node);
    kgl_encode_buffers buffers = encode_buffers(node);
    kgl_front front;
    kgl_after after;
    kgl_referring made;
    KGL_TRY(kgl_tail_encode(node, len_max, &after, &made));
    if (made.is_made) {
        KGL_TRY(push_window(node, node->window.n_samples, &after, made.code_len + made.alone_len));
        memset(&node->filling, 0, sizeof node->filling);
        return KGL_OK;
    }
    KGL_TRY(kgl_filling_cut(&node->filling, &node->model, node->buffers.steps,
                            node->window.n_samples * node->model.n_channels, node->window.off_grid, len_max, &buffers,
                            &front));
    return push_front(node, &front, len_max);
}

/* Where frames are to be filled, and the open window fills one: moves that into the outbox. */
static kgl_status cut_filled(kgl_node *node) {
    while (node->config.fill_len > 0 && node->window.n_samples > 0) {
        size_t len_max = code_room(node);
        kgl_encode_buffers buffers = encode_buffers(node);
        kgl_front front;
        KGL_TRY(kgl_filling_added(&node->filling, &node->model, node->buffers.steps,
                                  node->window.n_samples * node->model.n_channels, node->window.off_grid, len_max,
                                  &buffers, &front));
        if (front.n_samples == 0) {
            break;
        }
        KGL_TRY(push_front(node, &front, len_max));
    }
    return KGL_OK;
}

kgl_status kgl_node_cut(kgl_node *node) {
    while (node->window.n_samples > 0) {
        KGL_TRY(cut_front(node));
    }
    return KGL_OK;
}

static kgl_status take_sample(kgl_node *node, bool is_unix, int64_t at, const kgl_reading *readings,
                              size_t n_readings) {
    if (n_readings != node->model.n_channels) {
        return KGL_ERR_SAMPLE;
    }
    /* The window stays as it is if flash fails; then this sample has no place. */
    if (!continues(node, is_unix, at) && kgl_node_cut(node) != KGL_OK) {
        return KGL_ERR_SAMPLE_REFUSED;
    }
    if (node->window.n_samples == node->model.n_samples && cut_front(node) != KGL_OK) {
        return KGL_ERR_SAMPLE_REFUSED;
    }
    add(node, is_unix, at, readings);
    if (kgl_node_is_overdue(node)) {
        return kgl_node_cut(node);
    }
    return node->window.n_samples == node->model.n_samples ? cut_front(node) : cut_filled(node);
}

kgl_status kgl_node_sample(kgl_node *node, uint64_t now, const kgl_reading *readings, size_t n_readings) {
    set_now(node, now);
    return take_sample(node, false, (int64_t)node->now, readings, n_readings);
}

kgl_status kgl_node_sample_at(kgl_node *node, uint64_t now, int64_t unix_ms, const kgl_reading *readings,
                              size_t n_readings) {
    set_now(node, now);
    return unix_ms < 0 || unix_ms > KGL_MILLIS_MAX ? KGL_ERR_SAMPLE
                                                    : take_sample(node, true, unix_ms, readings, n_readings);
}

kgl_status kgl_node_flush(kgl_node *node, uint64_t now) {
    set_now(node, now);
    return kgl_node_cut(node);
}

/* --- sending and receiving ------------------------------------------------------------------------------------------------ */

kgl_status kgl_node_poll(kgl_node *node, uint64_t now, uint8_t *buf, size_t buf_len, kgl_transmit *transmit) {
    kgl_status status;
    set_now(node, now);
    transmit->what = KGL_WHAT_NOTHING;
    transmit->len = 0;
    status = kgl_node_transmit(node, buf, buf_len, transmit);
    if (status == KGL_ERR_FLASH || status == KGL_ERR_FLASH_RANGE || status == KGL_ERR_EXHAUSTED) {
        node->paused_until = kgl_add_u64(node->now, FLASH_PAUSE_MS);
    }
    return status;
}

uint64_t kgl_node_poll_at(const kgl_node *node) {
    uint64_t at = kgl_min_u64(kgl_node_deadline(node), kgl_node_transmit_at(node));
    return at == KGL_NONE ? KGL_NONE : kgl_max_u64(at, node->paused_until);
}

size_t kgl_node_frame_len_max(const kgl_node *node) {
    return KGL_FRAME_ROOM + least(node->code_len_limit, kgl_code_len_max(&node->model)) +
           node->config.padding_class;
}

kgl_status kgl_node_downlink(kgl_node *node, uint64_t now, uint8_t *bytes, size_t len, kgl_downlink *did) {
    set_now(node, now);
    return kgl_node_receive(node, bytes, len, did);
}

void kgl_node_receipt(kgl_node *node, uint64_t now, const kgl_transmit *transmit) {
    uint64_t until;
    uint8_t i;
    set_now(node, now);
    until = kgl_add_u64(node->now, node->config.receipt_retry_ms);
    if (transmit->what == KGL_WHAT_STATUS) {
        /* The greeting is not put off: data waits for it. */
        if (node->status.counter == transmit->counter && !node->status.is_greeting) {
            node->status.retry_at = kgl_max_u64(node->status.retry_at, until);
        }
    } else if (transmit->what == KGL_WHAT_DATA) {
        for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
            kgl_in_flight *entry = &node->outbox.in_flight[i];
            if (entry->is_used && entry->counter == transmit->counter &&
                entry->generation == node->outbox.state.generation) {
                entry->retry_at = kgl_max_u64(entry->retry_at, until);
                break;
            }
        }
    }
}

void kgl_node_join_hint(kgl_node *node, uint64_t now) {
    set_now(node, now);
    kgl_node_want_join(node);
}

void kgl_node_link_up(kgl_node *node, uint64_t now) {
    uint8_t i;
    set_now(node, now);
    if (node->join.state == KGL_JOIN_ASKING) {
        node->join.at = kgl_min_u64(node->now, node->join.at);
        node->join.attempts = 0;
    }
    if (node->status.is_due) {
        node->status.retry_at = kgl_min_u64(node->status.retry_at, node->now);
    }
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        kgl_in_flight *entry = &node->outbox.in_flight[i];
        if (entry->is_used) {
            entry->retry_at = kgl_min_u64(entry->retry_at, node->now);
            entry->attempts = 0;
        }
    }
}

/* To be called after the clock was set: windows of this boot get their dates, here and on the server. */
kgl_status kgl_node_clock_learned(kgl_node *node, bool was_set) {
    int64_t offset;
    if (was_set || !kgl_clock_offset(&node->clock, &offset)) {
        return KGL_OK;
    }
    kgl_status_clock_was_set(&node->status, node->now);
    return kgl_outbox_set_dated(&node->outbox, offset);
}

kgl_status kgl_node_set_unix_time(kgl_node *node, uint64_t now, int64_t unix_ms) {
    int64_t ignored;
    bool was_set = kgl_clock_offset(&node->clock, &ignored);
    set_now(node, now);
    kgl_clock_set(&node->clock, node->now, unix_ms);
    return kgl_node_clock_learned(node, was_set);
}

bool kgl_node_unix_time(const kgl_node *node, uint64_t now, int64_t *unix_ms) {
    int64_t offset;
    bool is_known = kgl_clock_offset(&node->clock, &offset);
    *unix_ms = kgl_add_i64(offset, kgl_signed_ms(kgl_max_u64(now, node->now)));
    return is_known;
}

void kgl_node_set_battery_mv(kgl_node *node, uint16_t battery_mv) {
    node->battery_mv = battery_mv;
    node->has_battery = battery_mv > 0;
}

void kgl_node_request_status(kgl_node *node) {
    kgl_status_want(&node->status, node->now);
}

uint32_t kgl_node_short_id(const kgl_node *node) {
    return node->outbox.state.short_id;
}

kgl_stats kgl_node_stats(const kgl_node *node) {
    kgl_stats stats;
    uint8_t i;
    stats.n_samples_open = node->window.n_samples;
    stats.n_windows_waiting = kgl_outbox_n_waiting(&node->outbox);
    stats.n_in_flight = 0;
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        stats.n_in_flight = (uint8_t)(stats.n_in_flight + node->outbox.in_flight[i].is_used);
    }
    stats.windows_lost = node->outbox.mark.lost;
    stats.generation = node->outbox.state.generation;
    stats.boot = node->outbox.state.boot;
    return stats;
}
