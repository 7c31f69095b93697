#include "kgl_crypto.h"

#ifdef KINGLET_USE_MBEDTLS

#include <mbedtls/ccm.h>

/* The context lives for one call: a device seals a frame every few minutes. mbedTLS says a failure only where a chip's
 * own AES unit fails; then nothing of the content may leave, so it is wiped and the tag is one that never opens. */
void kgl_ccm_seal(const uint8_t key[KGL_KEY_LEN], const uint8_t nonce[KGL_NONCE_LEN], const uint8_t *aad,
                  size_t aad_len, uint8_t *content, size_t content_len, uint8_t *tag, uint8_t tag_len) {
    mbedtls_ccm_context ccm;
    mbedtls_ccm_init(&ccm);
    if (mbedtls_ccm_setkey(&ccm, MBEDTLS_CIPHER_ID_AES, key, 8 * KGL_KEY_LEN) != 0 ||
        mbedtls_ccm_encrypt_and_tag(&ccm, content_len, nonce, KGL_NONCE_LEN, aad, aad_len, content, content, tag,
                                    tag_len) != 0) {
        kgl_wipe(content, content_len);
        kgl_wipe(tag, tag_len);
    }
    mbedtls_ccm_free(&ccm);
}

bool kgl_ccm_open(const uint8_t key[KGL_KEY_LEN], const uint8_t nonce[KGL_NONCE_LEN], const uint8_t *aad,
                  size_t aad_len, uint8_t *content, size_t content_len, const uint8_t *tag, uint8_t tag_len) {
    mbedtls_ccm_context ccm;
    bool is_open;
    mbedtls_ccm_init(&ccm);
    is_open = mbedtls_ccm_setkey(&ccm, MBEDTLS_CIPHER_ID_AES, key, 8 * KGL_KEY_LEN) == 0 &&
              mbedtls_ccm_auth_decrypt(&ccm, content_len, nonce, KGL_NONCE_LEN, aad, aad_len, content, content, tag,
                                       tag_len) == 0;
    mbedtls_ccm_free(&ccm);
    if (!is_open) {
        kgl_wipe(content, content_len);
    }
    return is_open;
}

#else

static const uint8_t SBOX[256] KGL_PROGMEM = {
    0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76,
    0xca, 0x82, 0xc9, 0x7d, 0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0,
    0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f, 0xf7, 0xcc, 0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15,
    0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07, 0x12, 0x80, 0xe2, 0xeb, 0x27, 0xb2, 0x75,
    0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3, 0x29, 0xe3, 0x2f, 0x84,
    0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58, 0xcf,
    0xd0, 0xef, 0xaa, 0xfb, 0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8,
    0x51, 0xa3, 0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5, 0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2,
    0xcd, 0x0c, 0x13, 0xec, 0x5f, 0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d, 0x64, 0x5d, 0x19, 0x73,
    0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88, 0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb,
    0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac, 0x62, 0x91, 0x95, 0xe4, 0x79,
    0xe7, 0xc8, 0x37, 0x6d, 0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a, 0xae, 0x08,
    0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6, 0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a,
    0x70, 0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9, 0x86, 0xc1, 0x1d, 0x9e,
    0xe1, 0xf8, 0x98, 0x11, 0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf,
    0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42, 0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16};

#define ROUNDS 10

static uint8_t sub(uint8_t x) {
    return KGL_ROM_U8(&SBOX[x]);
}

static uint8_t doubled(uint8_t x) {
    return (uint8_t)((x << 1) ^ ((x >> 7) * 0x1b));
}

/* All round keys, 16 bytes each. */
static void expand_key(const uint8_t key[KGL_KEY_LEN], uint8_t *keys) {
    uint8_t rcon = 1, i;
    memcpy(keys, key, KGL_KEY_LEN);
    for (i = KGL_KEY_LEN; i < 16 * (ROUNDS + 1); i = (uint8_t)(i + 4)) {
        uint8_t t[4], j;
        memcpy(t, keys + i - 4, 4);
        if (i % 16 == 0) {
            uint8_t first = t[0];
            t[0] = (uint8_t)(sub(t[1]) ^ rcon);
            t[1] = sub(t[2]);
            t[2] = sub(t[3]);
            t[3] = sub(first);
            rcon = doubled(rcon);
        }
        for (j = 0; j < 4; j++) {
            keys[i + j] = (uint8_t)(keys[i + j - 16] ^ t[j]);
        }
    }
}

static void add_key(uint8_t *block, const uint8_t *key) {
    uint8_t i;
    for (i = 0; i < 16; i++) {
        block[i] = (uint8_t)(block[i] ^ key[i]);
    }
}

