/* SHA-256, HMAC and HKDF (FIPS 180-4, RFC 2104, RFC 5869) and AES-128-CCM (FIPS 197, RFC 3610), as much of them as
 * frames need. With KINGLET_USE_MBEDTLS the cipher is mbedTLS's, which uses a chip's AES unit where it has one; the
 * portable one looks up a table, which is constant in time on chips without a data cache and not on others.
 */
#ifndef KGL_CRYPTO_H
#define KGL_CRYPTO_H

#include "kgl_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KGL_SHA256_LEN 32
#define KGL_KEY_LEN 16
#define KGL_NONCE_LEN 13
#define KGL_TAG_LEN 16
#define KGL_SHORT_TAG_LEN 8

typedef struct kgl_sha256 {
    uint32_t state[8];
    uint32_t n_bytes;
    uint8_t block[64];
} kgl_sha256;

void kgl_sha256_init(kgl_sha256 *sha);
void kgl_sha256_update(kgl_sha256 *sha, const uint8_t *bytes, size_t len);
void kgl_sha256_finish(kgl_sha256 *sha, uint8_t out[KGL_SHA256_LEN]);

/* Bytes that are hashed one after the other. */
typedef struct kgl_piece {
    const uint8_t *at;
    size_t len;
} kgl_piece;

/* A key of at most 64 bytes. */
void kgl_hmac(const uint8_t *key, size_t key_len, const kgl_piece *pieces, uint8_t n_pieces,
              uint8_t out[KGL_SHA256_LEN]);
/* HKDF-Expand to at most 32 bytes. */
void kgl_expand(const uint8_t prk[KGL_SHA256_LEN], const kgl_piece *info, uint8_t n_info, uint8_t *out, size_t len);

/* Encrypts in place and makes the tag of KGL_TAG_LEN or KGL_SHORT_TAG_LEN bytes; content below 65,536 bytes, aad below 65,280. */
void kgl_ccm_seal(const uint8_t key[KGL_KEY_LEN], const uint8_t nonce[KGL_NONCE_LEN], const uint8_t *aad,
                  size_t aad_len, uint8_t *content, size_t content_len, uint8_t *tag, uint8_t tag_len);
/* Decrypts in place; false, and the content zero, if the tag is not right. */
bool kgl_ccm_open(const uint8_t key[KGL_KEY_LEN], const uint8_t nonce[KGL_NONCE_LEN], const uint8_t *aad,
                  size_t aad_len, uint8_t *content, size_t content_len, const uint8_t *tag, uint8_t tag_len);

/* Compares in a time that tells nothing. */
bool kgl_is_equal(const uint8_t *a, const uint8_t *b, size_t len);

#ifdef __cplusplus
}
#endif
#endif
