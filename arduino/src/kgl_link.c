/* What is sent and when, and what a downlink does. Open first, then act; new keys are written down before they are used. */
#include "kgl_node_inner.h"

/* Without any authentic answer for this long, or for twice the longest wait, the node asks for new keys. */
#define SILENCE_MS UINT64_C(3600000)

/* --- sending -------------------------------------------------------------------------------------------------------------- */

static void want_join_if_stuck(kgl_node *node) {
    uint64_t silence = kgl_max_u64(SILENCE_MS, UINT64_C(2) * node->config.retry_max_ms);
    if (kgl_outbox_is_exhausted(&node->outbox) && node->config.link != KGL_LINK_LORAWAN_STATIC) {
        if (node->join.state == KGL_JOIN_IDLE) {
            node->join.state = KGL_JOIN_WANTED;
            node->join.at = node->now;
            node->join.spread_ms = 0;
        }
    } else if (node->unheard_since != KGL_NONE && kgl_sub_u64(node->now, node->unheard_since) >= silence) {
        node->unheard_since = KGL_NONE;
        kgl_node_want_join(node);
    }
}

static void heard_nothing_since_now(kgl_node *node) {
    if (node->unheard_since == KGL_NONE) {
        node->unheard_since = node->now;
    }
}

/* A status is made anew each time, under a new counter. */
static kgl_status transmit_status(kgl_node *node, uint8_t *buf, kgl_transmit *transmit) {
    kgl_status_content content;
    int64_t unix_ms;
    uint64_t counter;
    size_t header_len;
    KGL_TRY(kgl_outbox_take_counter(&node->outbox, &counter));
    memset(&content, 0, sizeof content);
    content.slot = node->outbox.slot;
    content.fingerprint = node->outbox.fingerprint;
    content.windows_lost = node->outbox.mark.lost;
    content.boot = (uint16_t)node->outbox.state.boot;
    content.reset = node->config.reset;
    content.uptime_ms = kgl_min_u64(node->now, (uint64_t)KGL_MILLIS_MAX);
    content.has_unix = kgl_node_unix_time(node, node->now, &unix_ms) && unix_ms >= 0 && unix_ms <= KGL_MILLIS_MAX;
    content.unix_ms = content.has_unix ? (uint64_t)unix_ms : 0;
    content.quality = kgl_clock_quality(&node->clock, node->now);
    /* LoRaWAN has a word of its own for it, and a first status with both fits no slow data rate. */
    content.has_battery = node->has_battery && node->config.link == KGL_LINK_IP;
    content.battery_mv = node->battery_mv;
    header_len = kgl_up_header(buf, KGL_KIND_STATUS, node->up.suite, node->outbox.state.generation, 0,
                               node->outbox.state.short_id, counter, node->is_fresh);
    transmit->len = kgl_seal(&node->up, &node->id, counter, NULL, buf, header_len,
                             kgl_status_emit(buf + header_len, &content));
    transmit->what = KGL_WHAT_STATUS;
    transmit->counter = counter;
    node->is_fresh = false;
    heard_nothing_since_now(node);
    kgl_status_sent(node, counter, content.windows_lost);
    return KGL_OK;
}

/* The window to send now, sealed: one that is due again, else the next one never sent. */
static kgl_status next_in_flight(kgl_node *node, uint8_t *idx) {
    kgl_outbox *outbox = &node->outbox;
    kgl_seal_with with;
    uint8_t i;
    with.now = node->now;
    with.clock = &node->clock;
    with.padding_class = node->config.padding_class;
    with.first_after_boot = node->is_fresh;
    *idx = KGL_NO_IDX;
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        const kgl_in_flight *entry = &outbox->in_flight[i], *best = &outbox->in_flight[*idx % KGL_IN_FLIGHT_MAX];
        if (entry->is_used && entry->retry_at <= node->now &&
            (*idx == KGL_NO_IDX || entry->retry_at < best->retry_at ||
             (entry->retry_at == best->retry_at && entry->id < best->id))) {
            *idx = i;
        }
    }
    if (*idx != KGL_NO_IDX) {
        if (outbox->in_flight[*idx].generation == outbox->state.generation && !outbox->in_flight[*idx].is_refused) {
            return KGL_OK;
        }
        KGL_TRY(kgl_outbox_seal_again(outbox, &with, idx));
    } else if (kgl_outbox_can_seal(outbox)) {
        KGL_TRY(kgl_outbox_seal_next(outbox, &with, idx));
    }
    node->is_fresh = node->is_fresh && *idx == KGL_NO_IDX;
    return KGL_OK;
}

