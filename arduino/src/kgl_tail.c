/* The end of the newest window: what the next one may be coded after, once its ack has come. It is in memory alone; after a
 * reboot, and whenever windows pile up, there is none, and windows go out alone. */
#include "kgl_codec_inner.h"
#include "kgl_node_inner.h"

/* Samples that may be missing between a window and one that is coded after it. */
#define MISSED_MAX 2

static size_t tail_len(const kgl_model *model) {
    return kgl_has_references(model) ? (size_t)KGL_TAIL_SAMPLES_MAX * model->n_channels : 0;
}

size_t kgl_node_steps_len(const kgl_model *model) {
    return (size_t)model->n_samples * model->n_channels + tail_len(model);
}

size_t kgl_node_code_len(const kgl_model *model) {
    return (kgl_has_references(model) ? 2 : 1) * kgl_code_len_max(model) + KGL_CODE_OVERHEAD;
}

static int32_t *tail_of(const kgl_node *node) {
    return node->buffers.steps + (size_t)node->model.n_samples * node->model.n_channels;
}

void kgl_tail_keep(kgl_node *node, uint32_t id, size_t n_samples) {
    kgl_tail *tail = &node->tail;
    size_t n = n_samples * node->model.n_channels, kept = tail_len(&node->model);
    kept = kept < n ? kept : n;
    memcpy(tail_of(node), node->buffers.workspace + (n - kept), kept * sizeof(int32_t));
    tail->n_values = (uint16_t)kept;
    tail->id = id;
    tail->is_unix = node->window.is_unix;
    tail->next = kgl_add_i64(node->window.first, (int64_t)((uint64_t)node->model.period_ms * n_samples));
    tail->is_acked = false;
}

void kgl_tail_acked(kgl_tail *tail, uint32_t id, uint32_t generation, uint64_t counter) {
    if (tail->n_values > 0 && tail->id == id) {
        tail->is_acked = true;
        tail->generation = generation;
        tail->counter = counter;
    }
}

/* The distance from the tail's window to the open one, if that will be sealed under this counter; 0 if the server is not
 * known to have it, or if it is too far. */
static uint8_t distance_of(const kgl_node *node, uint64_t counter) {
    const kgl_tail *tail = &node->tail;
    int64_t missed;
    if (!tail->is_acked || tail->generation != node->outbox.state.generation || tail->is_unix != node->window.is_unix ||
        counter <= tail->counter || counter - tail->counter > KGL_DISTANCE_MAX) {
        return 0;
    }
    missed = kgl_sub_i64(tail->next, node->window.first);
    missed = missed < 0 ? kgl_sub_i64(0, missed) : missed;
    return missed <= MISSED_MAX * (int64_t)node->model.period_ms ? (uint8_t)(counter - tail->counter) : 0;
}

/* Encodes the whole open window after the tail, its two codes from KGL_CODES_AT on. Not made if it cannot be, or if that
 * brings nothing. The code that stands alone has to fit a frame as well, so where frames are filled windows stand alone. */
kgl_status kgl_tail_encode(kgl_node *node, size_t len_max, kgl_after *after, kgl_referring *made) {
    kgl_encode_buffers buffers;
    uint8_t distance = 0;
    made->is_made = false;
    if (kgl_has_references(&node->model) && node->config.fill_len == 0 && kgl_outbox_counter_if_cut(&node->outbox, &after->counter)) {
        distance = distance_of(node, after->counter);
    }
    if (distance == 0) {
        return KGL_OK;
    }
    buffers.workspace = node->buffers.workspace;
    buffers.workspace_len = node->buffers.workspace_len;
    buffers.out = node->buffers.code + KGL_CODES_AT;
    buffers.out_len = node->buffers.code_len - KGL_CODES_AT;
    KGL_TRY(kgl_encode_after(&node->model, tail_of(node), node->tail.n_values, distance, node->buffers.steps,
                             node->window.n_samples * node->model.n_channels, node->window.off_grid, &buffers, made));
    made->is_made = made->is_made && made->code_len <= UINT16_MAX && made->alone_len <= len_max &&
                    kgl_outbox_fits_codes(&node->outbox, made->code_len + made->alone_len);
    if (made->is_made) {
        after->is_given = true;
        after->generation = node->outbox.state.generation;
        after->code_len = (uint16_t)made->code_len;
    }
    return KGL_OK;
}
