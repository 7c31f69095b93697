/* A device: takes samples and downlinks, gives frames, keeps everything that must last in flash.
 *
 * It reads no clock, owns no radio and draws no randomness: these come in as arguments and callbacks. What it writes to
 * flash and to the link is what the Rust node writes, byte for byte.
 *
 *   1. kgl_node_open once.
 *   2. kgl_node_sample at every sampling period.
 *   3. kgl_node_poll until it gives nothing, while the link is up: after every other call, and when kgl_node_poll_at
 *      says so.
 *   4. kgl_node_downlink with whatever arrives.
 *   5. kgl_node_flush before a shutdown.
 *
 * `now` is milliseconds since the device started, on a clock that only runs forward.
 */
#ifndef KGL_NODE_H
#define KGL_NODE_H

#include "kgl_codec.h"
#include "kgl_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Most frames that wait for their ack at once. */
#define KGL_IN_FLIGHT_MAX 32
#define KGL_SECTOR_LEN_MIN 512
#define KGL_SECTORS_MIN 4
#define KGL_WRITE_LEN_MAX 32
#define KGL_NONE UINT64_MAX

/* A region of NOR flash that belongs to the node alone. Addresses start at 0. Erased bytes read 0xFF. The node programs
 * every byte at most once between two erases, in whole multiples of `write_len` (a power of two, at most 32), and never
 * across a sector's end. Each callback says false if it failed; when `program` and `erase` return, it is on the chip. */
typedef struct kgl_flash {
    void *context;
    uint32_t sector_len, n_sectors, write_len;
    bool (*read)(void *context, uint32_t at, uint8_t *out, size_t len);
    bool (*program)(void *context, uint32_t at, const uint8_t *bytes, size_t len);
    bool (*erase)(void *context, uint32_t at);
} kgl_flash;

/* Fills `out` with random bytes nobody can foresee. */
typedef void (*kgl_random)(void *context, uint8_t *out, size_t len);

/* What carries the frames: anything that takes whole ones; LoRaWAN with keys made by joins, which take 54 bytes and the id
 * up and 64 down; LoRaWAN with static keys, where nothing is ever joined and a device that loses its flash needs a new
 * key. On LoRaWAN the sketch packs what the node gives and expands what arrives (kgl_lorawan_pack, kgl_lorawan_expand),
 * waits are to be hours, and fill_len is of the payload. */
typedef enum kgl_link { KGL_LINK_IP, KGL_LINK_LORAWAN, KGL_LINK_LORAWAN_STATIC } kgl_link;

/* What is set once. kgl_config_default gives values that suit Wi-Fi. */
typedef struct kgl_config {
    /* Wait before the first repeat, doubling; longest wait; wait where the link says it delivered. */
    uint32_t retry_min_ms, retry_max_ms, receipt_retry_ms;
    /* Longest code in one frame: a window that needs more is cut into shorter ones. Flash sets a limit too. */
    size_t code_len_max;
    /* A window is cut when one more sample would make its frame longer than this; 0: as long as the bundle's are. */
    size_t fill_len;
    /* Contents are padded to a multiple of so many bytes, so that lengths say less; 0 pads nothing. */
    uint8_t padding_class;
    kgl_reset reset;
    kgl_link link;
} kgl_config;

kgl_config kgl_config_default(void);

/* Memory the node works in. `steps`: n_samples x n_channels words. `workspace`: kgl_workspace_len words. `code`:
 * kgl_code_len_max + KGL_CODE_OVERHEAD bytes. With a bundle that has references, KGL_TAIL_SAMPLES_MAX x n_channels words
 * more, and twice the code: so say kgl_node_steps_len and kgl_node_code_len. */
#define KGL_CODE_OVERHEAD (19 + 12 + 8 + KGL_WRITE_LEN_MAX)
size_t kgl_node_steps_len(const kgl_model *model);
size_t kgl_node_code_len(const kgl_model *model);
typedef struct kgl_buffers {
    int32_t *steps;
    size_t steps_len;
    int32_t *workspace;
    size_t workspace_len;
    uint8_t *code;
    size_t code_len;
} kgl_buffers;