static kgl_status transmit_data(kgl_node *node, uint8_t idx, uint8_t *buf, kgl_transmit *transmit) {
    kgl_in_flight *entry = &node->outbox.in_flight[idx];
    size_t header_len, head_len, content_len, padding_len;
    kgl_loaded loaded;
    kgl_time time;
    bool is_loaded;
    uint8_t *content;
    KGL_TRY(kgl_outbox_load(&node->outbox, idx, node->buffers.code + KGL_CODE_AT,
                            node->buffers.code_len - KGL_CODE_AT, &loaded, &is_loaded));
    if (!is_loaded) {
        return KGL_OK;
    }
    time = kgl_stamp_time(loaded.stamp, kgl_is_whole_s(&node->model));
    header_len = kgl_up_header(buf, KGL_KIND_DATA, node->up.suite, loaded.seal.generation, loaded.slot,
                               node->outbox.state.short_id, loaded.seal.counter, loaded.seal.first_after_boot);
    content = buf + header_len;
    head_len = kgl_data_head(content, time, loaded.seal.origin, loaded.seal.padding_class > 0);
    memcpy(content + head_len, node->buffers.code + KGL_CODE_AT + loaded.code_at, loaded.code_len);
    content_len = head_len + loaded.code_len;
    padding_len = kgl_padding_len(content_len, loaded.seal.padding_class);
    if (padding_len > 0) {
        content[content_len] = 0x80;
        memset(content + content_len + 1, 0, padding_len - 1);
    }
    transmit->len = kgl_seal(&node->up, &node->id, loaded.seal.counter, loaded.fingerprint, buf, header_len,
                             content_len + padding_len);
    transmit->what = KGL_WHAT_DATA;
    transmit->counter = loaded.seal.counter;
    node->status.is_date_owed = node->status.is_date_owed || !loaded.stamp.is_unix;
    heard_nothing_since_now(node);
    entry->attempts = (uint8_t)(entry->attempts + (entry->attempts < UINT8_MAX));
    if (entry->is_own && entry->first_tx == KGL_NONE) {
        entry->first_tx = node->now;
    }
    entry->last_tx = node->now;
    entry->retry_at = kgl_add_u64(node->now, kgl_delay_ms(node, entry->attempts));
    return KGL_OK;
}

static kgl_status transmit_sealed(kgl_node *node, uint8_t *buf, kgl_transmit *transmit) {
    uint8_t round, idx;
    if (kgl_outbox_is_exhausted(&node->outbox)) {
        return KGL_OK;
    }
    if (kgl_status_poll_at(&node->status, node->outbox.mark.lost) <= node->now) {
        return transmit_status(node, buf, transmit);
    }
    /* Data waits for the answer to the first status: that brings the time, and with it shorter frames and sure dates. */
    if (!kgl_status_is_past_greeting(&node->status)) {
        return KGL_OK;
    }
    /* Each round sends a frame, or finds that a window is gone; there are not more windows than this. */
    for (round = 0; round <= KGL_IN_FLIGHT_MAX && transmit->what == KGL_WHAT_NOTHING; round++) {
        KGL_TRY(next_in_flight(node, &idx));
        if (idx == KGL_NO_IDX) {
            break;
        }
        KGL_TRY(transmit_data(node, idx, buf, transmit));
    }
    return KGL_OK;
}

