/* A ring of flash sectors that records are appended to, and that survives a power cut at any write.
 *
 * record: kind 1, len 2, check 1, CRC-32 4, payload len, erased bytes up to the unit of writing. A sector begins with a
 * record whose payload is magic 4, seq 4, snapshot. Nothing is programmed twice; one sector is always spare; a new
 * sector takes part from the instant its header is whole, and the header carries everything that must outlive the sector
 * that falls out at that same instant. Bytes that no CRC covers are stepped over. */
#include "kgl_node_inner.h"

#define CHUNK 64

static const uint8_t MAGIC[4] = {'K', 'G', 'L', '1'};

/* What a walk through a sector found; `extent` leads to the next thing. */
typedef struct found {
    uint32_t offset, extent;
    uint16_t len;
    uint8_t kind;
    bool is_valid, is_any;
} found;

static uint32_t crc_update(uint32_t crc, const uint8_t *bytes, size_t len) {
    size_t i;
    uint8_t bit;
    for (i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0xEDB88320) : 0);
        }
    }
    return crc;
}

static uint32_t crc_begin(uint8_t kind, uint16_t len) {
    uint8_t head[3];
    head[0] = kind;
    kgl_put_le(head + 1, len, 2);
    return crc_update(UINT32_MAX, head, 3);
}

/* Keeps the walk from reading a payload on the word of bytes that are no header. */
static uint8_t header_check(uint8_t kind, uint16_t len) {
    uint8_t low = (uint8_t)len, high = (uint8_t)(len >> 8);
    kind = (uint8_t)(kind << 3 | kind >> 5);
    high = (uint8_t)(high << 5 | high >> 3);
    return (uint8_t)(0xA6 ^ kind ^ low ^ high);
}

static kgl_status flash_read(const kgl_log *log, uint32_t at, uint8_t *out, size_t len) {
    return log->flash->read(log->flash->context, at, out, len) ? KGL_OK : KGL_ERR_FLASH;
}

/* Bytes in flash of a record with so many of payload. */
static uint32_t extent_of(const kgl_log *log, uint32_t len) {
    return (KGL_RECORD_HEADER_LEN + len + log->unit - 1) / log->unit * log->unit;
}

/* The first byte in from..limit of a sector that is not erased; `limit` if there is none. */
static kgl_status find_written(const kgl_log *log, uint32_t sector, uint32_t from, uint32_t limit, uint32_t *at) {
    uint8_t chunk[CHUNK];
    for (*at = from; *at < limit;) {
        size_t n = limit - *at < CHUNK ? (size_t)(limit - *at) : CHUNK, i;
        KGL_TRY(flash_read(log, sector * log->flash->sector_len + *at, chunk, n));
        for (i = 0; i < n; i++) {
            if (chunk[i] != 0xFF) {
                *at += (uint32_t)i;
                return KGL_OK;
            }
        }
        *at += (uint32_t)n;
    }
    return KGL_OK;
}

/* The header at `offset`, filled up with erased bytes where the sector ends. */
static kgl_status read_record_header(const kgl_log *log, uint32_t sector, uint32_t offset, uint8_t *header) {
    uint32_t room = log->flash->sector_len - offset;
    memset(header, 0xFF, KGL_RECORD_HEADER_LEN);
    return flash_read(log, sector * log->flash->sector_len + offset, header,
                      room < KGL_RECORD_HEADER_LEN ? (size_t)room : KGL_RECORD_HEADER_LEN);
}

static bool is_blank(const uint8_t *bytes, uint8_t len) {
    uint8_t i = 0;
    while (i < len && bytes[i] == 0xFF) {
        i++;
    }
    return i == len;
}

/* The first thing that is not blank in from..limit of a sector. Bytes that are no record count as one unit, a record with a
 * wrong CRC as what its header claims: the walk depends on nothing but the bytes. */
