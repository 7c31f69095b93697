/* Inside the node. Layouts in flash and every decision are those of the Rust crate. */
#ifndef KGL_NODE_INNER_H
#define KGL_NODE_INNER_H

#include "kgl_bytes.h"
#include "kgl_node.h"

#define KGL_TRY(call)                                                                                                  \
    do {                                                                                                               \
        kgl_status status_ = (call);                                                                                   \
        if (status_ != KGL_OK) {                                                                                       \
            return status_;                                                                                            \
        }                                                                                                              \
    } while (0)

/* Most windows from the oldest in flight to the newest; the bits of a mark. */
#define KGL_SPAN 64
#define KGL_MARK_EVERY 8
#define KGL_COUNTERS_RESERVED 64
/* Counters that are passed over when flash may have forgotten some. */
#define KGL_COUNTERS_SKIPPED (UINT32_C(1) << 20)
#define KGL_NODE_CODE_LEN_MAX (7 * 1024)
#define KGL_FRAME_ROOM 86

static inline uint64_t kgl_add_u64(uint64_t a, uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}
static inline uint64_t kgl_sub_u64(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}
static inline uint64_t kgl_min_u64(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}
static inline uint64_t kgl_max_u64(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}
int64_t kgl_add_i64(int64_t a, int64_t b);
int64_t kgl_sub_i64(int64_t a, int64_t b);
int64_t kgl_signed_ms(uint64_t ms);

/* --- log: a ring of sectors that records are appended to -------------------------------------------------------------- */

#define KGL_RECORD_HEADER_LEN 8
#define KGL_RECORD_OVERHEAD (KGL_RECORD_HEADER_LEN + KGL_WRITE_LEN_MAX)
#define KGL_SNAPSHOT_LEN_MAX 160

typedef struct kgl_record {
    kgl_place place;
    uint8_t kind;
    uint16_t len;
} kgl_record;

kgl_status kgl_log_recover(kgl_log *log, const kgl_flash *flash, bool *is_found);
kgl_status kgl_log_format(kgl_log *log, const kgl_flash *flash, const uint8_t *snapshot, uint16_t len);
uint32_t kgl_log_payload_len_max(const kgl_log *log);
bool kgl_log_fits(const kgl_log *log, uint32_t len);
/* The sector after the head holds bytes that are neither erased nor of the ring: what the ring says may be old. */
kgl_status kgl_log_is_doubtful(const kgl_log *log, bool *is_doubtful);
kgl_status kgl_log_open_sector(kgl_log *log, const uint8_t *snapshot, uint16_t len);
/* `buf` holds the payload from KGL_RECORD_HEADER_LEN on and has KGL_RECORD_OVERHEAD bytes beside it. */
kgl_status kgl_log_append(kgl_log *log, uint8_t kind, uint8_t *buf, uint32_t len, kgl_place *place);
/* The first whole record at or after `from`; sector headers are passed over. */
kgl_status kgl_log_next(const kgl_log *log, kgl_place from, kgl_record *record, bool *is_found);
kgl_status kgl_log_at(const kgl_log *log, kgl_place place, uint8_t kind, kgl_record *record, bool *is_found);
kgl_place kgl_log_after(const kgl_log *log, const kgl_record *record);
kgl_status kgl_log_read(const kgl_log *log, const kgl_record *record, uint16_t skip, uint8_t *out, size_t room,
                        size_t *len);
kgl_status kgl_log_snapshot(const kgl_log *log, uint32_t seq, uint8_t *out, size_t *len);

static inline kgl_place kgl_place_of(uint32_t seq, uint32_t offset) {
    kgl_place place;
    place.seq = seq;
    place.offset = offset;
    return place;
}
static inline bool kgl_place_before(kgl_place a, kgl_place b) {
    return a.seq < b.seq || (a.seq == b.seq && a.offset < b.offset);
}

/* --- records ------------------------------------------------------------------------------------------------------------ */