kgl_status kgl_node_transmit(kgl_node *node, uint8_t *buf, size_t buf_len, kgl_transmit *transmit) {
    if (buf_len < kgl_node_frame_len_max(node)) {
        return KGL_ERR_BUFFER;
    }
    if (kgl_node_is_overdue(node)) {
        KGL_TRY(kgl_node_cut(node));
    }
    want_join_if_stuck(node);
    if (kgl_join_poll(node)) {
        transmit->what = KGL_WHAT_JOIN;
        transmit->len = kgl_request_emit(buf, node->join_key, &node->id, node->join.nonce, node->join.known,
                                         node->join.fingerprint);
        return KGL_OK;
    }
    return node->has_up ? transmit_sealed(node, buf, transmit) : KGL_OK;
}

/* When there is something to send. */
uint64_t kgl_node_transmit_at(const kgl_node *node) {
    uint64_t at = kgl_join_poll_at(&node->join);
    uint8_t i;
    if (!node->has_up || kgl_outbox_is_exhausted(&node->outbox)) {
        return at;
    }
    at = kgl_min_u64(at, kgl_status_poll_at(&node->status, node->outbox.mark.lost));
    if (kgl_status_is_past_greeting(&node->status)) {
        if (kgl_outbox_can_seal(&node->outbox)) {
            return 0;
        }
        for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
            if (node->outbox.in_flight[i].is_used) {
                at = kgl_min_u64(at, node->outbox.in_flight[i].retry_at);
            }
        }
    }
    return at;
}

/* --- receiving ------------------------------------------------------------------------------------------------------------ */

/* After an ack the link is known to work: what was sent long ago need not wait for its back-off. */
static void hurry_stale(kgl_node *node) {
    uint8_t i;
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        kgl_in_flight *entry = &node->outbox.in_flight[i];
        if (entry->is_used && (entry->last_tx == KGL_NONE ||
                               kgl_add_u64(entry->last_tx, node->config.retry_min_ms) <= node->now)) {
            entry->retry_at = kgl_min_u64(entry->retry_at, node->now);
            entry->attempts = 0;
        }
    }
}

static kgl_status receive_accept(kgl_node *node, const uint8_t *bytes, size_t len, kgl_downlink *did) {
    kgl_join *join = &node->join;
    kgl_accept accept;
    uint8_t secret[KGL_SECRET_LEN];
    kgl_clock clock = node->clock;
    int64_t offset;
    bool was_set = kgl_clock_offset(&node->clock, &offset), is_set, was_owed;
    kgl_status status;
    if (join->state != KGL_JOIN_ASKING || join->first_tx == KGL_NONE) {
        *did = KGL_DOWNLINK_NOT_JOINING;
        return KGL_OK;
    }
    /* Authentic, to this request, and of a higher generation than any known. */
    if (kgl_accept_open(bytes, len, node->join_key, &accept) != KGL_OK ||
        memcmp(accept.device_nonce, join->nonce, sizeof join->nonce) != 0 || accept.generation <= join->known) {
        *did = KGL_DOWNLINK_NOT_OPENED;
        return KGL_OK;
    }
    kgl_generation_secret(node->device_key, &node->id, accept.generation, accept.device_nonce, accept.server_nonce,
                          secret);
    kgl_clock_learn(&clock, join->first_tx, node->now, (int64_t)accept.time_ms, false);
    is_set = kgl_clock_offset(&clock, &offset);
    status = kgl_outbox_set_generation(&node->outbox, accept.generation, accept.short_id, secret, is_set, offset);
    kgl_wipe(secret, sizeof secret);
    KGL_TRY(status);
    node->clock = clock;
    kgl_up_key(node->outbox.state.secret, kgl_node_suite(node), &node->up);
    node->has_up = true;
    join->state = KGL_JOIN_IDLE;
    node->unheard_since = KGL_NONE;
    /* A server that makes new keys may have forgotten the bundle and the boot too. */
    was_owed = node->status.is_date_owed;
    kgl_status_at_boot(&node->status);
    node->status.retry_at = node->now;
    node->status.is_date_owed = was_owed;
    if (!was_set && is_set) {
        kgl_status_clock_was_set(&node->status, node->now);
    }
    *did = KGL_DOWNLINK_JOINED;
    return KGL_OK;
}