static kgl_status find_record(const kgl_log *log, uint32_t sector, uint32_t from, uint32_t limit, found *out) {
    uint8_t header[KGL_RECORD_HEADER_LEN], chunk[CHUNK];
    uint32_t extent, crc, at, done = 0;
    out->is_any = false;
    if (from >= limit) {
        return KGL_OK;
    }
    out->offset = from;
    KGL_TRY(read_record_header(log, sector, from, header));
    if (is_blank(header, sizeof header)) {
        KGL_TRY(find_written(log, sector, from, limit, &at));
        if (at >= limit) {
            return KGL_OK;
        }
        out->offset = at / log->unit * log->unit;
        KGL_TRY(read_record_header(log, sector, out->offset, header));
    }
    out->is_any = true;
    out->is_valid = false;
    out->kind = header[0];
    out->len = (uint16_t)kgl_get_le(header + 1, 2);
    extent = extent_of(log, out->len);
    if (out->kind == 0xFF || header[3] != header_check(out->kind, out->len) ||
        extent > log->flash->sector_len - out->offset) {
        out->len = 0;
        out->extent = log->unit;
        return KGL_OK;
    }
    out->extent = extent;
    at = sector * log->flash->sector_len + out->offset + KGL_RECORD_HEADER_LEN;
    crc = crc_begin(out->kind, out->len);
    while (done < out->len) {
        size_t n = out->len - done < CHUNK ? (size_t)(out->len - done) : CHUNK;
        KGL_TRY(flash_read(log, at + done, chunk, n));
        crc = crc_update(crc, chunk, n);
        done += (uint32_t)n;
    }
    out->is_valid = ~crc == (uint32_t)kgl_get_le(header + 4, 4);
    return KGL_OK;
}

static kgl_status sector_seq(const kgl_log *log, uint32_t sector, uint32_t *seq, bool *is_ours) {
    uint8_t start[8];
    found f;
    *is_ours = false;
    KGL_TRY(find_record(log, sector, 0, log->unit, &f));
    if (!f.is_any || !f.is_valid || f.kind != KGL_KIND_SECTOR || f.len < 8) {
        return KGL_OK;
    }
    KGL_TRY(flash_read(log, sector * log->flash->sector_len + KGL_RECORD_HEADER_LEN, start, sizeof start));
    *is_ours = memcmp(start, MAGIC, sizeof MAGIC) == 0;
    *seq = (uint32_t)kgl_get_le(start + 4, 4);
    return KGL_OK;
}

/* Where the next record may start in a sector. */
static kgl_status find_end(const kgl_log *log, uint32_t sector, uint32_t *end) {
    found f;
    for (*end = 0;; *end = f.offset + f.extent) {
        KGL_TRY(find_record(log, sector, *end, log->flash->sector_len, &f));
        if (!f.is_any) {
            return KGL_OK;
        }
    }
}

static kgl_status make_blank(const kgl_log *log, uint32_t sector) {
    uint32_t len = log->flash->sector_len, at;
    KGL_TRY(find_written(log, sector, 0, len, &at));
    if (at < len) {
        if (!log->flash->erase(log->flash->context, sector * len)) {
            return KGL_ERR_FLASH;
        }
        KGL_TRY(find_written(log, sector, 0, len, &at));
    }
    return at < len ? KGL_ERR_FLASH : KGL_OK;
}

/* Programs a record and reads it back. Gives its extent. */
static kgl_status write_record(const kgl_log *log, uint32_t at, uint8_t kind, uint8_t *buf, uint32_t len,
                               uint32_t *extent) {
    uint8_t chunk[CHUNK];
    uint32_t done = 0, crc;
    if (len > UINT16_MAX) {
        return KGL_ERR_FLASH_RANGE;
    }
    *extent = extent_of(log, len);
    memset(buf + KGL_RECORD_HEADER_LEN + (size_t)len, 0xFF, (size_t)(*extent - KGL_RECORD_HEADER_LEN - len));
    crc = ~crc_update(crc_begin(kind, (uint16_t)len), buf + KGL_RECORD_HEADER_LEN, (size_t)len);
    buf[0] = kind;
    kgl_put_le(buf + 1, len, 2);
    buf[3] = header_check(kind, (uint16_t)len);
    kgl_put_le(buf + 4, crc, 4);
    (void)log->flash->program(log->flash->context, at, buf, (size_t)*extent);
    /* A driver may report a failure after everything was written: the bytes decide. */
    while (done < *extent) {
        size_t n = *extent - done < CHUNK ? (size_t)(*extent - done) : CHUNK;
        KGL_TRY(flash_read(log, at + done, chunk, n));
        if (memcmp(chunk, buf + (size_t)done, n) != 0) {
            return KGL_ERR_FLASH;
        }
        done += (uint32_t)n;
    }
    return KGL_OK;
}

