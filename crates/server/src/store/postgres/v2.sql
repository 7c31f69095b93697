-- Where readings are passed on to, and how far: all windows up to this place in the tail have been confirmed there.
CREATE TABLE forward (
    target   text PRIMARY KEY,
    xact     bigint NOT NULL,
    id       bigint NOT NULL,
    -- Windows that retention deleted before they were passed on.
    n_lost   bigint NOT NULL DEFAULT 0,
    -- Which server passes on, and until when no other does.
    owner    bigint NOT NULL DEFAULT 0,
    t_leased bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