static void encrypt(const uint8_t *keys, uint8_t block[16]) {
    uint8_t round, i;
    add_key(block, keys);
    for (round = 1; round <= ROUNDS; round++) {
        uint8_t shifted[16];
        for (i = 0; i < 16; i++) {
            shifted[i] = sub(block[(i + 4 * (i & 3)) & 15]);
        }
        for (i = 0; i < 16 && round < ROUNDS; i = (uint8_t)(i + 4)) {
            uint8_t *c = shifted + i, all = (uint8_t)(c[0] ^ c[1] ^ c[2] ^ c[3]), first = c[0], j;
            for (j = 0; j < 4; j++) {
                uint8_t next = j < 3 ? c[j + 1] : first;
                c[j] = (uint8_t)(c[j] ^ all ^ doubled((uint8_t)(c[j] ^ next)));
            }
        }
        memcpy(block, shifted, 16);
        add_key(block, keys + 16 * round);
    }
}

/* One sealing or opening. */
typedef struct ccm {
    uint8_t keys[16 * (ROUNDS + 1)];
    uint8_t mac[16], counter[16];
} ccm;

static void mac_byte(ccm *c, size_t at, uint8_t byte) {
    c->mac[at & 15] = (uint8_t)(c->mac[at & 15] ^ byte);
    if ((at & 15) == 15) {
        encrypt(c->keys, c->mac);
    }
}

/* The first block and the associated data, as RFC 3610 has them: two bytes of length. */
static void begin(ccm *c, const uint8_t *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
                  size_t content_len, uint8_t tag_len) {
    size_t i;
    expand_key(key, c->keys);
    c->mac[0] = (uint8_t)((aad_len > 0 ? 0x40 : 0) | ((tag_len - 2) / 2) << 3 | 1);
    memcpy(c->mac + 1, nonce, KGL_NONCE_LEN);
    c->mac[14] = (uint8_t)(content_len >> 8);
    c->mac[15] = (uint8_t)content_len;
    encrypt(c->keys, c->mac);
    c->counter[0] = 1;
    memcpy(c->counter + 1, nonce, KGL_NONCE_LEN);
    c->counter[14] = c->counter[15] = 0;
    if (aad_len > 0) {
        mac_byte(c, 0, (uint8_t)(aad_len >> 8));
        mac_byte(c, 1, (uint8_t)aad_len);
        for (i = 0; i < aad_len; i++) {
            mac_byte(c, i + 2, aad[i]);
        }
        if ((i + 2) % 16 != 0) {
            encrypt(c->keys, c->mac);
        }
    }
}

/* Runs the key stream over the content, and the MAC over its plain side. */
static void run(ccm *c, uint8_t *content, size_t len, bool seals) {
    uint8_t stream[16] = {0};
    size_t i;
    for (i = 0; i < len; i++) {
        uint8_t plain;
        if (i % 16 == 0) {
            c->counter[15] = (uint8_t)(c->counter[15] + 1);
            c->counter[14] = (uint8_t)(c->counter[14] + (c->counter[15] == 0));
            memcpy(stream, c->counter, 16);
            encrypt(c->keys, stream);
        }
        plain = seals ? content[i] : (uint8_t)(content[i] ^ stream[i % 16]);
        content[i] = (uint8_t)(content[i] ^ stream[i % 16]);
        mac_byte(c, i, plain);
    }
    if (len % 16 != 0) {
        encrypt(c->keys, c->mac);
    }
    c->counter[14] = c->counter[15] = 0;
    encrypt(c->keys, c->counter);
    add_key(c->mac, c->counter);
    kgl_wipe(stream, sizeof stream);
}

void kgl_ccm_seal(const uint8_t key[KGL_KEY_LEN], const uint8_t nonce[KGL_NONCE_LEN], const uint8_t *aad,
                  size_t aad_len, uint8_t *content, size_t content_len, uint8_t *tag, uint8_t tag_len) {
    ccm c;
    begin(&c, key, nonce, aad, aad_len, content_len, tag_len);
    run(&c, content, content_len, true);
    memcpy(tag, c.mac, tag_len);
    kgl_wipe(&c, sizeof c);
}

bool kgl_ccm_open(const uint8_t key[KGL_KEY_LEN], const uint8_t nonce[KGL_NONCE_LEN], const uint8_t *aad,
                  size_t aad_len, uint8_t *content, size_t content_len, const uint8_t *tag, uint8_t tag_len) {
    ccm c;
    bool is_open;
    begin(&c, key, nonce, aad, aad_len, content_len, tag_len);
    run(&c, content, content_len, false);
    is_open = kgl_is_equal(c.mac, tag, tag_len);
    kgl_wipe(&c, sizeof c);
    if (!is_open) {
        kgl_wipe(content, content_len);
    }
    return is_open;
}

#endif