/* An ack that is authentic and for this device. Nothing has changed yet. */
static bool open_ack(const kgl_node *node, uint8_t *bytes, size_t len, kgl_ack *ack, kgl_downlink *did) {
    const kgl_state *state = &node->outbox.state;
    kgl_link_key key;
    kgl_down down;
    kgl_status status;
    uint8_t *content;
    size_t content_len;
    if (kgl_down_parse(bytes, len, kgl_node_suite(node), &down) != KGL_OK) {
        *did = KGL_DOWNLINK_MALFORMED;
        return false;
    }
    if (!node->has_up || down.short_id != state->short_id ||
        down.generation_low != (state->generation & 15)) {
        *did = KGL_DOWNLINK_NOT_FOR_US;
        return false;
    }
    kgl_down_key(state->secret, down.run, kgl_node_suite(node), &key);
    status = kgl_open(&key, &node->id, down.counter, NULL, bytes, len, KGL_DOWN_HEADER_LEN, &content, &content_len);
    kgl_wipe(&key, sizeof key);
    if (status != KGL_OK) {
        *did = KGL_DOWNLINK_NOT_OPENED;
        return false;
    }
    *did = KGL_DOWNLINK_MALFORMED;
    return kgl_ack_parse(content, content_len, ack) == KGL_OK;
}

/* A replayed ack names nothing that still waits, so it lets go of nothing, sets no clock and ends no join. */
static kgl_status act_on(kgl_node *node, const kgl_ack *ack, kgl_downlink *did) {
    bool was_set, is_greeted, wants_join = (ack->flags & KGL_ACK_JOIN_WANTED) != 0;
    uint64_t greeted_at = 0;
    int64_t ignored;
    kgl_released released = kgl_outbox_release(&node->outbox, ack);
    if (released.has_newest) {
        kgl_tail_acked(&node->tail, released.id, node->outbox.state.generation, released.counter);
    }
    if ((ack->flags & KGL_ACK_REFERENCE_UNKNOWN) != 0) {
        memset(&node->tail, 0, sizeof node->tail);
        kgl_outbox_refuse_references(&node->outbox);
    }
    is_greeted = kgl_status_acked(&node->status, ack, &greeted_at);
    if (released.n_windows > 0 || is_greeted) {
        node->unheard_since = KGL_NONE;
        hurry_stale(node);
        if (!wants_join) {
            node->join.state = KGL_JOIN_IDLE;
        }
    }
    if (wants_join) {
        kgl_node_want_join(node);
    }
    if ((ack->flags & KGL_ACK_STATUS_WANTED) != 0) {
        kgl_status_want(&node->status, node->now);
    }
    was_set = kgl_clock_offset(&node->clock, &ignored);
    /* The ack was made after the last of what it names was sent. */
    if (is_greeted && (!released.is_sent || greeted_at >= released.sent_at)) {
        released.is_sent = released.once = true;
        released.sent_at = greeted_at;
    }
    if (released.is_sent) {
        kgl_clock_learn(&node->clock, released.sent_at, node->now, (int64_t)ack->server_ms, released.once);
    }
    *did = KGL_DOWNLINK_ACKED;
    KGL_TRY(kgl_node_clock_learned(node, was_set));
    return kgl_outbox_save_mark(&node->outbox);
}

kgl_status kgl_node_receive(kgl_node *node, uint8_t *bytes, size_t len, kgl_downlink *did) {
    kgl_ack ack;
    *did = KGL_DOWNLINK_MALFORMED;
    /* An accept says suite 0 on every link. */
    if (kgl_kind_of(bytes, len, KGL_SUITE_CCM16) == KGL_KIND_JOIN_ACCEPT) {
        return receive_accept(node, bytes, len, did);
    }
    switch (kgl_kind_of(bytes, len, kgl_node_suite(node))) {
    case KGL_KIND_ACK:
        return open_ack(node, bytes, len, &ack, did) ? act_on(node, &ack, did) : KGL_OK;
    case KGL_KIND_COMMAND:
        *did = KGL_DOWNLINK_COMMAND;
        return KGL_OK;
    default:
        return KGL_OK;
    }
}
