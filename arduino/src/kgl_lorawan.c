/* A frame in a LoRaWAN payload: without what the network says already. */
#include "kgl_bytes.h"
#include "kgl_wire.h"

/* Where the short id stands in a frame, and what comes behind it. */
#define SHORT_ID 2
#define BEHIND_ID 6

/* The first two bytes, and those from `from` on. */
static size_t cut(uint8_t *out, const uint8_t *frame, size_t len, size_t from) {
    memmove(out, frame, 2);
    memmove(out + 2, frame + from, len - from);
    return 2 + len - from;
}

size_t kgl_lorawan_pack(kgl_packer *packer, const uint8_t *frame, size_t len, uint8_t *out, uint8_t *port) {
    kgl_kind kind = kgl_kind_of(frame, len, KGL_SUITE_CCM8);
    bool is_wide, is_long;
    uint64_t counter;
    *port = KGL_LORAWAN_PORT;
    if (kgl_kind_of(frame, len, KGL_SUITE_CCM16) == KGL_KIND_JOIN_REQUEST) {
        memmove(out, frame, len);
        return len;
    }
    is_wide = len > 0 && (frame[0] & 1) != 0;
    if ((kind != KGL_KIND_DATA && kind != KGL_KIND_STATUS) ||
        len < (is_wide ? KGL_UP_HEADER_WIDE_LEN : KGL_UP_HEADER_LEN) + KGL_SHORT_TAG_LEN) {
        return 0;
    }
    counter = kgl_get_be(frame + BEHIND_ID, is_wide ? 6 : 4);
    /* The server may have lost its bearings: before it was heard, in a repeat, and once in 256 frames. */
    is_long = is_wide || !packer->is_heard || counter < packer->next || counter % 256 == 0;
    if (counter >= packer->next) {
        packer->next = counter + 1;
    }
    *port = is_long ? KGL_LORAWAN_PORT_LONG : KGL_LORAWAN_PORT;
    return cut(out, frame, len, is_long ? BEHIND_ID : BEHIND_ID + 2);
}

size_t kgl_lorawan_expand(const uint8_t *payload, size_t len, uint32_t short_id, uint8_t *out) {
    kgl_down down;
    if (kgl_kind_of(payload, len, KGL_SUITE_CCM16) == KGL_KIND_JOIN_ACCEPT) {
        memcpy(out, payload, len);
        return len;
    }
    if (len < 2) {
        return 0;
    }
    memcpy(out, payload, 2);
    kgl_put_be(out + SHORT_ID, short_id, 4);
    memcpy(out + BEHIND_ID, payload + 2, len - 2);
    return kgl_down_parse(out, len + 4, KGL_SUITE_CCM8, &down) == KGL_OK ? len + 4 : 0;
}