static uint32_t sector_of(const kgl_log *log, uint32_t seq) {
    uint32_t n = log->flash->n_sectors;
    return (log->head + n - (log->head_seq - seq) % n) % n;
}

static uint32_t address(const kgl_log *log, kgl_place place) {
    return sector_of(log, place.seq) * log->flash->sector_len + place.offset;
}

static kgl_status geometry(kgl_log *log, const kgl_flash *flash) {
    uint32_t write_len = flash->write_len;
    memset(log, 0, sizeof *log);
    log->flash = flash;
    log->unit = write_len > 4 ? write_len : 4;
    /* A seal says in five bytes where its window stands. */
    return write_len >= 1 && write_len <= KGL_WRITE_LEN_MAX && (write_len & (write_len - 1)) == 0 &&
                   flash->sector_len % log->unit == 0 && flash->sector_len >= KGL_SECTOR_LEN_MIN &&
                   flash->sector_len <= UINT32_C(1) << 24 && flash->n_sectors >= KGL_SECTORS_MIN &&
                   flash->n_sectors <= UINT32_C(1) << 16 &&
                   (uint64_t)flash->sector_len * flash->n_sectors <= UINT32_MAX
               ? KGL_OK
               : KGL_ERR_FLASH_RANGE;
}

kgl_status kgl_log_recover(kgl_log *log, const kgl_flash *flash, bool *is_found) {
    uint32_t sector, seq;
    bool is_ours;
    *is_found = false;
    KGL_TRY(geometry(log, flash));
    for (sector = 0; sector < flash->n_sectors; sector++) {
        KGL_TRY(sector_seq(log, sector, &seq, &is_ours));
        if (is_ours && (!*is_found || seq > log->head_seq)) {
            *is_found = true;
            log->head_seq = seq;
            log->head = sector;
        }
    }
    if (!*is_found) {
        return KGL_OK;
    }
    log->tail_seq = log->head_seq;
    while (log->head_seq - log->tail_seq + 1 < flash->n_sectors - 1 && log->tail_seq > 0) {
        KGL_TRY(sector_seq(log, sector_of(log, log->tail_seq - 1), &seq, &is_ours));
        if (!is_ours || seq != log->tail_seq - 1) {
            break;
        }
        log->tail_seq--;
    }
    return find_end(log, log->head, &log->end);
}

kgl_status kgl_log_format(kgl_log *log, const kgl_flash *flash, const uint8_t *snapshot, uint16_t len) {
    uint32_t sector;
    KGL_TRY(geometry(log, flash));
    for (sector = 0; sector < flash->n_sectors; sector++) {
        KGL_TRY(make_blank(log, sector));
    }
    log->head = flash->n_sectors - 1;
    log->head_seq = 0;
    log->tail_seq = 1;
    log->end = flash->sector_len;
    return kgl_log_open_sector(log, snapshot, len);
}

uint32_t kgl_log_payload_len_max(const kgl_log *log) {
    return log->flash->sector_len - extent_of(log, 8 + KGL_SNAPSHOT_LEN_MAX) - KGL_RECORD_OVERHEAD;
}

bool kgl_log_fits(const kgl_log *log, uint32_t len) {
    return log->end + extent_of(log, len) <= log->flash->sector_len;
}

kgl_status kgl_log_is_doubtful(const kgl_log *log, bool *is_doubtful) {
    uint32_t after = (log->head + 1) % log->flash->n_sectors, at, seq;
    bool is_ours;
    *is_doubtful = false;
    KGL_TRY(find_written(log, after, 0, log->flash->sector_len, &at));
    if (at < log->flash->sector_len) {
        KGL_TRY(sector_seq(log, after, &seq, &is_ours));
        *is_doubtful = !is_ours;
    }
    return KGL_OK;
}

