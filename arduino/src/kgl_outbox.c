/* Codes waiting for their ack, in flash; and the key and counters they are sealed with.
 *
 * A window is appended when it is cut, gets a seal record before its first byte leaves, and is done with when a mark says
 * so. Windows are sealed in the order they were cut; never more than KGL_SPAN lie between the oldest in flight and the
 * newest. When the ring is full, the oldest sector's windows go; one sector is kept for seals and marks alone. */
#include "kgl_node_inner.h"

#define RESERVED_SECTORS 1

kgl_status kgl_outbox_push(kgl_outbox *outbox, kgl_stamp stamp, uint16_t n_samples, const kgl_after *after,
                           uint8_t *buf, size_t code_len, uint32_t *id) {
    kgl_window_head head;
    kgl_place place;
    uint32_t len;
    memset(&head, 0, sizeof head);
    if (after != NULL) {
        head.after = *after;
    }
    len = (uint32_t)(kgl_window_head_len(&head) + code_len);
    if (len > kgl_log_payload_len_max(&outbox->log)) {
        return KGL_ERR_FLASH_RANGE;
    }
    if (!kgl_log_fits(&outbox->log, len)) {
        KGL_TRY(kgl_outbox_open_sector(outbox, RESERVED_SECTORS));
    }
    head.id = outbox->next_id;
    head.stamp = stamp;
    head.n_samples = n_samples;
    kgl_window_head_emit(&head, buf + KGL_RECORD_HEADER_LEN);
    KGL_TRY(kgl_log_append(&outbox->log, after != NULL ? KGL_KIND_AFTER : KGL_KIND_WINDOW, buf, len, &place));
    *id = outbox->next_id++;
    return KGL_OK;
}

bool kgl_outbox_fits_codes(const kgl_outbox *outbox, size_t len) {
    return KGL_WINDOW_HEAD_LEN + KGL_AFTER_HEAD_LEN + len <= kgl_log_payload_len_max(&outbox->log);
}

void kgl_outbox_refuse_references(kgl_outbox *outbox) {
    uint8_t i;
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        kgl_in_flight *entry = &outbox->in_flight[i];
        if (entry->is_used && entry->refers) {
            entry->is_refused = true;
            entry->retry_at = 0;
            entry->attempts = 0;
        }
    }
}

size_t kgl_outbox_code_len_max(const kgl_outbox *outbox) {
    uint32_t len = kgl_log_payload_len_max(&outbox->log) - KGL_WINDOW_HEAD_LEN;
    return len < KGL_NODE_CODE_LEN_MAX ? (size_t)len : KGL_NODE_CODE_LEN_MAX;
}

static uint8_t free_idx(const kgl_outbox *outbox) {
    uint8_t idx = 0;
    while (idx < KGL_IN_FLIGHT_MAX && outbox->in_flight[idx].is_used) {
        idx++;
    }
    return idx;
}

bool kgl_outbox_counter_if_cut(const kgl_outbox *outbox, uint64_t *counter) {
    *counter = outbox->next_counter;
    return outbox->unsent_id == outbox->next_id && free_idx(outbox) != KGL_NO_IDX;
}

bool kgl_outbox_can_seal(const kgl_outbox *outbox) {
    return outbox->unsent_id < outbox->next_id && outbox->unsent_id - outbox->mark.low < KGL_SPAN &&
           free_idx(outbox) != KGL_NO_IDX;
}

void kgl_in_flight_take(kgl_in_flight *entry, const kgl_seal_record *seal, kgl_place place, uint64_t now, bool is_own,
                        bool refers) {
    entry->counter = seal->counter;
    entry->retry_at = now;
    entry->first_tx = entry->last_tx = KGL_NONE;
    entry->seal = place;
    entry->id = seal->id;
    entry->generation = seal->generation;
    entry->attempts = 0;
    entry->is_used = true;
    entry->is_own = is_own;
    entry->is_again = seal->origin.is_given;
    entry->refers = refers;
    entry->is_refused = false;
}