#define KGL_KIND_SECTOR 1
#define KGL_KIND_WINDOW 2
#define KGL_KIND_SEAL 3
#define KGL_KIND_MARK 4
#define KGL_KIND_STATE 5
/* A window with two codes: one that refers to an earlier window, and one that stands alone. */
#define KGL_KIND_AFTER 6
#define KGL_STAMP_LEN 13
#define KGL_WINDOW_HEAD_LEN (4 + KGL_STAMP_LEN + 2)
#define KGL_AFTER_HEAD_LEN 12
#define KGL_SEAL_LEN_MAX (20 + KGL_STAMP_LEN + 10 + 1)
#define KGL_MARK_LEN 16
#define KGL_STATE_LEN (4 + 4 + 4 + 8 + 13 + KGL_SECRET_LEN)
#define KGL_HEADER_LEN (1 + 16 + 4 + KGL_MARK_LEN + KGL_STATE_LEN)
/* Where the code stands in the buffer given to kgl_outbox_push. */
#define KGL_CODE_AT (KGL_RECORD_HEADER_LEN + KGL_WINDOW_HEAD_LEN)
/* The same for a window with two codes, the one that refers first. */
#define KGL_CODES_AT (KGL_CODE_AT + KGL_AFTER_HEAD_LEN)

/* The one number under which a code that refers may be sealed; under any other the code alone is sent. */
typedef struct kgl_after {
    uint64_t counter;
    uint32_t generation;
    uint16_t code_len;
    bool is_given;
} kgl_after;

typedef struct kgl_window_head {
    kgl_stamp stamp;
    uint32_t id;
    uint16_t n_samples;
    kgl_after after;
} kgl_window_head;

static inline bool kgl_is_window_kind(uint8_t kind) {
    return kind == KGL_KIND_WINDOW || kind == KGL_KIND_AFTER;
}
/* Bytes before the code, or codes. */
static inline uint16_t kgl_window_head_len(const kgl_window_head *head) {
    return KGL_WINDOW_HEAD_LEN + (head->after.is_given ? KGL_AFTER_HEAD_LEN : 0);
}

/* How a window was sealed: with its record and its sector's bundle, all a repeat needs to be byte-identical. */
typedef struct kgl_seal_record {
    uint64_t counter;
    kgl_origin origin;
    kgl_stamp stamp;
    kgl_place window;
    uint32_t id, generation;
    uint8_t padding_class;
    bool first_after_boot, has_stamp;
} kgl_seal_record;

/* What a sector's header carries: the bundle of all its windows, and what must outlive the sector before it. */
typedef struct kgl_header {
    kgl_state state;
    kgl_mark mark;
    uint32_t next_id;
    uint8_t slot, fingerprint[KGL_FINGERPRINT_LEN];
} kgl_header;

void kgl_window_head_emit(const kgl_window_head *head, uint8_t *out);
bool kgl_window_head_parse(kgl_window_head *head, uint8_t kind, const uint8_t *bytes, size_t len);
/* True if the frame under this seal carries the code that refers. */
bool kgl_seal_refers(const kgl_seal_record *seal, const kgl_window_head *head);
uint16_t kgl_seal_emit(const kgl_seal_record *seal, uint32_t seq, uint8_t *out);
bool kgl_seal_parse(kgl_seal_record *seal, uint32_t seq, const uint8_t *bytes, size_t len);
void kgl_mark_emit(const kgl_mark *mark, uint8_t *out);
bool kgl_mark_parse(kgl_mark *mark, const uint8_t *bytes, size_t len);
bool kgl_mark_is_done(const kgl_mark *mark, uint32_t id);
void kgl_mark_set_done(kgl_mark *mark, uint32_t id);
void kgl_mark_give_up_below(kgl_mark *mark, uint32_t low);
void kgl_state_emit(const kgl_state *state, uint8_t *out);
bool kgl_state_parse(kgl_state *state, const uint8_t *bytes, size_t len);
void kgl_header_emit(uint8_t slot, const uint8_t *fingerprint, uint32_t next_id, const kgl_mark *mark,
                     const kgl_state *state, uint8_t *out);