kgl_status kgl_log_open_sector(kgl_log *log, const uint8_t *snapshot, uint16_t len) {
    uint8_t buf[KGL_RECORD_OVERHEAD + 8 + KGL_SNAPSHOT_LEN_MAX];
    uint32_t n = log->flash->n_sectors, sector = (log->head + 1) % n, seq = log->head_seq + 1, extent;
    kgl_status status;
    if (log->head_seq == UINT32_MAX) {
        return KGL_ERR_FLASH;
    }
    KGL_TRY(make_blank(log, sector));
    memcpy(buf + KGL_RECORD_HEADER_LEN, MAGIC, 4);
    kgl_put_le(buf + KGL_RECORD_HEADER_LEN + 4, seq, 4);
    memcpy(buf + KGL_RECORD_HEADER_LEN + 8, snapshot, len);
    status = write_record(log, sector * log->flash->sector_len, KGL_KIND_SECTOR, buf, 8U + len, &extent);
    kgl_wipe(buf, sizeof buf);
    KGL_TRY(status);
    log->head = sector;
    log->head_seq = seq;
    log->end = extent;
    if (seq > n - 2 && log->tail_seq < seq - (n - 2)) {
        log->tail_seq = seq - (n - 2);
    }
    return KGL_OK;
}

kgl_status kgl_log_append(kgl_log *log, uint8_t kind, uint8_t *buf, uint32_t len, kgl_place *place) {
    uint32_t extent;
    kgl_status status;
    if (!kgl_log_fits(log, len)) {
        return KGL_ERR_FLASH_RANGE;
    }
    *place = kgl_place_of(log->head_seq, log->end);
    status = write_record(log, address(log, *place), kind, buf, len, &extent);
    if (status == KGL_OK) {
        log->end += extent;
    } else if (find_end(log, log->head, &log->end) != KGL_OK) {
        /* What the failed write left is skipped by the same rule recovery uses. If even reading fails, the rest of
         * this sector is given up. */
        log->end = log->flash->sector_len;
    }
    return status;
}

kgl_status kgl_log_next(const kgl_log *log, kgl_place from, kgl_record *record, bool *is_found) {
    kgl_place tail = kgl_place_of(log->tail_seq, 0), at = kgl_place_before(from, tail) ? tail : from;
    *is_found = false;
    for (; at.seq <= log->head_seq; at = kgl_place_of(at.seq + 1, 0)) {
        uint32_t limit = at.seq == log->head_seq ? log->end : log->flash->sector_len;
        uint32_t sector = sector_of(log, at.seq);
        for (;;) {
            found f;
            KGL_TRY(find_record(log, sector, at.offset, limit, &f));
            if (!f.is_any) {
                break;
            }
            at.offset = f.offset;
            if (f.is_valid && f.kind != KGL_KIND_SECTOR) {
                record->place = at;
                record->kind = f.kind;
                record->len = f.len;
                *is_found = true;
                return KGL_OK;
            }
            at.offset += f.extent;
        }
        if (at.seq == log->head_seq) {
            break;
        }
    }
    return KGL_OK;
}

kgl_place kgl_log_after(const kgl_log *log, const kgl_record *record) {
    return kgl_place_of(record->place.seq, record->place.offset + extent_of(log, record->len));
}

/* The record of this kind at exactly `place`, if there is a whole one. */
kgl_status kgl_log_at(const kgl_log *log, kgl_place place, uint8_t kind, kgl_record *record, bool *is_found) {
    KGL_TRY(kgl_log_next(log, place, record, is_found));
    *is_found = *is_found && record->place.seq == place.seq && record->place.offset == place.offset &&
                record->kind == kind;
    return KGL_OK;
}

kgl_status kgl_log_read(const kgl_log *log, const kgl_record *record, uint16_t skip, uint8_t *out, size_t room,
                        size_t *len) {
    size_t left = record->len > skip ? (size_t)(record->len - skip) : 0;
    *len = left < room ? left : room;
    return flash_read(log, address(log, record->place) + KGL_RECORD_HEADER_LEN + skip, out, *len);
}

/* The snapshot of sector `seq`, which is in the ring. */
kgl_status kgl_log_snapshot(const kgl_log *log, uint32_t seq, uint8_t *out, size_t *len) {
    kgl_record record;
    found f;
    KGL_TRY(find_record(log, sector_of(log, seq), 0, log->flash->sector_len, &f));
    if (!f.is_any || !f.is_valid || f.offset != 0 || f.kind != KGL_KIND_SECTOR) {
        return KGL_ERR_FLASH;
    }
    record.place = kgl_place_of(seq, 0);
    record.kind = KGL_KIND_SECTOR;
    record.len = f.len;
    return kgl_log_read(log, &record, 8, out, KGL_SNAPSHOT_LEN_MAX, len);
}
