/* Flash in memory that keeps NOR's rules and loses power when told to: the same one, write for write, as
 * crates/node/src/flash/mem.rs. */
#ifndef KGL_TEST_MEM_FLASH_H
#define KGL_TEST_MEM_FLASH_H

#include <kgl_node.h>

typedef struct mem_flash {
    kgl_flash flash;
    uint8_t *bytes;
    uint32_t until_cut, tear, n_writes;
    bool is_cut_set, is_dead;
} mem_flash;

static uint32_t mem_len(const mem_flash *m) {
    return m->flash.sector_len * m->flash.n_sectors;
}

static bool mem_read(void *context, uint32_t at, uint8_t *out, size_t len) {
    mem_flash *m = (mem_flash *)context;
    if (m->is_dead || at > mem_len(m) || len > mem_len(m) - at) {
        return false;
    }
    memcpy(out, m->bytes + at, len);
    return true;
}

/* Counts one write; true if the power goes in it, after `*k` of its bytes. */
static bool mem_is_torn(mem_flash *m, size_t len, size_t *k) {
    m->n_writes++;
    if (!m->is_cut_set) {
        return false;
    }
    if (m->until_cut > 0) {
        m->until_cut--;
        return false;
    }
    m->is_dead = true;
    *k = m->tear % (len + 1);
    return true;
}

static bool mem_program(void *context, uint32_t at, const uint8_t *bytes, size_t len) {
    mem_flash *m = (mem_flash *)context;
    size_t k, i;
    if (m->is_dead || at > mem_len(m) || len > mem_len(m) - at || at % m->flash.write_len != 0 ||
        len % m->flash.write_len != 0) {
        return false;
    }
    for (i = 0; i < len; i++) {
        if (m->bytes[at + i] != 0xFF) {
            return false;
        }
    }
    if (!mem_is_torn(m, len, &k)) {
        memcpy(m->bytes + at, bytes, len);
        return true;
    }
    memcpy(m->bytes + at, bytes, k);
    if (k < len) {
        /* Some of this byte's bits were already pulled to zero. */
        m->bytes[at + k] = (uint8_t)(bytes[k] | (uint8_t)(m->tear >> 8));
    }
    return false;
}

static bool mem_erase(void *context, uint32_t at) {
    mem_flash *m = (mem_flash *)context;
    size_t len = m->flash.sector_len, k, i;
    if (m->is_dead || at >= mem_len(m) || at % m->flash.sector_len != 0) {
        return false;
    }
    if (!mem_is_torn(m, len, &k)) {
        memset(m->bytes + at, 0xFF, len);
        return true;
    }
    /* Erasing pulls bits up everywhere at once: a part is done, the rest is half way. */
    memset(m->bytes + at, 0xFF, k);
    for (i = k; i < len && (m->tear & 1) == 1; i++) {
        m->bytes[at + i] = (uint8_t)(m->bytes[at + i] | (uint8_t)(m->tear >> ((i - k) % 24)));
    }
    return false;
}

static void mem_init(mem_flash *m, uint8_t *bytes, uint32_t sector_len, uint32_t n_sectors, uint32_t write_len) {
    memset(m, 0, sizeof *m);
    m->bytes = bytes;
    m->flash.context = m;
    m->flash.sector_len = sector_len;
    m->flash.n_sectors = n_sectors;
    m->flash.write_len = write_len;
    m->flash.read = mem_read;
    m->flash.program = mem_program;
    m->flash.erase = mem_erase;
    memset(bytes, 0xFF, sector_len * n_sectors);
}

#endif