bool kgl_header_parse(kgl_header *header, const uint8_t *bytes, size_t len);

/* --- clock --------------------------------------------------------------------------------------------------------------- */

void kgl_clock_init(kgl_clock *clock, uint32_t period_ms);
bool kgl_clock_offset(const kgl_clock *clock, int64_t *offset);
kgl_quality kgl_clock_quality(const kgl_clock *clock, uint64_t now);
void kgl_clock_set(kgl_clock *clock, uint64_t now, int64_t unix_ms);
void kgl_clock_learn(kgl_clock *clock, uint64_t asked, uint64_t now, int64_t unix_ms, bool once);
kgl_stamp kgl_clock_resolve(const kgl_clock *clock, uint64_t now, uint32_t boot, bool is_dated, uint32_t dated_boot,
                            int64_t dated_offset, kgl_stamp stamp);
kgl_time kgl_stamp_time(kgl_stamp stamp, bool whole_s);

/* --- outbox -------------------------------------------------------------------------------------------------------------- */

/* How a window is to be sealed. */
typedef struct kgl_seal_with {
    uint64_t now;
    const kgl_clock *clock;
    uint8_t padding_class;
    bool first_after_boot;
} kgl_seal_with;

/* All that makes the frame of one sealed window, except its code. */
typedef struct kgl_loaded {
    kgl_seal_record seal;
    kgl_stamp stamp;
    /* Where in the buffer the code stands that is to be sent. */
    size_t code_at, code_len;
    uint8_t slot, fingerprint[KGL_FINGERPRINT_LEN];
} kgl_loaded;

/* No window: the index that means none. */
#define KGL_NO_IDX KGL_IN_FLIGHT_MAX

kgl_status kgl_outbox_open(kgl_outbox *outbox, const kgl_flash *flash, const uint8_t *fingerprint);
/* `after`: NULL for a window with one code, which stands in `buf` from KGL_CODE_AT on, two from KGL_CODES_AT on. */
kgl_status kgl_outbox_push(kgl_outbox *outbox, kgl_stamp stamp, uint16_t n_samples, const kgl_after *after,
                           uint8_t *buf, size_t code_len, uint32_t *id);
/* The counter of a window that is cut now, if nothing else is sent before; false if others go first. */
bool kgl_outbox_counter_if_cut(const kgl_outbox *outbox, uint64_t *counter);
bool kgl_outbox_fits_codes(const kgl_outbox *outbox, size_t len);
/* The server cannot read codes that refer: what was sent so is sealed again, alone. */
void kgl_outbox_refuse_references(kgl_outbox *outbox);
size_t kgl_outbox_code_len_max(const kgl_outbox *outbox);
bool kgl_outbox_can_seal(const kgl_outbox *outbox);
kgl_status kgl_outbox_seal_next(kgl_outbox *outbox, const kgl_seal_with *with, uint8_t *idx);
kgl_status kgl_outbox_seal_again(kgl_outbox *outbox, const kgl_seal_with *with, uint8_t *idx);
kgl_status kgl_outbox_load(kgl_outbox *outbox, uint8_t idx, uint8_t *code, size_t room, kgl_loaded *loaded,
                           bool *is_loaded);
/* What an ack has let go of: how many; the latest first sending among them; and the newest that was sealed once. */
typedef struct kgl_released {
    uint64_t sent_at, counter;
    uint32_t id;
    uint8_t n_windows;
    bool is_sent, once, has_newest;
} kgl_released;
kgl_released kgl_outbox_release(kgl_outbox *outbox, const kgl_ack *ack);
kgl_status kgl_outbox_save_mark(kgl_outbox *outbox);
kgl_status kgl_outbox_take_counter(kgl_outbox *outbox, uint64_t *counter);
kgl_status kgl_outbox_set_generation(kgl_outbox *outbox, uint32_t generation, uint32_t short_id,
                                     const uint8_t *secret, bool is_dated, int64_t offset);