/* The better of what is known about when a window was, if there is better. */
static void resolve(const kgl_outbox *outbox, const kgl_seal_with *with, kgl_stamp stamp, kgl_seal_record *seal) {
    seal->stamp = kgl_clock_resolve(with->clock, with->now, outbox->state.boot, outbox->is_before_dated,
                                    outbox->before_boot, outbox->before_offset, stamp);
    seal->has_stamp = seal->stamp.is_unix != stamp.is_unix;
}

static kgl_status append_seal(kgl_outbox *outbox, const kgl_seal_record *seal, kgl_place *place) {
    uint8_t buf[KGL_SEAL_LEN_MAX + KGL_RECORD_OVERHEAD];
    uint16_t len = kgl_seal_emit(seal, outbox->log.head_seq, buf + KGL_RECORD_HEADER_LEN);
    return kgl_log_append(&outbox->log, KGL_KIND_SEAL, buf, len, place);
}

static kgl_status make_room(kgl_outbox *outbox, uint32_t len) {
    return kgl_log_fits(&outbox->log, len) ? KGL_OK : kgl_outbox_open_sector(outbox, 0);
}

static void lose_id(kgl_outbox *outbox, uint32_t id) {
    outbox->mark.lost++;
    kgl_mark_set_done(&outbox->mark, id);
}

/* A window that can no longer be read is given up. */
static void lose(kgl_outbox *outbox, uint8_t idx) {
    if (outbox->in_flight[idx].is_used) {
        outbox->in_flight[idx].is_used = false;
        lose_id(outbox, outbox->in_flight[idx].id);
    }
}

static uint32_t span_end(const kgl_outbox *outbox) {
    return outbox->mark.low > UINT32_MAX - KGL_SPAN ? UINT32_MAX : outbox->mark.low + KGL_SPAN;
}

/* Finds the first window that was never sealed. Windows whose records rotted away are counted as lost. */
static kgl_status find_unsent(kgl_outbox *outbox, kgl_record *record, kgl_window_head *head, bool *is_found) {
    bool is_record, is_read;
    *is_found = false;
    for (;;) {
        KGL_TRY(kgl_log_next(&outbox->log, outbox->unsent, record, &is_record));
        if (!is_record) {
            break;
        }
        outbox->unsent = record->place;
        is_read = false;
        if (kgl_is_window_kind(record->kind)) {
            KGL_TRY(kgl_outbox_read_head(outbox, record, head, &is_read));
        }
        if (is_read && head->id >= outbox->unsent_id) {
            uint32_t reach = head->id < span_end(outbox) ? head->id : span_end(outbox);
            while (outbox->unsent_id < reach) {
                lose_id(outbox, outbox->unsent_id++);
            }
            *is_found = head->id == outbox->unsent_id && head->id < outbox->next_id;
            return KGL_OK;
        }
        outbox->unsent = kgl_log_after(&outbox->log, record);
    }
    /* Every window that could be read is sealed; the rest cannot be. */
    while (outbox->unsent_id < outbox->next_id && outbox->unsent_id < span_end(outbox)) {
        lose_id(outbox, outbox->unsent_id++);
    }
    return KGL_OK;
}

/* Takes the next window in flight: gives it a counter and writes both down. KGL_NO_IDX if there is none after all. */
kgl_status kgl_outbox_seal_next(kgl_outbox *outbox, const kgl_seal_with *with, uint8_t *idx) {
    kgl_seal_record seal;
    kgl_window_head head;
    kgl_record record;
    kgl_place place;
    bool is_found;
    memset(&seal, 0, sizeof seal);
    *idx = KGL_NO_IDX;
    KGL_TRY(kgl_outbox_take_counter(outbox, &seal.counter));
    KGL_TRY(make_room(outbox, KGL_SEAL_LEN_MAX));
    KGL_TRY(find_unsent(outbox, &record, &head, &is_found));
    if (!is_found || free_idx(outbox) == KGL_NO_IDX) {
        return KGL_OK;
    }
    seal.id = head.id;
    seal.window = record.place;
    seal.generation = outbox->state.generation;
    seal.padding_class = with->padding_class;
    seal.first_after_boot = with->first_after_boot;
    resolve(outbox, with, head.stamp, &seal);
    KGL_TRY(append_seal(outbox, &seal, &place));
    *idx = free_idx(outbox);
    kgl_in_flight_take(&outbox->in_flight[*idx], &seal, place, with->now, true, kgl_seal_refers(&seal, &head));
    outbox->unsent = kgl_log_after(&outbox->log, &record);
    outbox->unsent_id = head.id + 1;
    return KGL_OK;
}

