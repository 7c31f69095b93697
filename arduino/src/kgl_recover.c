/* From what stands in flash to an outbox, whatever happened before. */
#include "kgl_node_inner.h"

kgl_status kgl_outbox_read_head(const kgl_outbox *outbox, const kgl_record *record, kgl_window_head *head,
                                bool *is_read) {
    uint8_t bytes[KGL_WINDOW_HEAD_LEN + KGL_AFTER_HEAD_LEN];
    size_t len;
    KGL_TRY(kgl_log_read(&outbox->log, record, 0, bytes, sizeof bytes, &len));
    *is_read = kgl_window_head_parse(head, record->kind, bytes, len);
    return KGL_OK;
}

kgl_status kgl_outbox_window_at(const kgl_outbox *outbox, kgl_place place, kgl_record *record, kgl_window_head *head,
                                bool *is_read) {
    KGL_TRY(kgl_log_at(&outbox->log, place, KGL_KIND_WINDOW, record, is_read));
    if (!*is_read) {
        KGL_TRY(kgl_log_at(&outbox->log, place, KGL_KIND_AFTER, record, is_read));
    }
    return *is_read ? kgl_outbox_read_head(outbox, record, head, is_read) : KGL_OK;
}

kgl_status kgl_outbox_read_seal(const kgl_outbox *outbox, const kgl_record *record, kgl_seal_record *seal,
                                bool *is_read) {
    uint8_t bytes[KGL_SEAL_LEN_MAX];
    size_t len;
    KGL_TRY(kgl_log_read(&outbox->log, record, 0, bytes, sizeof bytes, &len));
    *is_read = kgl_seal_parse(seal, record->place.seq, bytes, len);
    return KGL_OK;
}

kgl_status kgl_outbox_read_header(const kgl_outbox *outbox, uint32_t seq, kgl_header *header, bool *is_read) {
    uint8_t bytes[KGL_SNAPSHOT_LEN_MAX];
    size_t len;
    KGL_TRY(kgl_log_snapshot(&outbox->log, seq, bytes, &len));
    *is_read = kgl_header_parse(header, bytes, len);
    kgl_wipe(bytes, sizeof bytes);
    return KGL_OK;
}

static void take_header(kgl_outbox *outbox, const kgl_header *header) {
    outbox->slot = header->slot;
    memcpy(outbox->fingerprint, header->fingerprint, KGL_FINGERPRINT_LEN);
    outbox->state = header->state;
    outbox->mark = header->mark;
    outbox->next_id = header->next_id;
    outbox->unsent_id = header->mark.low;
    outbox->unsent = kgl_place_of(outbox->log.tail_seq, 0);
}

static bool is_whole(const kgl_outbox *outbox) {
    return outbox->next_id < UINT32_MAX / 2 && outbox->mark.low <= outbox->next_id &&
           outbox->state.counter_mark < (uint64_t)1 << 49;
}

static kgl_status begin(kgl_outbox *outbox, const kgl_flash *flash, const uint8_t *fingerprint) {
    uint8_t bytes[KGL_HEADER_LEN];
    kgl_header header;
    memset(&header, 0, sizeof header);
    memcpy(header.fingerprint, fingerprint, KGL_FINGERPRINT_LEN);
    header.state.boot = 1;
    kgl_header_emit(0, fingerprint, 0, &header.mark, &header.state, bytes);
    KGL_TRY(kgl_log_format(&outbox->log, flash, bytes, KGL_HEADER_LEN));
    take_header(outbox, &header);
    return KGL_OK;
}

