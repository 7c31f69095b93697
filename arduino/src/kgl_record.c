/* What stands in the log's records, little-endian (crates/node/src/record.rs draws them). */
#include "kgl_node_inner.h"

static void put_stamp(uint8_t *out, kgl_stamp stamp) {
    out[0] = (uint8_t)(!stamp.is_unix ? 0 : stamp.is_synced ? 2 : 1);
    kgl_put_le(out + 1, stamp.is_unix ? 0 : stamp.boot, 4);
    kgl_put_le(out + 5, (uint64_t)stamp.ms, 8);
}

static bool get_stamp(const uint8_t *at, kgl_stamp *stamp) {
    stamp->is_unix = at[0] != 0;
    stamp->is_synced = at[0] == 2;
    stamp->boot = stamp->is_unix ? 0 : (uint32_t)kgl_get_le(at + 1, 4);
    stamp->ms = (int64_t)kgl_get_le(at + 5, 8);
    return at[0] <= 2;
}

void kgl_window_head_emit(const kgl_window_head *head, uint8_t *out) {
    kgl_put_le(out, head->id, 4);
    put_stamp(out + 4, head->stamp);
    kgl_put_le(out + 4 + KGL_STAMP_LEN, head->n_samples, 2);
    if (head->after.is_given) {
        kgl_put_le(out + KGL_WINDOW_HEAD_LEN, head->after.generation, 4);
        kgl_put_le(out + KGL_WINDOW_HEAD_LEN + 4, head->after.counter, 6);
        kgl_put_le(out + KGL_WINDOW_HEAD_LEN + 10, head->after.code_len, 2);
    }
}

bool kgl_window_head_parse(kgl_window_head *head, uint8_t kind, const uint8_t *bytes, size_t len) {
    memset(&head->after, 0, sizeof head->after);
    head->after.is_given = kind == KGL_KIND_AFTER;
    if (len < kgl_window_head_len(head)) {
        return false;
    }
    if (head->after.is_given) {
        head->after.generation = (uint32_t)kgl_get_le(bytes + KGL_WINDOW_HEAD_LEN, 4);
        head->after.counter = kgl_get_le(bytes + KGL_WINDOW_HEAD_LEN + 4, 6);
        head->after.code_len = (uint16_t)kgl_get_le(bytes + KGL_WINDOW_HEAD_LEN + 10, 2);
    }
    head->id = (uint32_t)kgl_get_le(bytes, 4);
    head->n_samples = (uint16_t)kgl_get_le(bytes + 4 + KGL_STAMP_LEN, 2);
    return get_stamp(bytes + 4, &head->stamp);
}

bool kgl_seal_refers(const kgl_seal_record *seal, const kgl_window_head *head) {
    return head->after.is_given && !seal->origin.is_given && head->after.generation == seal->generation &&
           head->after.counter == seal->counter;
}

#define FIRST_AFTER_BOOT 1
#define STAMPED 2
#define ORIGIN 4
#define PADDED 8

uint16_t kgl_seal_emit(const kgl_seal_record *seal, uint32_t seq, uint8_t *out) {
    uint8_t *at = out + 20;
    out[0] = (uint8_t)((seal->first_after_boot ? FIRST_AFTER_BOOT : 0) | (seal->has_stamp ? STAMPED : 0) |
                       (seal->origin.is_given ? ORIGIN : 0) | (seal->padding_class > 0 ? PADDED : 0));
    kgl_put_le(out + 1, seal->id, 4);
    /* The log sees to it that both fit. */
    kgl_put_le(out + 5, seq - seal->window.seq, 2);
    kgl_put_le(out + 7, seal->window.offset, 3);
    kgl_put_le(out + 10, seal->generation, 4);
    kgl_put_le(out + 14, seal->counter, 6);
    if (seal->has_stamp) {
        put_stamp(at, seal->stamp);
        at += KGL_STAMP_LEN;
    }
    if (seal->origin.is_given) {
        kgl_put_le(at, seal->origin.generation, 4);
        kgl_put_le(at + 4, seal->origin.counter, 6);
        at += 10;
    }
    if (seal->padding_class > 0) {
        *at++ = seal->padding_class;
    }
    return (uint16_t)(at - out);
}

bool kgl_seal_parse(kgl_seal_record *seal, uint32_t seq, const uint8_t *bytes, size_t len) {
    uint16_t back;
    size_t at = 20;
    memset(seal, 0, sizeof *seal);
    if (len < at) {
        return false;
    }
    seal->first_after_boot = (bytes[0] & FIRST_AFTER_BOOT) != 0;
    seal->id = (uint32_t)kgl_get_le(bytes + 1, 4);
    back = (uint16_t)kgl_get_le(bytes + 5, 2);
    seal->window = kgl_place_of(seq - back, (uint32_t)kgl_get_le(bytes + 7, 3));
    seal->generation = (uint32_t)kgl_get_le(bytes + 10, 4);
    seal->counter = kgl_get_le(bytes + 14, 6);
    if (back > seq) {
        return false;
    }
    if ((bytes[0] & STAMPED) != 0) {
        if (len < at + KGL_STAMP_LEN || !get_stamp(bytes + at, &seal->stamp)) {
            return false;
        }
        seal->has_stamp = true;
        at += KGL_STAMP_LEN;
    }
    if ((bytes[0] & ORIGIN) != 0) {
        if (len < at + 10) {
            return false;
        }
        seal->origin.is_given = true;
        seal->origin.generation = (uint32_t)kgl_get_le(bytes + at, 4);
        seal->origin.counter = kgl_get_le(bytes + at + 4, 6);
        at += 10;
    }
    if ((bytes[0] & PADDED) != 0) {
        if (len < at + 1) {
            return false;
        }
        seal->padding_class = bytes[at];
    }
    return true;
}