/* The seal of a window in flight, the window's record and its head. One that rotted away is lost. */
static kgl_status read_sealed(kgl_outbox *outbox, uint8_t idx, kgl_seal_record *seal, kgl_record *window,
                              kgl_window_head *head, bool *is_read) {
    const kgl_in_flight *entry = &outbox->in_flight[idx];
    kgl_record record;
    *is_read = false;
    if (!entry->is_used) {
        return KGL_OK;
    }
    KGL_TRY(kgl_log_at(&outbox->log, entry->seal, KGL_KIND_SEAL, &record, is_read));
    if (*is_read) {
        KGL_TRY(kgl_outbox_read_seal(outbox, &record, seal, is_read));
    }
    if (*is_read) {
        KGL_TRY(kgl_outbox_window_at(outbox, seal->window, window, head, is_read));
    }
    *is_read = *is_read && seal->id == entry->id && head->id == entry->id;
    if (!*is_read) {
        lose(outbox, idx);
    }
    return KGL_OK;
}

/* Seals a window in flight again, under the present generation and alone; it keeps its origin. KGL_NO_IDX if it has fallen out. */
kgl_status kgl_outbox_seal_again(kgl_outbox *outbox, const kgl_seal_with *with, uint8_t *idx) {
    kgl_seal_record seal;
    kgl_window_head head;
    kgl_record window;
    kgl_stamp before;
    kgl_place place;
    uint64_t counter;
    uint8_t at = *idx;
    bool is_read;
    *idx = KGL_NO_IDX;
    KGL_TRY(kgl_outbox_take_counter(outbox, &counter));
    KGL_TRY(make_room(outbox, KGL_SEAL_LEN_MAX));
    KGL_TRY(read_sealed(outbox, at, &seal, &window, &head, &is_read));
    if (!is_read) {
        return KGL_OK;
    }
    if (!seal.origin.is_given) {
        seal.origin.is_given = true;
        seal.origin.generation = seal.generation;
        seal.origin.counter = seal.counter;
    }
    before = seal.has_stamp ? seal.stamp : head.stamp;
    seal.generation = outbox->state.generation;
    seal.counter = counter;
    seal.padding_class = with->padding_class;
    seal.first_after_boot = with->first_after_boot;
    resolve(outbox, with, before, &seal);
    /* A date that was found before is kept: the window's own record never had it. */
    seal.has_stamp = seal.stamp.is_unix != head.stamp.is_unix;
    KGL_TRY(append_seal(outbox, &seal, &place));
    *idx = at;
    kgl_in_flight_take(&outbox->in_flight[at], &seal, place, with->now, true, false);
    return KGL_OK;
}

/* Reads what the frame of window `idx` is made of, its code into `code`. */
kgl_status kgl_outbox_load(kgl_outbox *outbox, uint8_t idx, uint8_t *code, size_t room, kgl_loaded *loaded,
                           bool *is_loaded) {
    kgl_window_head head;
    kgl_record window;
    kgl_header header;
    KGL_TRY(read_sealed(outbox, idx, &loaded->seal, &window, &head, is_loaded));
    if (!*is_loaded) {
        return KGL_OK;
    }
    KGL_TRY(kgl_outbox_read_header(outbox, loaded->seal.window.seq, &header, is_loaded));
    if (!*is_loaded || window.len > room + kgl_window_head_len(&head)) {
        *is_loaded = false;
        lose(outbox, idx);
        return KGL_OK;
    }
    KGL_TRY(kgl_log_read(&outbox->log, &window, kgl_window_head_len(&head), code, room, &loaded->code_len));
    loaded->code_at = head.after.code_len < loaded->code_len ? head.after.code_len : loaded->code_len;
    if (kgl_seal_refers(&loaded->seal, &head)) {
        loaded->code_len = loaded->code_at;
        loaded->code_at = 0;
    } else {
        loaded->code_len -= loaded->code_at;
    }
    loaded->slot = header.slot;
    memcpy(loaded->fingerprint, header.fingerprint, KGL_FINGERPRINT_LEN);
    loaded->stamp = loaded->seal.has_stamp ? loaded->seal.stamp : head.stamp;
    kgl_wipe(&header, sizeof header);
    return KGL_OK;
}

