-- Where readings are passed on to, and how far: all windows up to `id` have been confirmed there.
CREATE TABLE forward (
    target   TEXT PRIMARY KEY,
    id       INTEGER NOT NULL,
    -- Windows that retention deleted before they were passed on.
    n_lost   INTEGER NOT NULL DEFAULT 0,
    -- Who passes on, and until when nobody else does.
    owner    INTEGER NOT NULL DEFAULT 0,
    t_leased INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
