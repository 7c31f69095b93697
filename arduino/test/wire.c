/* The text files of vectors/wire, as far as a device has a part in them: keys, sealed frames both ways, what is refused,
 * contents, counters, joins. VECTOR_FILE is a header with the files as arrays ACCESS, KEYS, FRAMES_PASS, FRAMES_FAIL,
 * CONTENTS_PASS, JOINS_PASS, JOINS_FAIL, LORAWAN_PASS and LORAWAN_FAIL, each ending in a zero. */
#include "say.h"

#include <kgl_bytes.h>
#include <kgl_wire.h>

#include VECTOR_FILE

#define TEXT_MAX 500
#define BYTES_MAX 200

/* One line after the other of a file. */
typedef struct reader {
    const char *at;
    char key[24], value[TEXT_MAX + 1];
} reader;

/* The next `key = value`; false at a blank line or the end. Comments are passed over. */
static bool next_line(reader *r) {
    char c, line[TEXT_MAX + 1];
    uint16_t n = 0, split = 0;
    do {
        for (n = 0; (c = (char)KGL_ROM_U8((const uint8_t *)r->at)) != '\0' && c != '\n'; r->at++) {
            line[n++] = c;
        }
        r->at += c == '\n';
        line[n] = '\0';
    } while (line[0] == '#');
    if (n == 0) {
        return false;
    }
    while (line[split] != ' ') {
        split++;
    }
    memcpy(r->key, line, split);
    r->key[split] = '\0';
    /* "key = value", or "key =" for an empty one. */
    memcpy(r->value, n > split + 3U ? line + split + 3 : "", (size_t)(n > split + 3U ? n - split - 2 : 1));
    return true;
}

typedef struct bytes {
    uint8_t at[BYTES_MAX];
    size_t len;
    bool is_given;
} bytes;

