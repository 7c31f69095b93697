/* Frames: header, sealing and opening in place, contents. */
#include "kgl_wire.h"

#include "kgl_bytes.h"

#define VERSION 1

size_t kgl_tag_len(kgl_suite suite) {
    return suite == KGL_SUITE_CCM16 ? KGL_TAG_LEN : KGL_SHORT_TAG_LEN;
}

bool kgl_is_wide(uint64_t counter, bool first_after_boot) {
    return counter >= UINT64_C(1) << 31 && (first_after_boot || counter % 256 == 0);
}

size_t kgl_up_header(uint8_t *out, kgl_kind kind, kgl_suite suite, uint32_t generation, uint8_t slot,
                     uint32_t short_id, uint64_t counter, bool first_after_boot) {
    bool is_wide = kgl_is_wide(counter, first_after_boot);
    out[0] = (uint8_t)(VERSION << 6 | (unsigned)kind << 3 | (unsigned)suite << 1 | is_wide);
    out[1] = (uint8_t)((generation & 15) << 4 | (slot & 15U));
    kgl_put_be(out + 2, short_id, 4);
    kgl_put_be(out + 6, counter, is_wide ? 6 : 4);
    return is_wide ? KGL_UP_HEADER_WIDE_LEN : KGL_UP_HEADER_LEN;
}

#define AAD_MAX (10 + 2 + (4 + 3 + KGL_ID_LEN_MAX + 9 + 5 + 1 + KGL_DOWN_HEADER_LEN) + 1 + 16)

static uint8_t *put(uint8_t *out, const void *bytes, size_t len) {
    memcpy(out, bytes, len);
    return out + len;
}

/* The head of a CBOR byte string of less than 256 bytes. */
static uint8_t *put_head(uint8_t *out, size_t len) {
    if (len < 24) {
        *out++ = (uint8_t)(0x40 | len);
    } else {
        *out++ = 0x58;
        *out++ = (uint8_t)len;
    }
    return out;
}

/* The Enc_structure of COSE_Encrypt0 (RFC 9052, section 5.3), filled in from a fixed template. */
static size_t make_aad(uint8_t *aad, const kgl_id *id, const uint8_t partial_iv[7], const uint8_t *header,
                       size_t header_len, const uint8_t *fingerprint, kgl_suite suite) {
    /* Algorithm 30, or 10. */
    static const uint8_t alg[2][5] = {{0xa4, 0x01, 0x18, 30, 0x04}, {0xa4, 0x01, 10, 0x04, 0}};
    size_t alg_len = suite == KGL_SUITE_CCM16 ? 5 : 4;
    static const uint8_t label[5] = {0x3a, 0x00, 0x01, 0x00, 0x00};
    size_t protected_len = alg_len + (id->len < 24 ? 1U : 2U) + id->len + 9 + 5 + 1 + header_len;
    uint8_t *at = put(aad, "\x83\x68" "Encrypt0", 10);
    at = put_head(at, protected_len);
    at = put(at, alg[suite], alg_len);
    at = put_head(at, id->len);
    at = put(at, id->text, id->len);
    *at++ = 0x06;
    at = put_head(at, 7);
    at = put(at, partial_iv, 7);
    at = put(at, label, sizeof label);
    at = put_head(at, header_len);
    at = put(at, header, header_len);
    at = put_head(at, fingerprint != NULL ? 16 : 0);
    if (fingerprint != NULL) {
        at = put(at, fingerprint, 16);
    }
    return (size_t)(at - aad);
}

/* Nonce and associated data of one frame. */
static size_t bind(const kgl_link_key *key, const kgl_id *id, uint64_t counter, const uint8_t *fingerprint,
                   const uint8_t *header, size_t header_len, uint8_t nonce[KGL_NONCE_LEN], uint8_t *aad) {
    uint8_t partial_iv[7], i;
    partial_iv[0] = key->is_down;
    kgl_put_be(partial_iv + 1, counter, 6);
    memcpy(nonce, key->iv, KGL_NONCE_LEN);
    for (i = 0; i < 7; i++) {
        nonce[6 + i] = (uint8_t)(nonce[6 + i] ^ partial_iv[i]);
    }
    return make_aad(aad, id, partial_iv, header, header_len, fingerprint, key->suite);
}

size_t kgl_seal(const kgl_link_key *key, const kgl_id *id, uint64_t counter, const uint8_t *fingerprint,
                uint8_t *frame, size_t header_len, size_t content_len) {
    uint8_t nonce[KGL_NONCE_LEN], aad[AAD_MAX];
    size_t aad_len = bind(key, id, counter, fingerprint, frame, header_len, nonce, aad);
    size_t tag_len = kgl_tag_len(key->suite);
    kgl_ccm_seal(key->key, nonce, aad, aad_len, frame + header_len, content_len, frame + header_len + content_len,
                 (uint8_t)tag_len);
    return header_len + content_len + tag_len;
}