/* Lets go of the windows in flight that the ack names. */
kgl_released kgl_outbox_release(kgl_outbox *outbox, const kgl_ack *ack) {
    kgl_released released;
    uint8_t i;
    memset(&released, 0, sizeof released);
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        kgl_in_flight *entry = &outbox->in_flight[i];
        if (!entry->is_used || entry->generation != outbox->state.generation ||
            !kgl_ack_covers(ack, entry->counter)) {
            continue;
        }
        kgl_mark_set_done(&outbox->mark, entry->id);
        if (entry->first_tx != KGL_NONE) {
            bool was_once = entry->last_tx == entry->first_tx;
            if (!released.is_sent || entry->first_tx > released.sent_at ||
                (entry->first_tx == released.sent_at && was_once)) {
                released.once = was_once;
                released.sent_at = entry->first_tx;
            }
            released.is_sent = true;
        }
        if (!entry->is_again && (!released.has_newest || entry->id > released.id)) {
            released.has_newest = true;
            released.id = entry->id;
            released.counter = entry->counter;
        }
        entry->is_used = false;
        released.n_windows++;
    }
    outbox->n_unmarked += released.n_windows;
    return released;
}

/* Writes down which windows are done with, once it is worth it. */
kgl_status kgl_outbox_save_mark(kgl_outbox *outbox) {
    uint8_t buf[KGL_MARK_LEN + KGL_RECORD_OVERHEAD], i = 0;
    kgl_place place;
    while (i < KGL_IN_FLIGHT_MAX && !outbox->in_flight[i].is_used) {
        i++;
    }
    if (outbox->n_unmarked == 0 || (outbox->n_unmarked < KGL_MARK_EVERY && i < KGL_IN_FLIGHT_MAX)) {
        return KGL_OK;
    }
    if (!kgl_log_fits(&outbox->log, KGL_MARK_LEN)) {
        /* The new sector's header carries the mark. */
        return kgl_outbox_open_sector(outbox, 0);
    }
    kgl_mark_emit(&outbox->mark, buf + KGL_RECORD_HEADER_LEN);
    KGL_TRY(kgl_log_append(&outbox->log, KGL_KIND_MARK, buf, KGL_MARK_LEN, &place));
    outbox->n_unmarked = 0;
    return KGL_OK;
}

/* The next counter, reserved in flash before it is given out. */
kgl_status kgl_outbox_take_counter(kgl_outbox *outbox, uint64_t *counter) {
    if (outbox->next_counter >= outbox->state.counter_mark) {
        uint64_t before = outbox->state.counter_mark;
        kgl_status status;
        outbox->state.counter_mark = outbox->next_counter + KGL_COUNTERS_RESERVED;
        status = kgl_outbox_write_state(outbox);
        if (status != KGL_OK) {
            outbox->state.counter_mark = before;
            return status;
        }
    }
    if (kgl_outbox_is_exhausted(outbox)) {
        return KGL_ERR_EXHAUSTED;
    }
    *counter = outbox->next_counter++;
    return KGL_OK;
}

/* Begins a new generation; counters start at 0. */
kgl_status kgl_outbox_set_generation(kgl_outbox *outbox, uint32_t generation, uint32_t short_id,
                                     const uint8_t *secret, bool is_dated, int64_t offset) {
    kgl_state before = outbox->state;
    kgl_status status;
    uint8_t i;
    outbox->state.generation = generation;
    outbox->state.short_id = short_id;
    outbox->state.counter_mark = KGL_COUNTERS_RESERVED;
    memcpy(outbox->state.secret, secret, KGL_SECRET_LEN);
    if (is_dated) {
        outbox->state.is_dated = true;
        outbox->state.dated_boot = outbox->state.boot;
        outbox->state.dated_offset = offset;
    }
    status = kgl_outbox_write_state(outbox);
    if (status == KGL_OK) {
        outbox->next_counter = 0;
        for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
            outbox->in_flight[i].retry_at = 0;
            outbox->in_flight[i].attempts = 0;
        }
    } else {
        outbox->state = before;
    }
    kgl_wipe(&before, sizeof before);
    return status;
}