static uint8_t hex_digit(char c) {
    return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* All that the cases of any file have. */
typedef struct one_case {
    char name[40], id[40], refused[16], kind[16], time[16], direction[8];
    bytes device_key, join_key, device_nonce, server_nonce, secret, static_secret, run, up_key, up_iv, down_key,
        down_iv, generation, counter, fingerprint, content, frame, known, request, accept, short_id, time_ms, quality,
        code, padding_len, unix_s, unix_ms, boot, uptime_ms, age_ms, origin_generation, origin_counter, slot, reset,
        windows_lost, battery_mv, flags, server_time_ms, base, bitmap, payload, port, highest, access_token;
} one_case;

static one_case c;

static void take_text(const char *key, const char *wanted, char *out, const reader *r, size_t room) {
    if (strcmp(key, wanted) == 0 && strlen(r->value) < room) {
        strcpy(out, r->value);
    }
}

static void take_hex(const char *wanted, bytes *out, const reader *r) {
    size_t i;
    if (strcmp(r->key, wanted) == 0 && strlen(r->value) / 2 <= BYTES_MAX) {
        out->len = strlen(r->value) / 2;
        out->is_given = true;
        for (i = 0; i < out->len; i++) {
            out->at[i] = (uint8_t)(hex_digit(r->value[2 * i]) << 4 | hex_digit(r->value[2 * i + 1]));
        }
    }
}

/* Reads the next case; false at the end of the file. */
static bool next_case(reader *r) {
    memset(&c, 0, sizeof c);
    while (!next_line(r)) {
        if (KGL_ROM_U8((const uint8_t *)r->at) == '\0') {
            return false;
        }
    }
    do {
        take_text(r->key, "case", c.name, r, sizeof c.name);
        take_text(r->key, "id", c.id, r, sizeof c.id);
        take_text(r->key, "refused", c.refused, r, sizeof c.refused);
        take_text(r->key, "kind", c.kind, r, sizeof c.kind);
        take_text(r->key, "time", c.time, r, sizeof c.time);
        take_text(r->key, "direction", c.direction, r, sizeof c.direction);
#define HEX(name) take_hex(#name, &c.name, r)
        HEX(device_key), HEX(join_key), HEX(device_nonce), HEX(server_nonce), HEX(secret), HEX(static_secret);
        HEX(run), HEX(up_key), HEX(up_iv), HEX(down_key), HEX(down_iv), HEX(generation), HEX(counter);
        HEX(fingerprint), HEX(content), HEX(frame), HEX(known), HEX(request), HEX(accept), HEX(short_id);
        HEX(time_ms), HEX(quality), HEX(code), HEX(padding_len), HEX(unix_s), HEX(unix_ms), HEX(boot);
        HEX(uptime_ms), HEX(age_ms), HEX(origin_generation), HEX(origin_counter), HEX(slot), HEX(reset);
        HEX(windows_lost), HEX(battery_mv), HEX(flags), HEX(server_time_ms), HEX(base), HEX(bitmap);
        HEX(payload), HEX(port), HEX(highest), HEX(access_token);
    } while (next_line(r));
    return true;
}

static uint64_t number(const bytes *b) {
    return kgl_get_be(b->at, (uint8_t)b->len);
}

static bool is_same(const bytes *b, const uint8_t *at, size_t len) {
    return b->len == len && memcmp(b->at, at, len) == 0;
}

static bool check_keys(void) {
    uint8_t out[KGL_SECRET_LEN];
    const bytes *secret = c.static_secret.is_given ? &c.static_secret : &c.secret;
    kgl_link_key up, down;
    kgl_id id;
    bool ok = kgl_id_make(&id, c.id);
    if (c.static_secret.is_given) {
        kgl_static_secret(c.device_key.at, &id, out);
    } else {
        kgl_join_key(c.device_key.at, &id, out);
        ok = ok && is_same(&c.join_key, out, sizeof out);
        kgl_generation_secret(c.device_key.at, &id, (uint32_t)number(&c.generation), c.device_nonce.at,
                              c.server_nonce.at, out);
        kgl_down_key(c.secret.at, c.run.at, KGL_SUITE_CCM16, &down);
        ok = ok && is_same(&c.down_key, down.key, KGL_KEY_LEN) && is_same(&c.down_iv, down.iv, KGL_NONCE_LEN);
    }
    kgl_up_key(secret->at, KGL_SUITE_CCM16, &up);
    return ok && is_same(secret, out, sizeof out) && is_same(&c.up_key, up.key, KGL_KEY_LEN) &&
           is_same(&c.up_iv, up.iv, KGL_NONCE_LEN);
}

static bool check_access(void) {
    char token[KGL_TOKEN_LEN + 1];
    uint8_t i;
    kgl_id id;
    bool ok = kgl_id_make(&id, c.id);
    kgl_access_token(c.device_key.at, &id, token);
    for (i = 0; ok && i < KGL_SECRET_LEN; i++) {
        uint8_t byte = (uint8_t)(hex_digit(token[2 * i]) << 4 | hex_digit(token[2 * i + 1]));
        ok = c.access_token.len == KGL_SECRET_LEN && byte == c.access_token.at[i];
    }
    return ok && token[KGL_TOKEN_LEN] == '\0';
}

static bool open_down(kgl_suite suite) {
    static uint8_t frame[BYTES_MAX];
    kgl_link_key key;
    kgl_down down;
    kgl_id id;
    uint8_t *content;
    size_t len;
    memcpy(frame, c.frame.at, c.frame.len);
    if (kgl_down_parse(frame, c.frame.len, suite, &down) != KGL_OK) {
        return false;
    }
    (void)kgl_id_make(&id, c.id);
    kgl_down_key(c.secret.at, down.run, suite, &key);
    return kgl_open(&key, &id, number(&c.counter), NULL, frame, c.frame.len, KGL_DOWN_HEADER_LEN, &content, &len) ==
               KGL_OK &&
           (!c.content.is_given || is_same(&c.content, content, len));
}

/* An uplink is sealed again and gives the same frame; a downlink opens. */
static bool check_frame_of(kgl_suite suite, uint32_t generation, uint32_t short_id) {
    static uint8_t frame[BYTES_MAX];
    kgl_kind kind = kgl_kind_of(c.frame.at, c.frame.len, suite);
    kgl_link_key key;
    kgl_id id;
    size_t len;
    if (kind == KGL_KIND_ACK || kind == KGL_KIND_COMMAND) {
        return open_down(suite);
    }
    (void)kgl_id_make(&id, c.id);
    kgl_up_key(c.secret.at, suite, &key);
    len = kgl_up_header(frame, kind, suite, generation, c.frame.at[1] & 15, short_id, number(&c.counter), true);
    memcpy(frame + len, c.content.at, c.content.len);
    len = kgl_seal(&key, &id, number(&c.counter), c.fingerprint.len > 0 ? c.fingerprint.at : NULL, frame, len,
                   c.content.len);
    return is_same(&c.frame, frame, len);
}

static bool check_frame(void) {
    return check_frame_of(KGL_SUITE_CCM16, (uint32_t)number(&c.generation), UINT32_C(0xc0ffee));
}

/* What is sealed makes the payload; what a downlink's payload stands for opens. `highest` was packed before; where it is
 * 0, nothing was heard yet. */
static bool check_lorawan(void) {
    static uint8_t out[BYTES_MAX];
    uint32_t short_id = (uint32_t)number(&c.short_id);
    kgl_kind kind = kgl_kind_of(c.frame.at, c.frame.len, KGL_SUITE_CCM8);
    kgl_packer packer;
    uint8_t port;
    size_t len;
    if (!check_frame_of(KGL_SUITE_CCM8, c.frame.at[1] >> 4, short_id)) {
        return false;
    }
    if (kind == KGL_KIND_ACK || kind == KGL_KIND_COMMAND) {
        return is_same(&c.frame, out, kgl_lorawan_expand(c.payload.at, c.payload.len, short_id, out));
    }
    packer.is_heard = number(&c.highest) > 0;
    packer.next = packer.is_heard ? number(&c.highest) + 1 : 0;
    len = kgl_lorawan_pack(&packer, c.frame.at, c.frame.len, out, &port);
    return port == number(&c.port) && is_same(&c.payload, out, len);
}

/* A device reads downlinks only. */
static bool check_lorawan_refused(void) {
    static uint8_t out[BYTES_MAX + 50 + 4];
    return strcmp(c.direction, "down") != 0 || kgl_lorawan_expand(c.payload.at, c.payload.len, 7, out) == 0;
}

static bool check_data(void) {
    static uint8_t out[BYTES_MAX];
    size_t len, padding_len = (size_t)number(&c.padding_len);
    kgl_time time;
    kgl_origin origin;
    memset(&time, 0, sizeof time);
    memset(&origin, 0, sizeof origin);
    time.quality = (kgl_quality)c.quality.at[0];
    if (strcmp(c.time, "unix_s") == 0) {
        time.kind = KGL_TIME_UNIX_S;
        time.value = number(&c.unix_s);
    } else if (strcmp(c.time, "unix_ms") == 0) {
        time.kind = KGL_TIME_UNIX_MS;
        time.value = number(&c.unix_ms);
    } else if (strcmp(c.time, "uptime") == 0) {
        time.kind = KGL_TIME_UPTIME;
        time.boot = (uint16_t)number(&c.boot);
        time.value = number(&c.uptime_ms);
    } else if (strcmp(c.time, "age") == 0) {
        time.kind = KGL_TIME_AGE;
        time.value = number(&c.age_ms);
    }
    origin.is_given = c.origin_generation.is_given;
    origin.generation = (uint32_t)number(&c.origin_generation);
    origin.counter = number(&c.origin_counter);
    len = kgl_data_head(out, time, origin, padding_len > 0);
    memcpy(out + len, c.code.at, c.code.len);
    len += c.code.len;
    if (padding_len > 0) {
        out[len] = 0x80;
        memset(out + len + 1, 0, padding_len - 1);
    }
    return is_same(&c.content, out, len + padding_len) && kgl_data_head_len(time, origin.is_given) + c.code.len == len;
}

static bool check_content(void) {
    static uint8_t out[KGL_STATUS_LEN_MAX];
    kgl_status_content status;
    kgl_ack ack;
    if (strcmp(c.kind, "data") == 0) {
        return check_data();
    }
    if (strcmp(c.kind, "status") == 0) {
        memset(&status, 0, sizeof status);
        status.slot = c.slot.at[0];
        status.reset = (kgl_reset)c.reset.at[0];
        status.boot = (uint16_t)number(&c.boot);
        status.uptime_ms = number(&c.uptime_ms);
        status.windows_lost = (uint32_t)number(&c.windows_lost);
        status.fingerprint = c.fingerprint.at;
        status.quality = (kgl_quality)c.quality.at[0];
        status.has_unix = c.unix_ms.is_given;
        status.unix_ms = number(&c.unix_ms);
        status.has_battery = c.battery_mv.is_given;
        status.battery_mv = (uint16_t)number(&c.battery_mv);
        return is_same(&c.content, out, kgl_status_emit(out, &status));
    }
    if (strcmp(c.kind, "ack") == 0) {
        return kgl_ack_parse(c.content.at, c.content.len, &ack) == KGL_OK && ack.flags == c.flags.at[0] &&
               ack.server_ms == number(&c.server_time_ms) && ack.base == number(&c.base) &&
               ack.run == number(&c.run) && ack.bitmap == number(&c.bitmap) && kgl_ack_covers(&ack, ack.base) &&
               !kgl_ack_covers(&ack, ack.base + ack.run) && kgl_ack_covers(&ack, ack.base + ack.run + 1) &&
               !kgl_ack_covers(&ack, ack.base - 1) && kgl_ack_parse(c.content.at, 18, &ack) != KGL_OK;
    }
    /* This library does no commands. */
    return strcmp(c.kind, "command") == 0;
}

static bool check_join(void) {
    static uint8_t out[KGL_REQUEST_LEN_MAX];
    kgl_accept accept;
    kgl_id id;
    if (c.refused[0] != '\0') {
        /* Whether an authentic accept answers the request under way, the node sees by nonce and generation. */
        return !c.accept.is_given ||
               kgl_accept_open(c.accept.at, c.accept.len, c.join_key.at, &accept) == KGL_ERR_OPEN ||
               !is_same(&c.device_nonce, accept.device_nonce, 16) || accept.generation <= number(&c.known);
    }
    if (c.request.is_given) {
        (void)kgl_id_make(&id, c.id);
        return is_same(&c.request, out, kgl_request_emit(out, c.join_key.at, &id, c.device_nonce.at,
                                                         (uint32_t)number(&c.known), c.fingerprint.at));
    }
    return kgl_accept_open(c.accept.at, c.accept.len, c.join_key.at, &accept) == KGL_OK &&
           accept.short_id == number(&c.short_id) && accept.generation == number(&c.generation) &&
           accept.time_ms == number(&c.time_ms) && is_same(&c.server_nonce, accept.server_nonce, 16) &&
           is_same(&c.device_nonce, accept.device_nonce, 16);
}

/* A device opens downlinks only; every refused one of these must stay shut. */
static bool check_refused(void) {
    kgl_kind kind = kgl_kind_of(c.frame.at, c.frame.len, KGL_SUITE_CCM16);
    return (kind != KGL_KIND_ACK && kind != KGL_KIND_COMMAND) || !open_down(KGL_SUITE_CCM16);
}

static bool check_file(const char *name, const void *file, bool (*check)(void), uint8_t n_least) {
    reader r;
    uint8_t n = 0;
    bool ok = true;
    r.at = (const char *)file;
    while (next_case(&r)) {
        if (!check()) {
            say("  differs: ");
            say(c.name);
            say("\n");
            ok = false;
        }
        n++;
    }
    ok = ok && n >= n_least;
    verdict(name, ok);
    return ok;
}

static bool check_ids(void) {
    static const char *const refused[] = {"", "-a", ".a", "a/b", "a b", "a\n", "123456789012345678901234567890123"};
    kgl_id id;
    uint8_t i;
    bool ok = kgl_id_make(&id, "cellar-7") && kgl_id_make(&id, "12345678901234567890123456789012");
    for (i = 0; i < sizeof refused / sizeof *refused; i++) {
        ok = ok && !kgl_id_make(&id, refused[i]);
    }
    verdict("wire: device ids", ok);
    return ok;
}

int main(void) {
    bool ok = check_file("wire: keys", KEYS, check_keys, 2);
    ok = check_file("wire: access", ACCESS, check_access, 2) && ok;
    ok = check_file("wire: frames that open", FRAMES_PASS, check_frame, 6) && ok;
    ok = check_file("wire: frames that are refused", FRAMES_FAIL, check_refused, 20) && ok;
    ok = check_file("wire: contents", CONTENTS_PASS, check_content, 10) && ok;
    ok = check_file("wire: joins", JOINS_PASS, check_join, 3) && ok;
    ok = check_file("wire: joins that are refused", JOINS_FAIL, check_join, 10) && ok;
    ok = check_file("wire: LoRaWAN payloads", LORAWAN_PASS, check_lorawan, 10) && ok;
    ok = check_file("wire: LoRaWAN payloads that are refused", LORAWAN_FAIL, check_lorawan_refused, 10) && ok;
    ok = check_ids() && ok;
    finish(ok);
    return 0;
}
