/* The device's clock: monotonic milliseconds, and the bounds within which its offset to unix time lies. */
#include "kgl_node_inner.h"

/* How long a clock counts as synchronised after it was set. */
#define SYNCED_MS UINT64_C(86400000)
/* A crystal keeps this: one part in so many. */
#define DRIFT 10000
/* No clock needs to be better than this. */
#define TOLERANCE_MIN_MS 500
/* After so many answers that came too slowly, slower ones have to do. */
#define PATIENCE 4

int64_t kgl_add_i64(int64_t a, int64_t b) {
    if (b > 0 && a > INT64_MAX - b) {
        return INT64_MAX;
    }
    return b < 0 && a < INT64_MIN - b ? INT64_MIN : a + b;
}

int64_t kgl_sub_i64(int64_t a, int64_t b) {
    if (b < 0 && a > INT64_MAX + b) {
        return INT64_MAX;
    }
    return b > 0 && a < INT64_MIN + b ? INT64_MIN : a - b;
}

int64_t kgl_signed_ms(uint64_t ms) {
    return ms > INT64_MAX ? INT64_MAX : (int64_t)ms;
}

void kgl_clock_init(kgl_clock *clock, uint32_t period_ms) {
    memset(clock, 0, sizeof *clock);
    clock->tolerance_ms = period_ms / 4 > TOLERANCE_MIN_MS ? (int64_t)(period_ms / 4) : TOLERANCE_MIN_MS;
}

/* Unix milliseconds at uptime 0, if known well enough to date samples. */
bool kgl_clock_offset(const kgl_clock *clock, int64_t *offset) {
    *offset = clock->guess;
    return clock->is_bounded && kgl_sub_i64(clock->latest, clock->earliest) / 2 <= clock->tolerance_ms;
}

kgl_quality kgl_clock_quality(const kgl_clock *clock, uint64_t now) {
    int64_t ignored;
    if (!kgl_clock_offset(clock, &ignored)) {
        return KGL_QUALITY_UNKNOWN;
    }
    return kgl_sub_u64(now, clock->set_at) > SYNCED_MS ? KGL_QUALITY_HELD : KGL_QUALITY_SYNCED;
}

/* It is `unix_ms` now, on good authority. */
void kgl_clock_set(kgl_clock *clock, uint64_t now, int64_t unix_ms) {
    clock->guess = clock->earliest = clock->latest = kgl_sub_i64(unix_ms, kgl_signed_ms(now));
    clock->is_bounded = true;
    clock->set_at = now;
}

/* The server's clock showed `unix_ms` at some instant between `asked` and `now`. Whatever the link's delay, the true offset
 * lies between those two readings of it. Each answer narrows the bounds; one that contradicts them, the drift since allowed
 * for, takes their place. `once`: the question was sent once. */
void kgl_clock_learn(kgl_clock *clock, uint64_t asked, uint64_t now, int64_t unix_ms, bool once) {
    int64_t earliest = kgl_sub_i64(unix_ms, kgl_signed_ms(now));
    int64_t latest = kgl_sub_i64(unix_ms, kgl_signed_ms(kgl_min_u64(asked, now)));
    int64_t drift = kgl_add_i64(kgl_signed_ms(kgl_sub_u64(now, clock->set_at) / DRIFT), 1), offset;
    bool was_known = kgl_clock_offset(clock, &offset);
    if (clock->is_bounded) {
        int64_t low = kgl_sub_i64(clock->earliest, drift), high = kgl_add_i64(clock->latest, drift);
        low = low > earliest ? low : earliest;
        high = high < latest ? high : latest;
        if (low <= high) {
            earliest = low;
            latest = high;
        }
    }
    if (was_known) {
        clock->guess = offset < earliest ? earliest : offset > latest ? latest : offset;
    } else {
        clock->guess = kgl_add_i64(earliest, kgl_sub_i64(latest, earliest) / 2);
    }
    clock->earliest = earliest;
    clock->latest = latest;
    clock->is_bounded = true;
    clock->set_at = now;
    clock->n_learned = (uint8_t)(clock->n_learned + once);
    if (once && clock->n_learned % PATIENCE == 0 && !kgl_clock_offset(clock, &offset)) {
        clock->tolerance_ms = kgl_add_i64(clock->tolerance_ms, clock->tolerance_ms);
    }
}

/* The better of what is known: a stamp of this boot becomes unix time once the clock is set. */
kgl_stamp kgl_clock_resolve(const kgl_clock *clock, uint64_t now, uint32_t boot, bool is_dated, uint32_t dated_boot,
                            int64_t dated_offset, kgl_stamp stamp) {
    int64_t offset;
    bool is_known = kgl_clock_offset(clock, &offset);
    if (stamp.is_unix) {
        return stamp;
    }
    if (is_known && stamp.boot == boot) {
        stamp.is_synced = kgl_clock_quality(clock, now) == KGL_QUALITY_SYNCED;
    } else if (is_dated && stamp.boot == dated_boot) {
        stamp.is_synced = false;
        offset = dated_offset;
    } else {
        return stamp;
    }
    stamp.is_unix = true;
    stamp.ms = kgl_add_i64(offset, stamp.ms < 0 ? INT64_MAX : stamp.ms);
    stamp.boot = 0;
    return stamp;
}

/* As it stands in a frame. `whole_s`: rounded to whole seconds, which takes two bytes less. */
kgl_time kgl_stamp_time(kgl_stamp stamp, bool whole_s) {
    kgl_time time;
    int64_t ms = stamp.ms;
    memset(&time, 0, sizeof time);
    if (!stamp.is_unix) {
        time.kind = KGL_TIME_UPTIME;
        time.quality = KGL_QUALITY_UNKNOWN;
        time.boot = (uint16_t)stamp.boot;
        time.value = (uint64_t)(ms < 0 || ms > KGL_MILLIS_MAX ? KGL_MILLIS_MAX : ms);
        return time;
    }
    ms = ms < 0 ? 0 : ms > KGL_MILLIS_MAX ? KGL_MILLIS_MAX : ms;
    ms = whole_s ? (ms + 500) / 1000 * 1000 : ms;
    time.quality = stamp.is_synced ? KGL_QUALITY_SYNCED : KGL_QUALITY_HELD;
    if (ms > KGL_MILLIS_MAX) {
        time.kind = KGL_TIME_ARRIVAL;
    } else if (ms % 1000 == 0 && ms / 1000 <= (int64_t)UINT32_MAX) {
        time.kind = KGL_TIME_UNIX_S;
        time.value = (uint64_t)(ms / 1000);
    } else {
        time.kind = KGL_TIME_UNIX_MS;
        time.value = (uint64_t)ms;
    }
    return time;
}
