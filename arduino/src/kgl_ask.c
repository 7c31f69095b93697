/* When the node asks for a join and when it tells its status, and how long it waits before it says something again. */
#include "kgl_node_inner.h"

#define HINT_WAIT_MIN_MS UINT64_C(30000)
#define HINT_WAIT_MAX_MS UINT64_C(3600000)
/* Status frames that merely bring news keep this distance. */
#define NEWS_EVERY_MS 60000
/* So many unanswered greetings, and data is sent all the same: eight minutes at the default back-off. */
#define GREETINGS_MAX 8

/* A random number from 0 to `limit`. */
uint64_t kgl_up_to(const kgl_node *node, uint64_t limit) {
    uint8_t bytes[4];
    node->random(node->random_context, bytes, sizeof bytes);
    return (kgl_get_le(bytes, 4) * (limit + 1)) >> 32;
}

/* Doubling from the least wait to the longest, give or take a quarter, so that many devices that failed together do not come
 * back together. */
uint64_t kgl_delay_ms(const kgl_node *node, uint8_t attempts) {
    uint32_t least = node->config.retry_min_ms > 0 ? node->config.retry_min_ms : 1;
    uint32_t most = node->config.retry_max_ms > node->config.retry_min_ms ? node->config.retry_max_ms
                                                                          : node->config.retry_min_ms;
    uint8_t doublings = (uint8_t)(attempts > 0 ? attempts - 1 : 0);
    uint64_t delay = (uint64_t)least << (doublings < 31 ? doublings : 31);
    delay = kgl_min_u64(delay, most > 0 ? most : 1);
    return delay - delay / 4 + kgl_up_to(node, delay / 2);
}

/* --- join ---------------------------------------------------------------------------------------------------------------- */

void kgl_join_init(kgl_join *join, bool is_wanted) {
    memset(join, 0, sizeof *join);
    join->state = is_wanted ? KGL_JOIN_WANTED : KGL_JOIN_IDLE;
    join->hint_wait = HINT_WAIT_MIN_MS;
}

/* Somebody says that a join is needed. Anyone in the path can: hints that keep coming are believed less and less. */
void kgl_join_hint(kgl_join *join, uint64_t now) {
    if (join->state != KGL_JOIN_IDLE || now < join->hints_from) {
        return;
    }
    /* After a long quiet the next hint is believed as readily as the first. */
    join->hint_wait = now - join->hints_from >= 4 * join->hint_wait
                          ? HINT_WAIT_MIN_MS
                          : kgl_min_u64(2 * join->hint_wait, HINT_WAIT_MAX_MS);
    join->hints_from = kgl_add_u64(now, join->hint_wait);
    /* A server that lost its memory hints at all its devices at once. */
    join->state = KGL_JOIN_WANTED;
    join->at = now;
    join->spread_ms = 1000;
}

uint64_t kgl_join_poll_at(const kgl_join *join) {
    return join->state == KGL_JOIN_IDLE ? KGL_NONE : join->at;
}

/* True if the request is to be sent now. The same one is repeated until it is answered. */
bool kgl_join_poll(kgl_node *node) {
    kgl_join *join = &node->join;
    if (join->state == KGL_JOIN_WANTED && join->at <= node->now) {
        node->random(node->random_context, join->nonce, sizeof join->nonce);
        join->at = kgl_add_u64(node->now, kgl_up_to(node, join->spread_ms));
        join->state = KGL_JOIN_ASKING;
        join->first_tx = KGL_NONE;
        join->attempts = 0;
        join->known = node->outbox.state.generation;
        memcpy(join->fingerprint, node->outbox.fingerprint, sizeof join->fingerprint);
    }
    if (join->state != KGL_JOIN_ASKING || join->at > node->now) {
        return false;
    }
    if (join->first_tx == KGL_NONE) {
        join->first_tx = node->now;
    }
    join->attempts = (uint8_t)(join->attempts + (join->attempts < UINT8_MAX));
    join->at = kgl_add_u64(node->now, kgl_delay_ms(node, join->attempts));
    return true;
}

/* --- status -------------------------------------------------------------------------------------------------------------- */

void kgl_status_at_boot(kgl_status_due *status) {
    memset(status, 0, sizeof *status);
    status->is_due = status->is_greeting = true;
    status->counter = KGL_NONE;
}

static uint64_t news_from(const kgl_status_due *status) {
    return status->sent_at == 0 ? 0 : kgl_add_u64(status->sent_at, NEWS_EVERY_MS);
}

void kgl_status_want(kgl_status_due *status, uint64_t now) {
    if (!status->is_due) {
        status->is_due = true;
        status->attempts = 0;
        status->retry_at = kgl_max_u64(now, news_from(status));
    }
}

/* Frames of this boot said uptime: now they can be dated. */
void kgl_status_clock_was_set(kgl_status_due *status, uint64_t now) {
    if (status->is_date_owed) {
        status->is_date_owed = false;
        status->is_due = true;
        status->attempts = 0;
        status->retry_at = now;
    }
}

uint64_t kgl_status_poll_at(const kgl_status_due *status, uint32_t lost) {
    if (status->is_due) {
        return status->retry_at;
    }
    return lost != status->lost_acked ? news_from(status) : KGL_NONE;
}

void kgl_status_sent(kgl_node *node, uint64_t counter, uint32_t lost) {
    kgl_status_due *status = &node->status;
    if (!status->is_due) {
        status->is_due = true;
        status->attempts = 0;
    }
    status->attempts = (uint8_t)(status->attempts + (status->attempts < UINT8_MAX));
    status->retry_at = kgl_add_u64(node->now, kgl_delay_ms(node, status->attempts));
    status->counter = counter;
    status->sent_at = node->now;
    status->lost_sent = lost;
}

/* If the ack names the last one, it is done; gives when it was sent. */
bool kgl_status_acked(kgl_status_due *status, const kgl_ack *ack, uint64_t *sent_at) {
    if (status->counter == KGL_NONE || !kgl_ack_covers(ack, status->counter)) {
        return false;
    }
    status->counter = KGL_NONE;
    status->is_due = status->is_greeting = false;
    status->attempts = 0;
    status->lost_acked = status->lost_sent;
    *sent_at = status->sent_at;
    return true;
}

/* True once the server has answered the first one, or had many chances to do so. */
bool kgl_status_is_past_greeting(const kgl_status_due *status) {
    return !status->is_greeting || status->attempts >= GREETINGS_MAX;
}
