-- Times are unix milliseconds, days are days since 1970-01-01 (UTC).
CREATE TABLE device (
    short_id     INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    wrapped_key  BLOB NOT NULL,
    join_state   BLOB NOT NULL,
    join_version INTEGER NOT NULL DEFAULT 0,
    t_created    INTEGER NOT NULL,
    t_revoked    INTEGER,
    status       BLOB,
    -- The frame the status came in, so that an older one does not replace it.
    status_generation INTEGER NOT NULL DEFAULT -1,
    status_counter    INTEGER NOT NULL DEFAULT -1,
    windows_lost INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE slot (
    device      INTEGER NOT NULL,
    slot        INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    PRIMARY KEY (device, slot)
) WITHOUT ROWID;

CREATE TABLE bundle (
    fingerprint BLOB PRIMARY KEY,
    name        TEXT NOT NULL,
    bytes       BLOB NOT NULL,
    t_added     INTEGER NOT NULL
);

-- One row per window: the opened code and what it takes to decode it. Only ever appended to while frames
-- come in: rows of all devices share the last pages, and a commit writes few of them. Ids are handed out by
-- the writer (above every id there is and `progress.decoded_to`): the background pass follows the table by
-- id, and an id must never come twice.
CREATE TABLE window (
    id         INTEGER PRIMARY KEY,
    device     INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    counter    INTEGER NOT NULL,
    t_first    INTEGER NOT NULL,
    t_arrival  INTEGER NOT NULL,
    t_quality  INTEGER NOT NULL,
    boot       INTEGER,
    uptime     INTEGER,
    frame_len  INTEGER NOT NULL,
    crc        INTEGER NOT NULL,
    bundle     BLOB NOT NULL,
    tag        BLOB NOT NULL,
    code       BLOB NOT NULL
);

-- The background pass writes the next two, many windows at a time: what device and time lead to, with what
-- the pass found in the window, and what device and number lead to. Both hold the windows up to
-- `progress.decoded_to` and none after it; whoever asks reads those after it (the tail) from `window`.
CREATE TABLE window_order (
    device    INTEGER NOT NULL,
    t_first   INTEGER NOT NULL,
    id        INTEGER NOT NULL,
    n_samples INTEGER,
    span_ms   INTEGER,
    flaw      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (device, t_first, id)
) WITHOUT ROWID;

CREATE TABLE window_number (
    device     INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    counter    INTEGER NOT NULL,
    id         INTEGER NOT NULL,
    PRIMARY KEY (device, generation, counter)
) WITHOUT ROWID;

-- Frames accepted under a number that names no window: status frames, and windows sealed again.
CREATE TABLE other_frame (
    device     INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    counter    INTEGER NOT NULL,
    tag        BLOB NOT NULL,
    PRIMARY KEY (device, generation, counter)
) WITHOUT ROWID;

-- Every counter ever accepted, as ranges in the form of the wire crate. Outlives the windows.
CREATE TABLE received (
    device     INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    highest    INTEGER NOT NULL,
    ranges     BLOB NOT NULL,
    PRIMARY KEY (device, generation)
) WITHOUT ROWID;

CREATE TABLE boot (
    device INTEGER NOT NULL,
    boot   INTEGER NOT NULL,
    t_boot INTEGER NOT NULL,
    PRIMARY KEY (device, boot)
) WITHOUT ROWID;

CREATE TABLE day_stats (
    device     INTEGER NOT NULL,
    day        INTEGER NOT NULL,
    t_last     INTEGER NOT NULL,
    frames     INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    windows    INTEGER NOT NULL,
    readings   INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    PRIMARY KEY (device, day)
) WITHOUT ROWID;

CREATE TABLE reject (
    device INTEGER NOT NULL,
    day    INTEGER NOT NULL,
    reason TEXT NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (device, day, reason)
) WITHOUT ROWID;

-- How far the background pass has looked.
CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), decoded_to INTEGER NOT NULL);
INSERT INTO progress VALUES (1, 0);

-- Windows whose time still waits for their boot to be dated.
CREATE INDEX window_undated ON window (device, boot) WHERE t_quality = 5;