void kgl_mark_emit(const kgl_mark *mark, uint8_t *out) {
    kgl_put_le(out, mark->low, 4);
    kgl_put_le(out + 4, mark->released, 8);
    kgl_put_le(out + 12, mark->lost, 4);
}

bool kgl_mark_parse(kgl_mark *mark, const uint8_t *bytes, size_t len) {
    if (len < KGL_MARK_LEN) {
        return false;
    }
    mark->low = (uint32_t)kgl_get_le(bytes, 4);
    mark->released = kgl_get_le(bytes + 4, 8);
    mark->lost = (uint32_t)kgl_get_le(bytes + 12, 4);
    return true;
}

/* True if window `id` needs nothing any more. */
bool kgl_mark_is_done(const kgl_mark *mark, uint32_t id) {
    uint32_t bit = id - mark->low;
    return id < mark->low || (bit < 64 && (mark->released >> bit & 1) == 1);
}

static void slide(kgl_mark *mark) {
    while ((mark->released & 1) == 1) {
        mark->released >>= 1;
        mark->low += mark->low < UINT32_MAX;
    }
}

void kgl_mark_set_done(kgl_mark *mark, uint32_t id) {
    uint32_t bit = id - mark->low;
    if (id >= mark->low && bit < 64) {
        mark->released |= (uint64_t)1 << bit;
    }
    slide(mark);
}

/* Gives up every window below `low`; those not released are lost. */
void kgl_mark_give_up_below(kgl_mark *mark, uint32_t low) {
    uint32_t n = low - mark->low, i;
    if (low <= mark->low) {
        return;
    }
    mark->lost += n;
    for (i = 0; i < n && i < 64; i++) {
        mark->lost -= (uint32_t)(mark->released >> i & 1);
    }
    mark->low = low;
    mark->released = n < 64 ? mark->released >> n : 0;
    slide(mark);
}

void kgl_state_emit(const kgl_state *state, uint8_t *out) {
    kgl_put_le(out, state->boot, 4);
    kgl_put_le(out + 4, state->generation, 4);
    kgl_put_le(out + 8, state->short_id, 4);
    kgl_put_le(out + 12, state->counter_mark, 8);
    out[20] = state->is_dated;
    kgl_put_le(out + 21, state->is_dated ? state->dated_boot : 0, 4);
    kgl_put_le(out + 25, state->is_dated ? (uint64_t)state->dated_offset : 0, 8);
    memcpy(out + 33, state->secret, KGL_SECRET_LEN);
}

bool kgl_state_parse(kgl_state *state, const uint8_t *bytes, size_t len) {
    if (len < KGL_STATE_LEN) {
        return false;
    }
    state->boot = (uint32_t)kgl_get_le(bytes, 4);
    state->generation = (uint32_t)kgl_get_le(bytes + 4, 4);
    state->short_id = (uint32_t)kgl_get_le(bytes + 8, 4);
    state->counter_mark = kgl_get_le(bytes + 12, 8);
    state->is_dated = bytes[20] != 0;
    state->dated_boot = (uint32_t)kgl_get_le(bytes + 21, 4);
    state->dated_offset = (int64_t)kgl_get_le(bytes + 25, 8);
    memcpy(state->secret, bytes + 33, KGL_SECRET_LEN);
    return true;
}

void kgl_header_emit(uint8_t slot, const uint8_t *fingerprint, uint32_t next_id, const kgl_mark *mark,
                     const kgl_state *state, uint8_t *out) {
    out[0] = slot;
    memcpy(out + 1, fingerprint, KGL_FINGERPRINT_LEN);
    kgl_put_le(out + 17, next_id, 4);
    kgl_mark_emit(mark, out + 21);
    kgl_state_emit(state, out + 21 + KGL_MARK_LEN);
}

bool kgl_header_parse(kgl_header *header, const uint8_t *bytes, size_t len) {
    if (len < KGL_HEADER_LEN || bytes[0] > 15) {
        return false;
    }
    header->slot = bytes[0];
    memcpy(header->fingerprint, bytes + 1, KGL_FINGERPRINT_LEN);
    header->next_id = (uint32_t)kgl_get_le(bytes + 17, 4);
    return kgl_mark_parse(&header->mark, bytes + 21, len - 21) &&
           kgl_state_parse(&header->state, bytes + 21 + KGL_MARK_LEN, len - 21 - KGL_MARK_LEN);
}
