/* A program that uses one part of the library, so that a linker keeps it: SIZE_NONE, SIZE_CODEC, SIZE_WIRE, SIZE_ALL
 * (codec and wire) or SIZE_NODE (everything). What it does means nothing. */
#include <Kinglet.h>

/* Nobody knows these, so nothing is computed beforehand. */
extern uint8_t memory[];
extern volatile uint32_t anything;
extern kgl_status_content status;
extern kgl_time time;
extern kgl_origin origin;

#if defined(SIZE_CODEC) || defined(SIZE_ALL)
static void codec(void) {
    static kgl_model model;
    size_t len;
    bool is_exact;
    if (kgl_model_parse(&model, memory, anything) == KGL_OK) {
        uint8_t fingerprint[KGL_FINGERPRINT_LEN];
        kgl_model_fingerprint(&model, fingerprint);
        memory[0] = fingerprint[anything & 15];
        anything = (uint32_t)kgl_quantise(&model, 0, kgl_reading_of((int64_t)anything, 1), &is_exact);
        anything = kgl_encode(&model, (const int32_t *)(void *)memory, anything, is_exact, (int32_t *)(void *)memory,
                              anything, memory, anything, &len, NULL);
    }
}
#endif

#if defined(SIZE_WIRE) || defined(SIZE_ALL)
static void wire(void) {
    static kgl_id id;
    kgl_link_key key;
    kgl_down down;
    kgl_accept accept;
    kgl_ack ack;
    uint8_t *content;
    size_t len;
    (void)kgl_id_make(&id, (const char *)memory);
    kgl_join_key(memory, &id, memory);
    len = kgl_request_emit(memory, memory, &id, memory, anything, memory);
    if (kgl_accept_open(memory, len, memory, &accept) == KGL_OK) {
        kgl_generation_secret(memory, &id, accept.generation, accept.device_nonce, accept.server_nonce, memory);
    }
    kgl_up_key(memory, KGL_SUITE_CCM16, &key);
    len = kgl_up_header(memory, KGL_KIND_DATA, KGL_SUITE_CCM16, anything, 0, anything, anything, false);
    len = kgl_seal(&key, &id, anything, memory, memory, len,
                   kgl_data_head(memory, time, origin, false) + kgl_status_emit(memory, &status));
    if (kgl_down_parse(memory, len, KGL_SUITE_CCM16, &down) == KGL_OK) {
        kgl_down_key(memory, down.run, KGL_SUITE_CCM16, &key);
        if (kgl_open(&key, &id, anything, NULL, memory, len, KGL_DOWN_HEADER_LEN, &content, &len) == KGL_OK &&
            kgl_ack_parse(content, len, &ack) == KGL_OK) {
            anything = kgl_ack_covers(&ack, anything);
        }
    }
}
#endif

#ifdef SIZE_NODE
static void draw(void *context, uint8_t *out, size_t len) {
    (void)context;
    memset(out, (int)anything, len);
}

static void node(void) {
    static kgl_node device;
    static kgl_model model;
    kgl_transmit transmit;
    kgl_downlink did;
    kgl_config config = kgl_config_default();
    kgl_reading reading = kgl_reading_of((int64_t)anything, 1);
    if (kgl_model_parse(&model, memory, anything) == KGL_OK &&
        kgl_node_open(&device, (const kgl_flash *)(void *)memory, draw, NULL, (const char *)memory, memory, &model,
                      (const kgl_buffers *)(void *)memory, &config) == KGL_OK) {
        anything = kgl_node_sample(&device, anything, &reading, 1);
        anything = kgl_node_poll(&device, anything, memory, anything, &transmit);
        anything = kgl_node_downlink(&device, anything, memory, transmit.len, &did);
        kgl_node_receipt(&device, anything, &transmit);
        kgl_node_join_hint(&device, anything);
        kgl_node_link_up(&device, anything);
        anything = kgl_node_flush(&device, anything) + (uint32_t)kgl_node_poll_at(&device);
    }
}
#endif

int main(void);
int main(void) {
#if defined(SIZE_CODEC) || defined(SIZE_ALL)
    codec();
#endif
#if defined(SIZE_WIRE) || defined(SIZE_ALL)
    wire();
#endif
#ifdef SIZE_NODE
    node();
#endif
    return 0;
}

uint8_t memory[4096];
volatile uint32_t anything;
kgl_status_content status;
kgl_time time;
kgl_origin origin;
