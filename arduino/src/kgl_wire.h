/* Frames, keys, counters and joins of spec/wire.md, from a device's side. Numbers on the wire are big-endian.
 *
 * kgl_node.h does all of this by itself; these calls are for who builds a device of another kind.
 */
#ifndef KGL_WIRE_H
#define KGL_WIRE_H

#include "kgl_base.h"
#include "kgl_crypto.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KGL_SECRET_LEN 32
#define KGL_JOIN_NONCE_LEN 16
#define KGL_RUN_LEN 12
#define KGL_ID_LEN_MAX 32
#define KGL_COUNTER_MAX ((UINT64_C(1) << 48) - 1)
#define KGL_MILLIS_MAX ((INT64_C(1) << 48) - 1)
#define KGL_UP_HEADER_LEN 10
#define KGL_UP_HEADER_WIDE_LEN 12
#define KGL_DOWN_HEADER_LEN 22
#define KGL_CONTENT_LEN_MAX 8192
#define KGL_REQUEST_LEN_MAX (2 + KGL_ID_LEN_MAX + 16 + 4 + 16 + KGL_TAG_LEN)
#define KGL_ACCEPT_LEN (2 + 4 + 16 + 16 + 4 + 6 + KGL_TAG_LEN)

/* How frames are sealed: AES-128-CCM with a tag of 16 bytes, or of 8 in LoRaWAN payloads alone. A link speaks one. */
typedef enum kgl_suite { KGL_SUITE_CCM16, KGL_SUITE_CCM8 } kgl_suite;

typedef enum kgl_kind {
    KGL_KIND_DATA,
    KGL_KIND_STATUS,
    KGL_KIND_JOIN_REQUEST,
    KGL_KIND_JOIN_ACCEPT,
    KGL_KIND_COMMAND,
    KGL_KIND_ACK,
    /* An unknown version, type or suite. */
    KGL_KIND_NONE
} kgl_kind;

/* A device's full id: 1 to 32 of A-Z a-z 0-9 . _ : -, the first a letter or digit. */
typedef struct kgl_id {
    uint8_t text[KGL_ID_LEN_MAX];
    uint8_t len;
} kgl_id;

/* Seals or opens frames of one direction under one generation. A secret. */
typedef struct kgl_link_key {
    uint8_t key[KGL_KEY_LEN], iv[KGL_NONCE_LEN];
    kgl_suite suite;
    bool is_down;
} kgl_link_key;

/* False if the text is no device id. */
bool kgl_id_make(kgl_id *id, const char *text);

/* --- keys: HKDF-SHA-256 from the device key, 32 random bytes given to the device when it was provisioned ---------- */

void kgl_join_key(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, uint8_t out[KGL_SECRET_LEN]);
void kgl_generation_secret(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, uint32_t generation,
                           const uint8_t device_nonce[KGL_JOIN_NONCE_LEN],
                           const uint8_t server_nonce[KGL_JOIN_NONCE_LEN], uint8_t out[KGL_SECRET_LEN]);
/* Of generation 0: for links that cannot answer, where no join is possible. */
void kgl_static_secret(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, uint8_t out[KGL_SECRET_LEN]);
/* What lets the device in where a link asks for a password, as over MQTT (spec/mqtt.md): it opens and seals nothing. 64
 * hexadecimal digits and a zero. */
#define KGL_TOKEN_LEN (2 * KGL_SECRET_LEN)
void kgl_access_token(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, char out[KGL_TOKEN_LEN + 1]);
void kgl_up_key(const uint8_t secret[KGL_SECRET_LEN], kgl_suite suite, kgl_link_key *out);
void kgl_down_key(const uint8_t secret[KGL_SECRET_LEN], const uint8_t run[KGL_RUN_LEN], kgl_suite suite,
                  kgl_link_key *out);

/* --- sealing -------------------------------------------------------------------------------------------------------- */

size_t kgl_tag_len(kgl_suite suite);

/* True if an uplink carries its counter in full: up to 2^31 the low bytes say everything; from there on the first frame
 * after a boot and every 256th are full. */
bool kgl_is_wide(uint64_t counter, bool first_after_boot);

/* Writes the header of a data or status frame; gives its 10 or 12 bytes. `slot` is 0 for a status. */
size_t kgl_up_header(uint8_t *out, kgl_kind kind, kgl_suite suite, uint32_t generation, uint8_t slot,
                     uint32_t short_id, uint64_t counter, bool first_after_boot);

/* Seals in place the content that stands in `frame` behind the header; gives the length of the frame, `header_len +
 * content_len + kgl_tag_len(suite)`. `fingerprint`: of the bundle for data frames, NULL for all others. Never seal two frames
 * under one key and one counter. */
size_t kgl_seal(const kgl_link_key *key, const kgl_id *id, uint64_t counter, const uint8_t *fingerprint,
                uint8_t *frame, size_t header_len, size_t content_len);

/* What a frame of this suite is, by its first byte. Joins say KGL_SUITE_CCM16 on every link. */
kgl_kind kgl_kind_of(const uint8_t *bytes, size_t len, kgl_suite suite);

/* A sealed downlink's header. */
typedef struct kgl_down {
    kgl_kind kind;
    uint8_t generation_low;
    uint32_t short_id, counter;
    uint8_t run[KGL_RUN_LEN];
} kgl_down;

/* Checks everything that can be checked without a key. */
kgl_status kgl_down_parse(const uint8_t *bytes, size_t len, kgl_suite suite, kgl_down *down);