/* Notes when this boot was, so that its windows keep their times through a reboot. */
kgl_status kgl_outbox_set_dated(kgl_outbox *outbox, int64_t offset) {
    bool was_dated = outbox->state.is_dated;
    uint32_t before_boot = outbox->state.dated_boot;
    int64_t before_offset = outbox->state.dated_offset;
    kgl_status status;
    outbox->state.is_dated = true;
    outbox->state.dated_boot = outbox->state.boot;
    outbox->state.dated_offset = offset;
    status = kgl_outbox_write_state(outbox);
    if (status != KGL_OK) {
        outbox->state.is_dated = was_dated;
        outbox->state.dated_boot = before_boot;
        outbox->state.dated_offset = before_offset;
    }
    return status;
}

uint32_t kgl_outbox_n_waiting(const kgl_outbox *outbox) {
    uint32_t n = outbox->next_id - outbox->unsent_id;
    uint8_t i;
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        n += outbox->in_flight[i].is_used;
    }
    return n;
}

static void drop_done(kgl_outbox *outbox) {
    kgl_place tail = kgl_place_of(outbox->log.tail_seq, 0);
    uint8_t i;
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        kgl_in_flight *entry = &outbox->in_flight[i];
        entry->is_used = entry->is_used && !kgl_mark_is_done(&outbox->mark, entry->id);
    }
    if (outbox->unsent_id < outbox->mark.low) {
        outbox->unsent_id = outbox->mark.low;
    }
    if (kgl_place_before(outbox->unsent, tail)) {
        outbox->unsent = tail;
    }
}

/* The header of the new sector is the commit: with it, what falls out of the ring is counted as lost. `n_kept_free`:
 * sectors that shall hold no waiting windows, beside the spare. */
kgl_status kgl_outbox_open_sector(kgl_outbox *outbox, uint32_t n_kept_free) {
    uint8_t bytes[KGL_HEADER_LEN];
    kgl_mark mark = outbox->mark;
    kgl_status status;
    uint32_t seq = outbox->log.head_seq + (outbox->log.head_seq < UINT32_MAX);
    uint32_t n = outbox->log.flash->n_sectors;
    /* The oldest sector whose windows may go on waiting. */
    uint32_t floor = seq + 2 + n_kept_free > n ? seq + 2 + n_kept_free - n : 0;
    if (floor > outbox->log.tail_seq) {
        uint32_t low = outbox->next_id;
        if (floor < seq) {
            kgl_header header;
            bool is_read;
            KGL_TRY(kgl_outbox_read_header(outbox, floor, &header, &is_read));
            low = is_read && header.next_id < low ? header.next_id : low;
            kgl_wipe(&header, sizeof header);
        }
        kgl_mark_give_up_below(&mark, low);
    }
    kgl_header_emit(outbox->slot, outbox->fingerprint, outbox->next_id, &mark, &outbox->state, bytes);
    status = kgl_log_open_sector(&outbox->log, bytes, KGL_HEADER_LEN);
    kgl_wipe(bytes, sizeof bytes);
    KGL_TRY(status);
    outbox->mark = mark;
    outbox->n_unmarked = 0;
    drop_done(outbox);
    return KGL_OK;
}

kgl_status kgl_outbox_write_state(kgl_outbox *outbox) {
    uint8_t buf[KGL_STATE_LEN + KGL_RECORD_OVERHEAD];
    kgl_place place;
    kgl_status status;
    if (!kgl_log_fits(&outbox->log, KGL_STATE_LEN)) {
        /* The new sector's header carries the state. */
        return kgl_outbox_open_sector(outbox, 0);
    }
    kgl_state_emit(&outbox->state, buf + KGL_RECORD_HEADER_LEN);
    status = kgl_log_append(&outbox->log, KGL_KIND_STATE, buf, KGL_STATE_LEN, &place);
    kgl_wipe(buf, sizeof buf);
    return status;
}