kgl_status kgl_outbox_set_dated(kgl_outbox *outbox, int64_t offset);
uint32_t kgl_outbox_n_waiting(const kgl_outbox *outbox);
static inline bool kgl_outbox_is_exhausted(const kgl_outbox *outbox) {
    return outbox->next_counter > KGL_COUNTER_MAX;
}

/* Shared by outbox and recovery. */
kgl_status kgl_outbox_open_sector(kgl_outbox *outbox, uint32_t n_kept_free);
kgl_status kgl_outbox_write_state(kgl_outbox *outbox);
kgl_status kgl_outbox_read_header(const kgl_outbox *outbox, uint32_t seq, kgl_header *header, bool *is_read);
kgl_status kgl_outbox_read_head(const kgl_outbox *outbox, const kgl_record *record, kgl_window_head *head,
                                bool *is_read);
kgl_status kgl_outbox_read_seal(const kgl_outbox *outbox, const kgl_record *record, kgl_seal_record *seal,
                                bool *is_read);
void kgl_in_flight_take(kgl_in_flight *entry, const kgl_seal_record *seal, kgl_place place, uint64_t now, bool is_own,
                        bool refers);
/* The window's record at a place, whichever kind it is of. */
kgl_status kgl_outbox_window_at(const kgl_outbox *outbox, kgl_place place, kgl_record *record, kgl_window_head *head,
                                bool *is_read);

/* --- asking and telling ---------------------------------------------------------------------------------------------------- */

uint64_t kgl_delay_ms(const kgl_node *node, uint8_t attempts);
uint64_t kgl_up_to(const kgl_node *node, uint64_t limit);
void kgl_join_init(kgl_join *join, bool is_wanted);
void kgl_join_hint(kgl_join *join, uint64_t now);
kgl_suite kgl_node_suite(const kgl_node *node);
void kgl_node_want_join(kgl_node *node);
uint64_t kgl_join_poll_at(const kgl_join *join);
bool kgl_join_poll(kgl_node *node);
void kgl_status_at_boot(kgl_status_due *status);
void kgl_status_want(kgl_status_due *status, uint64_t now);
void kgl_status_clock_was_set(kgl_status_due *status, uint64_t now);
uint64_t kgl_status_poll_at(const kgl_status_due *status, uint32_t lost);
void kgl_status_sent(kgl_node *node, uint64_t counter, uint32_t lost);
bool kgl_status_acked(kgl_status_due *status, const kgl_ack *ack, uint64_t *sent_at);
bool kgl_status_is_past_greeting(const kgl_status_due *status);

void kgl_tail_keep(kgl_node *node, uint32_t id, size_t n_samples);
void kgl_tail_acked(kgl_tail *tail, uint32_t id, uint32_t generation, uint64_t counter);
kgl_status kgl_tail_encode(kgl_node *node, size_t len_max, kgl_after *after, kgl_referring *made);

/* True if frames say whole seconds. */
static inline bool kgl_is_whole_s(const kgl_model *model) {
    return model->period_ms >= 10000;
}
/* Moves the open window into the outbox, in as many pieces as its code needs. */
kgl_status kgl_node_cut(kgl_node *node);
bool kgl_node_is_overdue(const kgl_node *node);
uint64_t kgl_node_deadline(const kgl_node *node);
kgl_status kgl_node_clock_learned(kgl_node *node, bool was_set);
kgl_status kgl_node_transmit(kgl_node *node, uint8_t *buf, size_t buf_len, kgl_transmit *transmit);
uint64_t kgl_node_transmit_at(const kgl_node *node);
kgl_status kgl_node_receive(kgl_node *node, uint8_t *bytes, size_t len, kgl_downlink *did);

#endif