/* Opens a frame in place: the content lies at `*content`, `*content_len` bytes. If it does not open, for whatever
 * reason, the content's bytes are zero. */
kgl_status kgl_open(const kgl_link_key *key, const kgl_id *id, uint64_t counter, const uint8_t *fingerprint,
                    uint8_t *frame, size_t len, size_t header_len, uint8_t **content, size_t *content_len);

/* --- in LoRaWAN payloads: without the short id, the counter cut to two bytes where these say everything ------------- */

#define KGL_LORAWAN_PORT 21
#define KGL_LORAWAN_PORT_LONG 22
#define KGL_LORAWAN_OVERHEAD_LONG (2 + 4 + KGL_SHORT_TAG_LEN)

/* Packs a device's uplinks. All zero at a boot; `is_heard` is to be set when a downlink has opened. */
typedef struct kgl_packer {
    uint64_t next;
    bool is_heard;
} kgl_packer;

/* Writes the payload of a sealed uplink of suite 1, or of a join request, to `out`, where it takes no more room than the
 * frame; gives its length, and its port. `out` may be `frame`. 0 if the bytes are neither. */
size_t kgl_lorawan_pack(kgl_packer *packer, const uint8_t *frame, size_t len, uint8_t *out, uint8_t *port);
/* Writes the frame of a downlink's payload to `out`, of at least `len + 4` bytes, apart from `payload`; gives its length,
 * 0 if it is none. `short_id`: the device's own, 0 before a join. */
size_t kgl_lorawan_expand(const uint8_t *payload, size_t len, uint32_t short_id, uint8_t *out);

/* --- contents --------------------------------------------------------------------------------------------------------- */

typedef enum kgl_time_kind {
    KGL_TIME_ARRIVAL,
    KGL_TIME_UNIX_S,
    KGL_TIME_UNIX_MS,
    KGL_TIME_UPTIME,
    KGL_TIME_AGE
} kgl_time_kind;

typedef enum kgl_quality { KGL_QUALITY_UNKNOWN, KGL_QUALITY_HELD, KGL_QUALITY_SYNCED } kgl_quality;

/* When a window's first sample was taken: seconds, milliseconds, or for an uptime milliseconds since boot `boot`. */
typedef struct kgl_time {
    kgl_time_kind kind;
    kgl_quality quality;
    uint16_t boot;
    uint64_t value;
} kgl_time;

/* The content of a data frame before its code; gives its length. */
typedef struct kgl_origin {
    uint32_t generation;
    uint64_t counter;
    bool is_given;
} kgl_origin;

size_t kgl_data_head_len(kgl_time time, bool has_origin);
size_t kgl_data_head(uint8_t *out, kgl_time time, kgl_origin origin, bool is_padded);
/* Bytes of padding behind a content of so many, to the next multiple of `padding_class`, at least one; 0 for class 0. */
size_t kgl_padding_len(size_t content_len, uint8_t padding_class);

/* Why a device booted. */
typedef enum kgl_reset {
    KGL_RESET_UNKNOWN,
    KGL_RESET_POWER_ON,
    KGL_RESET_PIN,
    KGL_RESET_SOFTWARE,
    KGL_RESET_WATCHDOG,
    KGL_RESET_BROWNOUT,
    KGL_RESET_PANIC,
    KGL_RESET_SLEEP
} kgl_reset;

typedef struct kgl_status_content {
    uint8_t slot;
    kgl_reset reset;
    uint16_t boot;
    uint32_t windows_lost;
    uint64_t uptime_ms;
    const uint8_t *fingerprint;
    kgl_quality quality;
    bool has_unix, has_battery;
    uint64_t unix_ms;
    uint16_t battery_mv;
} kgl_status_content;

#define KGL_STATUS_LEN_MAX 39
size_t kgl_status_emit(uint8_t *out, const kgl_status_content *status);

#define KGL_ACK_JOIN_WANTED 1
#define KGL_ACK_STATUS_WANTED 2
#define KGL_ACK_REFERENCE_UNKNOWN 4
typedef struct kgl_ack {
    uint8_t flags;
    uint16_t run;
    uint32_t bitmap;
    uint64_t server_ms, base;
} kgl_ack;

kgl_status kgl_ack_parse(const uint8_t *content, size_t len, kgl_ack *ack);
bool kgl_ack_covers(const kgl_ack *ack, uint64_t counter);

/* --- joins ---------------------------------------------------------------------------------------------------------------- */

/* A request with its MAC, at most KGL_REQUEST_LEN_MAX bytes; gives its length. */
size_t kgl_request_emit(uint8_t *out, const uint8_t join_key[KGL_SECRET_LEN], const kgl_id *id,
                        const uint8_t device_nonce[KGL_JOIN_NONCE_LEN], uint32_t known,
                        const uint8_t fingerprint[16]);

typedef struct kgl_accept {
    uint32_t short_id, generation;
    uint8_t device_nonce[KGL_JOIN_NONCE_LEN], server_nonce[KGL_JOIN_NONCE_LEN];
    uint64_t time_ms;
} kgl_accept;

/* Authentic under the join key. Whether it answers the request under way, the caller sees by the nonce. */
kgl_status kgl_accept_open(const uint8_t *bytes, size_t len, const uint8_t join_key[KGL_SECRET_LEN],
                           kgl_accept *accept);

#ifdef __cplusplus
}
#endif
#endif