kgl_status kgl_open(const kgl_link_key *key, const kgl_id *id, uint64_t counter, const uint8_t *fingerprint,
                    uint8_t *frame, size_t len, size_t header_len, uint8_t **content, size_t *content_len) {
    uint8_t nonce[KGL_NONCE_LEN], aad[AAD_MAX];
    size_t aad_len, tag_len = kgl_tag_len(key->suite);
    if (len < header_len + tag_len || len > header_len + KGL_CONTENT_LEN_MAX + tag_len) {
        return KGL_ERR_OPEN;
    }
    *content = frame + header_len;
    *content_len = len - header_len - tag_len;
    aad_len = bind(key, id, counter, fingerprint, frame, header_len, nonce, aad);
    return kgl_ccm_open(key->key, nonce, aad, aad_len, *content, *content_len, *content + *content_len,
                        (uint8_t)tag_len)
               ? KGL_OK
               : KGL_ERR_OPEN;
}

kgl_kind kgl_kind_of(const uint8_t *bytes, size_t len, kgl_suite suite) {
    uint8_t kind;
    if (len == 0 || bytes[0] >> 6 != VERSION || (bytes[0] >> 1 & 3) != (unsigned)suite) {
        return KGL_KIND_NONE;
    }
    kind = bytes[0] >> 3 & 7;
    return kind < KGL_KIND_NONE ? (kgl_kind)kind : KGL_KIND_NONE;
}

kgl_status kgl_down_parse(const uint8_t *bytes, size_t len, kgl_suite suite, kgl_down *down) {
    size_t tag_len = kgl_tag_len(suite);
    down->kind = kgl_kind_of(bytes, len, suite);
    if ((down->kind != KGL_KIND_ACK && down->kind != KGL_KIND_COMMAND) ||
        len < KGL_DOWN_HEADER_LEN + tag_len || len > KGL_DOWN_HEADER_LEN + KGL_CONTENT_LEN_MAX + tag_len || (bytes[0] & 1) != 0 ||
        (bytes[1] & 15) != 0) {
        return KGL_ERR_OPEN;
    }
    down->generation_low = bytes[1] >> 4;
    down->short_id = (uint32_t)kgl_get_be(bytes + 2, 4);
    memcpy(down->run, bytes + 6, KGL_RUN_LEN);
    down->counter = (uint32_t)kgl_get_be(bytes + 18, 4);
    return KGL_OK;
}

static uint8_t time_len(kgl_time_kind kind) {
    static const uint8_t lens[5] KGL_PROGMEM = {0, 4, 6, 8, 4};
    return KGL_ROM_U8(&lens[kind]);
}

size_t kgl_data_head_len(kgl_time time, bool has_origin) {
    return 1U + time_len(time.kind) + (has_origin ? 10U : 0U);
}

size_t kgl_data_head(uint8_t *out, kgl_time time, kgl_origin origin, bool is_padded) {
    uint8_t len = time_len(time.kind), *at = out + 1 + len;
    out[0] = (uint8_t)((unsigned)time.kind | (unsigned)time.quality << 3 | (origin.is_given ? 1U << 5 : 0U) |
                       (is_padded ? 1U << 6 : 0U));
    /* Only an uptime is long enough for the boot before it. */
    kgl_put_be(out + 1, time.value | (uint64_t)time.boot << 48, len);
    if (origin.is_given) {
        kgl_put_be(at, origin.generation, 4);
        kgl_put_be(at + 4, origin.counter, 6);
        at += 10;
    }
    return (size_t)(at - out);
}

size_t kgl_padding_len(size_t content_len, uint8_t padding_class) {
    return padding_class == 0 ? 0 : padding_class - content_len % padding_class;
}

size_t kgl_status_emit(uint8_t *out, const kgl_status_content *status) {
    uint8_t *at = out + 31;
    out[0] = (uint8_t)((status->has_unix ? 1U : 0U) | (status->has_battery ? 2U : 0U) |
                       (unsigned)status->quality << 2);
    out[1] = status->slot;
    out[2] = (uint8_t)status->reset;
    kgl_put_be(out + 3, status->boot, 2);
    kgl_put_be(out + 5, status->uptime_ms, 6);
    kgl_put_be(out + 11, status->windows_lost, 4);
    memcpy(out + 15, status->fingerprint, 16);
    if (status->has_unix) {
        kgl_put_be(at, status->unix_ms, 6);
        at += 6;
    }
    if (status->has_battery) {
        kgl_put_be(at, status->battery_mv, 2);
        at += 2;
    }
    return (size_t)(at - out);
}

kgl_status kgl_ack_parse(const uint8_t *content, size_t len, kgl_ack *ack) {
    if (len != 19) {
        return KGL_ERR_OPEN;
    }
    ack->flags = content[0];
    ack->server_ms = kgl_get_be(content + 1, 6);
    ack->base = kgl_get_be(content + 7, 6);
    ack->run = (uint16_t)kgl_get_be(content + 13, 2);
    ack->bitmap = (uint32_t)kgl_get_be(content + 15, 4);
    return KGL_OK;
}

bool kgl_ack_covers(const kgl_ack *ack, uint64_t counter) {
    uint64_t distance = counter - ack->base;
    if (counter < ack->base) {
        return false;
    }
    if (distance < ack->run) {
        return true;
    }
    distance -= ack->run;
    return distance < 32 && (ack->bitmap >> distance & 1) == 1;
}