/* The head's records say what is true now. */
static kgl_status replay_head(kgl_outbox *outbox) {
    kgl_place at = kgl_place_of(outbox->log.head_seq, 0);
    uint8_t bytes[KGL_STATE_LEN];
    kgl_record record;
    bool is_found, is_read;
    size_t len;
    for (;; at = kgl_log_after(&outbox->log, &record)) {
        KGL_TRY(kgl_log_next(&outbox->log, at, &record, &is_found));
        if (!is_found) {
            break;
        }
        if (kgl_is_window_kind(record.kind)) {
            kgl_window_head head;
            KGL_TRY(kgl_outbox_read_head(outbox, &record, &head, &is_read));
            if (is_read && head.id >= outbox->next_id) {
                outbox->next_id = head.id + (head.id < UINT32_MAX);
            }
        } else if (record.kind == KGL_KIND_MARK) {
            KGL_TRY(kgl_log_read(&outbox->log, &record, 0, bytes, KGL_MARK_LEN, &len));
            if (!kgl_mark_parse(&outbox->mark, bytes, len)) {
                return KGL_ERR_FOREIGN;
            }
        } else if (record.kind == KGL_KIND_STATE) {
            KGL_TRY(kgl_log_read(&outbox->log, &record, 0, bytes, KGL_STATE_LEN, &len));
            is_read = kgl_state_parse(&outbox->state, bytes, len);
            kgl_wipe(bytes, sizeof bytes);
            if (!is_read) {
                return KGL_ERR_FOREIGN;
            }
        }
    }
    return is_whole(outbox) ? KGL_OK : KGL_ERR_FOREIGN;
}

/* The start of the sector that holds the oldest window not done with. */
static kgl_status oldest_seq(const kgl_outbox *outbox, uint32_t *seq) {
    kgl_header header;
    bool is_read;
    for (*seq = outbox->log.head_seq; *seq > outbox->log.tail_seq; (*seq)--) {
        KGL_TRY(kgl_outbox_read_header(outbox, *seq, &header, &is_read));
        if (is_read && header.next_id <= outbox->mark.low) {
            break;
        }
    }
    kgl_wipe(&header, sizeof header);
    return KGL_OK;
}

static kgl_status take_up(kgl_outbox *outbox, const kgl_record *record) {
    kgl_seal_record seal;
    uint8_t idx = KGL_NO_IDX, i;
    bool is_read;
    KGL_TRY(kgl_outbox_read_seal(outbox, record, &seal, &is_read));
    if (!is_read || seal.id < outbox->mark.low || seal.id - outbox->mark.low >= KGL_SPAN ||
        seal.id >= outbox->next_id) {
        return KGL_OK;
    }
    if (outbox->unsent_id < seal.id + 1) {
        outbox->unsent_id = seal.id + 1;
    }
    for (i = KGL_IN_FLIGHT_MAX; i > 0; i--) {
        if (!outbox->in_flight[i - 1].is_used) {
            idx = (uint8_t)(i - 1);
        }
    }
    for (i = 0; i < KGL_IN_FLIGHT_MAX; i++) {
        if (outbox->in_flight[i].is_used && outbox->in_flight[i].id == seal.id) {
            idx = i;
        }
    }
    if (!kgl_mark_is_done(&outbox->mark, seal.id) && idx != KGL_NO_IDX) {
        kgl_window_head head;
        kgl_record window;
        KGL_TRY(kgl_outbox_window_at(outbox, seal.window, &window, &head, &is_read));
        kgl_in_flight_take(&outbox->in_flight[idx], &seal, record->place, 0, false,
                           is_read && kgl_seal_refers(&seal, &head));
    }
    return KGL_OK;
}