typedef enum kgl_what { KGL_WHAT_NOTHING, KGL_WHAT_JOIN, KGL_WHAT_STATUS, KGL_WHAT_DATA } kgl_what;

/* What kgl_node_poll has written: `len` bytes, to be sent as one frame; nothing if `what` is KGL_WHAT_NOTHING. */
typedef struct kgl_transmit {
    kgl_what what;
    size_t len;
    uint64_t counter;
} kgl_transmit;

/* What a downlink has done. */
typedef enum kgl_downlink {
    /* A sealed ack: windows are stored and were let go. */
    KGL_DOWNLINK_ACKED,
    /* A join is done; frames are sealed under new keys from now on. */
    KGL_DOWNLINK_JOINED,
    /* Nothing: no downlink this version knows; for another device or generation; forged or damaged; a join accept
     * while none is under way; a command, of which this version does none. Never tell the sender which. */
    KGL_DOWNLINK_MALFORMED,
    KGL_DOWNLINK_NOT_FOR_US,
    KGL_DOWNLINK_NOT_OPENED,
    KGL_DOWNLINK_NOT_JOINING,
    KGL_DOWNLINK_COMMAND
} kgl_downlink;

typedef struct kgl_stats {
    size_t n_samples_open;
    uint32_t n_windows_waiting;
    uint8_t n_in_flight;
    uint32_t windows_lost, generation, boot;
} kgl_stats;

/* --- below here are the node's own matters; nobody else writes to them ------------------------------------------------ */

typedef struct kgl_place {
    uint32_t seq, offset;
} kgl_place;

typedef struct kgl_log {
    const kgl_flash *flash;
    uint32_t unit, head, head_seq, tail_seq, end;
} kgl_log;

typedef struct kgl_stamp {
    int64_t ms;
    uint32_t boot;
    bool is_unix, is_synced;
} kgl_stamp;

typedef struct kgl_clock {
    int64_t earliest, latest, guess, tolerance_ms;
    uint64_t set_at;
    bool is_bounded;
    uint8_t n_learned;
} kgl_clock;

typedef struct kgl_in_flight {
    uint64_t counter, retry_at, first_tx, last_tx;
    kgl_place seal;
    uint32_t id, generation;
    uint8_t attempts;
    /* Sealed before under another number; its frame carries a code that refers; and the server cannot read that. */
    bool is_used, is_own, is_again, refers, is_refused;
} kgl_in_flight;

/* The end of the newest window; its values stand behind the window being filled. */
typedef struct kgl_tail {
    uint64_t counter;
    int64_t next;
    uint32_t id, generation;
    uint16_t n_values;
    bool is_unix, is_acked;
} kgl_tail;

typedef struct kgl_mark {
    uint64_t released;
    uint32_t low, lost;
} kgl_mark;

typedef struct kgl_state {
    uint64_t counter_mark;
    int64_t dated_offset;
    uint32_t boot, generation, short_id, dated_boot;
    bool is_dated;
    uint8_t secret[KGL_SECRET_LEN];
} kgl_state;

typedef struct kgl_outbox {
    kgl_log log;
    kgl_state state;
    kgl_mark mark;
    uint64_t next_counter;
    int64_t before_offset;
    uint32_t before_boot, n_unmarked, next_id, unsent_id;
    kgl_place unsent;
    uint8_t slot, fingerprint[KGL_FINGERPRINT_LEN];
    bool is_before_dated;
    kgl_in_flight in_flight[KGL_IN_FLIGHT_MAX];
} kgl_outbox;

typedef struct kgl_join {
    enum { KGL_JOIN_IDLE, KGL_JOIN_WANTED, KGL_JOIN_ASKING } state;
    uint32_t spread_ms, known;
    uint64_t at, first_tx, hints_from, hint_wait;
    uint8_t attempts, nonce[KGL_JOIN_NONCE_LEN], fingerprint[KGL_FINGERPRINT_LEN];
} kgl_join;

typedef struct kgl_status_due {
    uint64_t retry_at, counter, sent_at;
    uint32_t lost_sent, lost_acked;
    uint8_t attempts;
    bool is_due, is_greeting, is_date_owed;
} kgl_status_due;

typedef struct kgl_open_window {
    size_t n_samples;
    uint64_t since;
    int64_t first;
    bool is_unix, off_grid;
} kgl_open_window;

