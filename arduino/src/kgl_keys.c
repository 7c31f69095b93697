/* The key schedule, and joins. */
#include "kgl_bytes.h"
#include "kgl_wire.h"

static bool is_letter_or_digit(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool kgl_id_make(kgl_id *id, const char *text) {
    uint8_t n = 0;
    memset(id, 0, sizeof *id);
    while (text[n] != '\0') {
        uint8_t c = (uint8_t)text[n];
        bool fits = is_letter_or_digit(c) || (n > 0 && (c == '.' || c == '_' || c == ':' || c == '-'));
        if (n == KGL_ID_LEN_MAX || !fits) {
            return false;
        }
        id->text[n++] = c;
    }
    id->len = n;
    return n > 0;
}

static kgl_piece piece(const void *at, size_t len) {
    kgl_piece p;
    p.at = (const uint8_t *)at;
    p.len = len;
    return p;
}

/* Expand(Extract("kinglet/1", device key), info). */
static void expand(const uint8_t *device_key, const kgl_piece *info, uint8_t n_info, uint8_t *out) {
    static const char salt[] = "kinglet/1";
    kgl_piece key = piece(device_key, KGL_SECRET_LEN);
    uint8_t prk[KGL_SHA256_LEN];
    kgl_hmac((const uint8_t *)salt, sizeof salt - 1, &key, 1, prk);
    kgl_expand(prk, info, n_info, out, KGL_SECRET_LEN);
    kgl_wipe(prk, sizeof prk);
}

/* Expand(PRK, label ‖ b8(id)); the label with its length. */
static void expand_for(const char *label, const uint8_t *device_key, const kgl_id *id, uint8_t *out) {
    kgl_piece info[3];
    info[0] = piece(label, strlen(label));
    info[1] = piece(&id->len, 1);
    info[2] = piece(id->text, id->len);
    expand(device_key, info, 3, out);
}

void kgl_join_key(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, uint8_t out[KGL_SECRET_LEN]) {
    expand_for("\4join", device_key, id, out);
}

void kgl_access_token(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, char out[KGL_TOKEN_LEN + 1]) {
    static const char digits[] = "0123456789abcdef";
    uint8_t token[KGL_SECRET_LEN], i;
    expand_for("\6access", device_key, id, token);
    for (i = 0; i < KGL_SECRET_LEN; i++) {
        out[2 * i] = digits[token[i] >> 4];
        out[2 * i + 1] = digits[token[i] & 15];
    }
    out[KGL_TOKEN_LEN] = '\0';
    kgl_wipe(token, sizeof token);
}

void kgl_generation_secret(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, uint32_t generation,
                           const uint8_t device_nonce[KGL_JOIN_NONCE_LEN],
                           const uint8_t server_nonce[KGL_JOIN_NONCE_LEN], uint8_t out[KGL_SECRET_LEN]) {
    kgl_piece info[6];
    uint8_t number[4];
    kgl_put_be(number, generation, 4);
    info[0] = piece("\12generation", 11);
    info[1] = piece(number, 4);
    info[2] = piece(&id->len, 1);
    info[3] = piece(id->text, id->len);
    info[4] = piece(device_nonce, KGL_JOIN_NONCE_LEN);
    info[5] = piece(server_nonce, KGL_JOIN_NONCE_LEN);
    expand(device_key, info, 6, out);
}

void kgl_static_secret(const uint8_t device_key[KGL_SECRET_LEN], const kgl_id *id, uint8_t out[KGL_SECRET_LEN]) {
    expand_for("\6static", device_key, id, out);
}

/* `run`: of the server process, for downlinks; NULL for uplinks. */
static void link_key(const uint8_t *secret, const uint8_t *run, kgl_suite of, kgl_link_key *out) {
    uint8_t suite = (uint8_t)of;
    kgl_piece info[4];
    info[0] = run != NULL ? piece("\4down", 5) : piece("\2up", 3);
    info[1] = piece("\3key", 4);
    info[2] = piece(&suite, 1);
    info[3] = piece(run, run != NULL ? KGL_RUN_LEN : 0);
    kgl_expand(secret, info, run != NULL ? 4 : 3, out->key, KGL_KEY_LEN);
    info[1] = piece("\2iv", 3);
    kgl_expand(secret, info, run != NULL ? 4 : 3, out->iv, KGL_NONCE_LEN);
    out->is_down = run != NULL;
    out->suite = of;
}

void kgl_up_key(const uint8_t secret[KGL_SECRET_LEN], kgl_suite suite, kgl_link_key *out) {
    link_key(secret, NULL, suite, out);
}

void kgl_down_key(const uint8_t secret[KGL_SECRET_LEN], const uint8_t run[KGL_RUN_LEN], kgl_suite suite,
                  kgl_link_key *out) {
    link_key(secret, run, suite, out);
}

/* HMAC-SHA-256 cut to its first 16 bytes. */
static void join_mac(const uint8_t *join_key, const uint8_t *bytes, size_t len, uint8_t *out) {
    uint8_t mac[KGL_SHA256_LEN];
    kgl_piece all = piece(bytes, len);
    kgl_hmac(join_key, KGL_SECRET_LEN, &all, 1, mac);
    memcpy(out, mac, KGL_TAG_LEN);
}

size_t kgl_request_emit(uint8_t *out, const uint8_t join_key[KGL_SECRET_LEN], const kgl_id *id,
                        const uint8_t device_nonce[KGL_JOIN_NONCE_LEN], uint32_t known,
                        const uint8_t fingerprint[16]) {
    size_t at = 2U + id->len;
    out[0] = 0x50;
    out[1] = id->len;
    memcpy(out + 2, id->text, id->len);
    memcpy(out + at, device_nonce, KGL_JOIN_NONCE_LEN);
    kgl_put_be(out + at + 16, known, 4);
    memcpy(out + at + 20, fingerprint, 16);
    join_mac(join_key, out, at + 36, out + at + 36);
    return at + 36 + KGL_TAG_LEN;
}

kgl_status kgl_accept_open(const uint8_t *bytes, size_t len, const uint8_t join_key[KGL_SECRET_LEN],
                           kgl_accept *accept) {
    uint8_t mac[KGL_TAG_LEN];
    if (len != KGL_ACCEPT_LEN || bytes[0] != 0x58 || bytes[1] != 0) {
        return KGL_ERR_OPEN;
    }
    join_mac(join_key, bytes, KGL_ACCEPT_LEN - KGL_TAG_LEN, mac);
    if (!kgl_is_equal(mac, bytes + KGL_ACCEPT_LEN - KGL_TAG_LEN, KGL_TAG_LEN)) {
        return KGL_ERR_OPEN;
    }
    accept->short_id = (uint32_t)kgl_get_be(bytes + 2, 4);
    memcpy(accept->device_nonce, bytes + 6, KGL_JOIN_NONCE_LEN);
    memcpy(accept->server_nonce, bytes + 22, KGL_JOIN_NONCE_LEN);
    accept->generation = (uint32_t)kgl_get_be(bytes + 38, 4);
    accept->time_ms = kgl_get_be(bytes + 42, 6);
    return accept->generation > 0 ? KGL_OK : KGL_ERR_OPEN;
}
