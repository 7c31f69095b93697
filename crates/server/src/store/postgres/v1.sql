-- Times are unix milliseconds, days are days since 1970-01-01 (UTC). Numbers of 32 and 48 bits lie in bigint.
CREATE TABLE device (
    -- Handed out by a sequence: never twice, whichever server asks.
    short_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text NOT NULL UNIQUE,
    name         text NOT NULL,
    wrapped_key  bytea NOT NULL,
    join_state   bytea NOT NULL,
    join_version bigint NOT NULL DEFAULT 0,
    t_created    bigint NOT NULL,
    t_revoked    bigint,
    status       bytea,
    -- The frame the status came in, so that an older one does not replace it.
    status_generation bigint NOT NULL DEFAULT -1,
    status_counter    bigint NOT NULL DEFAULT -1,
    windows_lost bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE slot (
    device      bigint NOT NULL,
    slot        smallint NOT NULL,
    fingerprint bytea NOT NULL,
    PRIMARY KEY (device, slot)
);

CREATE TABLE bundle (
    fingerprint bytea PRIMARY KEY,
    name        text NOT NULL,
    bytes       bytea NOT NULL,
    t_added     bigint NOT NULL
);

-- One row per window: the opened code and what it takes to decode it. Its number decides that it is kept once.
CREATE TABLE stored_window (
    id         bigint GENERATED ALWAYS AS IDENTITY,
    -- The transaction that stored it. Ids are handed out before the commit, so a lower one may become visible
    -- later; what transactions older than every running one have stored is complete (see windows.rs).
    xact       bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    device     bigint NOT NULL,
    generation bigint NOT NULL,
    counter    bigint NOT NULL,
    t_first    bigint NOT NULL,
    t_arrival  bigint NOT NULL,
    t_quality  smallint NOT NULL,
    boot       bigint,
    uptime     bigint,
    frame_len  bigint NOT NULL,
    crc        bigint NOT NULL,
    -- What the background pass found.
    is_decoded boolean NOT NULL DEFAULT false,
    flaw       smallint NOT NULL DEFAULT 0,
    n_samples  bigint,
    span_ms    bigint,
    bundle     bytea NOT NULL,
    tag        bytea NOT NULL,
    code       bytea NOT NULL,
    PRIMARY KEY (device, generation, counter)
) WITH (fillfactor = 85);
CREATE INDEX stored_window_time ON stored_window (device, t_first, id);
CREATE INDEX stored_window_tail ON stored_window (xact, id);
-- Windows whose time still waits for their boot to be dated.
CREATE INDEX stored_window_undated ON stored_window (device, boot) WHERE t_quality = 5;

-- Frames accepted under a number that names no window: status frames, and windows sealed again.
CREATE TABLE other_frame (
    device     bigint NOT NULL,
    generation bigint NOT NULL,
    counter    bigint NOT NULL,
    tag        bytea NOT NULL,
    PRIMARY KEY (device, generation, counter)
);

-- Every counter ever accepted, as ranges in the form of the wire crate. Outlives the windows.
CREATE TABLE received (
    device     bigint NOT NULL,
    generation bigint NOT NULL,
    highest    bigint NOT NULL,
    ranges     bytea NOT NULL,
    PRIMARY KEY (device, generation)
) WITH (fillfactor = 50);

CREATE TABLE boot (
    device bigint NOT NULL,
    boot   bigint NOT NULL,
    t_boot bigint NOT NULL,
    PRIMARY KEY (device, boot)
);

CREATE TABLE day_stats (
    device     bigint NOT NULL,
    day        integer NOT NULL,
    t_last     bigint NOT NULL,
    frames     bigint NOT NULL,
    bytes      bigint NOT NULL,
    windows    bigint NOT NULL,
    readings   bigint NOT NULL,
    duplicates bigint NOT NULL,
    PRIMARY KEY (device, day)
) WITH (fillfactor = 70);

CREATE TABLE reject (
    device bigint NOT NULL,
    day    integer NOT NULL,
    reason text NOT NULL,
    n      bigint NOT NULL,
    PRIMARY KEY (device, day, reason)
);

-- How far the background pass has looked: windows up to here are filed and counted in day_stats, those after
-- it count by their rows.
CREATE TABLE progress (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    xact bigint NOT NULL,
    id   bigint NOT NULL
);
INSERT INTO progress VALUES (true, 0, 0);

-- Every count there is; several rows may speak of the same device and day.
CREATE VIEW day_count AS
SELECT device, day, t_last, frames, bytes, windows, readings, duplicates FROM day_stats
UNION ALL
SELECT device, floor(t_arrival / 86400000.0)::integer, max(t_arrival), count(*), sum(frame_len)::bigint, count(*), 0, 0
FROM stored_window WHERE (xact, id) > ((SELECT xact FROM progress), (SELECT id FROM progress)) AND NOT is_decoded
GROUP BY 1, 2;

-- Readings of the seed's own mode: one series per name and bundle, its samples in blocks of what was flushed at once.
CREATE TABLE seed_series (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device    text NOT NULL,
    bundle    bytea NOT NULL,
    -- JSON: [[name, unit], …]
    channels  text NOT NULL,
    n_samples bigint NOT NULL,
    t_last    bigint NOT NULL,
    UNIQUE (device, bundle)
);

-- A block spans an hour at most, so that who asks for a time knows where to begin.
CREATE TABLE seed_block (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series    bigint NOT NULL,
    t_first   bigint NOT NULL,
    n_samples bigint NOT NULL,
    -- For each sample its time (i64) and its values (f32 each), little-endian.
    samples   bytea NOT NULL
);
CREATE INDEX seed_block_order ON seed_block (series, t_first);
