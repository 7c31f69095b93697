#include "kgl_crypto.h"

static const uint32_t K[64] KGL_PROGMEM = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t x, uint8_t n) {
    return x >> n | x << (32 - n);
}

static void compress(uint32_t state[8], const uint8_t *block) {
    /* The last 16 words of the schedule, in a ring. */
    uint32_t w[16], v[8];
    uint8_t i;
    memcpy(v, state, sizeof v);
    for (i = 0; i < 16; i++) {
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    }
    for (i = 0; i < 64; i++) {
        uint32_t t1, t2;
        if (i >= 16) {
            uint32_t a = w[(i + 1) & 15], b = w[(i + 14) & 15];
            w[i & 15] += w[(i + 9) & 15] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) +
                         (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
        }
        t1 = v[7] + (rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
             KGL_ROM_U32(&K[i]) + w[i & 15];
        t2 = (rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22)) +
             ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (i = 0; i < 8; i++) {
        state[i] += v[i];
    }
    kgl_wipe(w, sizeof w);
    kgl_wipe(v, sizeof v);
}

void kgl_sha256_init(kgl_sha256 *sha) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, start, sizeof start);
    sha->n_bytes = 0;
}

void kgl_sha256_update(kgl_sha256 *sha, const uint8_t *bytes, size_t len) {
    while (len > 0) {
        size_t at = sha->n_bytes & 63, n = 64 - at < len ? 64 - at : len;
        memcpy(sha->block + at, bytes, n);
        sha->n_bytes += (uint32_t)n;
        bytes += n;
        len -= n;
        if (at + n == 64) {
            compress(sha->state, sha->block);
        }
    }
}

void kgl_sha256_finish(kgl_sha256 *sha, uint8_t out[KGL_SHA256_LEN]) {
    uint64_t n_bits = (uint64_t)sha->n_bytes * 8;
    uint8_t pad[64] = {0x80}, length[8], i;
    size_t at = sha->n_bytes & 63;
    for (i = 0; i < 8; i++) {
        length[i] = (uint8_t)(n_bits >> (56 - 8 * i));
    }
    kgl_sha256_update(sha, pad, at < 56 ? 56 - at : 120 - at);
    kgl_sha256_update(sha, length, 8);
    for (i = 0; i < 32; i++) {
        out[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
    }
    kgl_wipe(sha, sizeof *sha);
}

void kgl_hmac(const uint8_t *key, size_t key_len, const kgl_piece *pieces, uint8_t n_pieces,
              uint8_t out[KGL_SHA256_LEN]) {
    kgl_sha256 sha;
    uint8_t block[64], inner[KGL_SHA256_LEN], i;
    memset(block, 0x36, sizeof block);
    for (i = 0; i < key_len; i++) {
        block[i] = (uint8_t)(block[i] ^ key[i]);
    }
    kgl_sha256_init(&sha);
    kgl_sha256_update(&sha, block, sizeof block);
    for (i = 0; i < n_pieces; i++) {
        kgl_sha256_update(&sha, pieces[i].at, pieces[i].len);
    }
    kgl_sha256_finish(&sha, inner);
    for (i = 0; i < sizeof block; i++) {
        block[i] = (uint8_t)(block[i] ^ (0x36 ^ 0x5c));
    }
    kgl_sha256_init(&sha);
    kgl_sha256_update(&sha, block, sizeof block);
    kgl_sha256_update(&sha, inner, sizeof inner);
    kgl_sha256_finish(&sha, out);
    kgl_wipe(block, sizeof block);
    kgl_wipe(inner, sizeof inner);
}

#define INFO_MAX 10

void kgl_expand(const uint8_t prk[KGL_SHA256_LEN], const kgl_piece *info, uint8_t n_info, uint8_t *out, size_t len) {
    static const uint8_t first = 1;
    kgl_piece pieces[INFO_MAX + 1];
    uint8_t block[KGL_SHA256_LEN];
    memcpy(pieces, info, n_info * sizeof *info);
    pieces[n_info].at = &first;
    pieces[n_info].len = 1;
    kgl_hmac(prk, KGL_SHA256_LEN, pieces, (uint8_t)(n_info + 1), block);
    memcpy(out, block, len);
    kgl_wipe(block, sizeof block);
}

bool kgl_is_equal(const uint8_t *a, const uint8_t *b, size_t len) {
    uint8_t differs = 0;
    size_t i;
    for (i = 0; i < len; i++) {
        differs = (uint8_t)(differs | (a[i] ^ b[i]));
    }
    return differs == 0;
}
