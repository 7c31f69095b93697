-- Readings of the seed's own mode: one series per name and bundle, its samples in blocks of what was flushed at once.
CREATE TABLE seed_series (
    id        INTEGER PRIMARY KEY,
    device    TEXT NOT NULL,
    bundle    BLOB NOT NULL,
    -- JSON: [[name, unit], …]
    channels  TEXT NOT NULL,
    n_samples INTEGER NOT NULL,
    t_last    INTEGER NOT NULL,
    UNIQUE (device, bundle)
);

-- A block spans an hour at most, so that who asks for a time knows where to begin.
CREATE TABLE seed_block (
    id        INTEGER PRIMARY KEY,
    series    INTEGER NOT NULL,
    t_first   INTEGER NOT NULL,
    n_samples INTEGER NOT NULL,
    -- For each sample its time (i64) and its values (f32 each), little-endian.
    samples   BLOB NOT NULL
);
CREATE INDEX seed_block_order ON seed_block (series, t_first);