typedef struct kgl_node {
    kgl_model model;
    kgl_buffers buffers;
    kgl_config config;
    kgl_random random;
    void *random_context;
    kgl_id id;
    uint8_t device_key[KGL_SECRET_LEN], join_key[KGL_SECRET_LEN];
    kgl_link_key up;
    kgl_outbox outbox;
    kgl_open_window window;
    kgl_tail tail;
    kgl_filling filling;
    kgl_clock clock;
    kgl_join join;
    kgl_status_due status;
    uint64_t now, unheard_since, paused_until;
    size_t code_len_limit;
    uint16_t battery_mv;
    bool has_up, is_fresh, has_battery;
} kgl_node;

/* --- calls ---------------------------------------------------------------------------------------------------------------- */

/* Boots: finds what an earlier boot left in `flash`, or begins anew. `flash` and the model's bytes must stay. */
kgl_status kgl_node_open(kgl_node *node, const kgl_flash *flash, kgl_random random, void *random_context,
                         const char *id, const uint8_t device_key[KGL_SECRET_LEN], const kgl_model *model,
                         const kgl_buffers *buffers, const kgl_config *config);

/* Takes one sample: a reading for each channel, taken now. May cut a window. After KGL_ERR_FLASH the sample is kept, and the
 * window tried again with the next call. */
kgl_status kgl_node_sample(kgl_node *node, uint64_t now, const kgl_reading *readings, size_t n_readings);
/* The same, taken at these unix milliseconds, as the source of the reading says. */
kgl_status kgl_node_sample_at(kgl_node *node, uint64_t now, int64_t unix_ms, const kgl_reading *readings,
                              size_t n_readings);
/* Cuts the window being filled, if it has samples: before a shutdown, or because somebody waits for it. */
kgl_status kgl_node_flush(kgl_node *node, uint64_t now);

/* Writes the next frame that is due into `buf`, of at least kgl_node_frame_len_max bytes. Everything a repeat or a reboot must
 * know of the frame is in flash when this returns; from then on it counts as sent. */
kgl_status kgl_node_poll(kgl_node *node, uint64_t now, uint8_t *buf, size_t buf_len, kgl_transmit *transmit);
/* When kgl_node_poll shall be called next if nothing happens before; KGL_NONE: not of itself. May lie in the past. */
uint64_t kgl_node_poll_at(const kgl_node *node);
size_t kgl_node_frame_len_max(const kgl_node *node);
#define KGL_FRAME_LEN_MAX(code_len_max) (86 + (code_len_max) + 255)

/* Takes what arrived from the server. Opening it changes `bytes`. Whoever sent it, this is safe to call. */
kgl_status kgl_node_downlink(kgl_node *node, uint64_t now, uint8_t *bytes, size_t len, kgl_downlink *did);
/* The link says that it delivered the frame (HTTP 200, PUBACK). Anyone in the path can say so: it only puts off the repeat;
 * the sealed ack alone lets go of a window. */
void kgl_node_receipt(kgl_node *node, uint64_t now, const kgl_transmit *transmit);
/* The server says that it cannot open the frames and a join is needed. A hint: keys and windows are kept. */
void kgl_node_join_hint(kgl_node *node, uint64_t now);
/* The link is up again: everything due is sent at once instead of after its back-off. */
void kgl_node_link_up(kgl_node *node, uint64_t now);

/* The device's number on its server, 0 before the first join: what kgl_lorawan_expand puts back. */
uint32_t kgl_node_short_id(const kgl_node *node);

/* The host knows the time: it is `unix_ms` now. */
kgl_status kgl_node_set_unix_time(kgl_node *node, uint64_t now, int64_t unix_ms);
/* The device's clock at `now`; false if it is not known. */
bool kgl_node_unix_time(const kgl_node *node, uint64_t now, int64_t *unix_ms);
/* Battery voltage for the next status frames; 0 for none. */
void kgl_node_set_battery_mv(kgl_node *node, uint16_t battery_mv);
void kgl_node_request_status(kgl_node *node);
kgl_stats kgl_node_stats(const kgl_node *node);

#ifdef __cplusplus
}
#endif
#endif