/* Takes up again what was in flight. */
static kgl_status find_sealed(kgl_outbox *outbox) {
    kgl_record record;
    kgl_place at;
    uint64_t released = outbox->mark.released;
    uint32_t id;
    uint8_t i;
    bool is_found;
    at.offset = 0;
    KGL_TRY(oldest_seq(outbox, &at.seq));
    outbox->unsent = at;
    outbox->unsent_id = outbox->mark.low;
    for (; released > 0; released >>= 1) {
        outbox->unsent_id++;
    }
    for (;; at = kgl_log_after(&outbox->log, &record)) {
        KGL_TRY(kgl_log_next(&outbox->log, at, &record, &is_found));
        if (!is_found) {
            break;
        }
        if (record.kind == KGL_KIND_SEAL) {
            KGL_TRY(take_up(outbox, &record));
        }
    }
    if (outbox->unsent_id > outbox->next_id) {
        outbox->unsent_id = outbox->next_id;
    }
    /* Sealed once, and the record of it rotted away: to seal it again could store it twice. */
    for (id = outbox->mark.low; id < outbox->unsent_id; id++) {
        for (i = 0; i < KGL_IN_FLIGHT_MAX && !(outbox->in_flight[i].is_used && outbox->in_flight[i].id == id); i++) {
        }
        if (i == KGL_IN_FLIGHT_MAX && !kgl_mark_is_done(&outbox->mark, id)) {
            outbox->mark.lost++;
            kgl_mark_set_done(&outbox->mark, id);
        }
    }
    return KGL_OK;
}

/* The next slot, round robin, that no window still waiting belongs to. */
static kgl_status free_slot(const kgl_outbox *outbox, const uint8_t *fingerprint, uint8_t *slot) {
    uint16_t taken = 0;
    uint32_t seq;
    uint8_t i;
    KGL_TRY(oldest_seq(outbox, &seq));
    for (; seq <= outbox->log.head_seq; seq++) {
        kgl_header header;
        bool is_read;
        KGL_TRY(kgl_outbox_read_header(outbox, seq, &header, &is_read));
        if (is_read && memcmp(header.fingerprint, fingerprint, KGL_FINGERPRINT_LEN) != 0) {
            taken = (uint16_t)(taken | 1U << header.slot);
        }
        kgl_wipe(&header, sizeof header);
    }
    *slot = outbox->slot;
    for (i = 0; i < 16; i++) {
        *slot = (uint8_t)((*slot + 1) % 16);
        if ((taken >> *slot & 1) == 0) {
            return KGL_OK;
        }
    }
    return KGL_ERR_SLOTS;
}

/* Boots. Counts the boot and reserves counters before it returns, in one write. */
kgl_status kgl_outbox_open(kgl_outbox *outbox, const kgl_flash *flash, const uint8_t *fingerprint) {
    kgl_header header;
    bool is_found, is_doubtful;
    memset(outbox, 0, sizeof *outbox);
    KGL_TRY(kgl_log_recover(&outbox->log, flash, &is_found));
    if (!is_found) {
        return begin(outbox, flash, fingerprint);
    }
    KGL_TRY(kgl_outbox_read_header(outbox, outbox->log.head_seq, &header, &is_found));
    if (!is_found) {
        return KGL_ERR_FOREIGN;
    }
    take_header(outbox, &header);
    kgl_wipe(&header, sizeof header);
    if (!is_whole(outbox)) {
        return KGL_ERR_FOREIGN;
    }
    KGL_TRY(replay_head(outbox));
    KGL_TRY(find_sealed(outbox));
    KGL_TRY(kgl_log_is_doubtful(&outbox->log, &is_doubtful));
    if (is_doubtful) {
        outbox->state.counter_mark += KGL_COUNTERS_SKIPPED;
    }
    outbox->next_counter = outbox->state.counter_mark;
    outbox->is_before_dated = outbox->state.is_dated;
    outbox->before_boot = outbox->state.dated_boot;
    outbox->before_offset = outbox->state.dated_offset;
    outbox->state.counter_mark += KGL_COUNTERS_RESERVED;
    outbox->state.boot++;
    if (memcmp(outbox->fingerprint, fingerprint, KGL_FINGERPRINT_LEN) == 0) {
        return kgl_outbox_write_state(outbox);
    }
    KGL_TRY(free_slot(outbox, fingerprint, &outbox->slot));
    memcpy(outbox->fingerprint, fingerprint, KGL_FINGERPRINT_LEN);
    /* Windows of one sector share its bundle. */
    return kgl_outbox_open_sector(outbox, 0);
}
