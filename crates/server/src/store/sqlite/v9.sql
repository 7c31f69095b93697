-- The clock retention goes by. A store that holds something begins with the time of its newest arrival.
CREATE TABLE age_clock (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    t_ms      INTEGER NOT NULL,
    -- How far the system's clock was ahead at the last look, and for how long servers have run by it.
    ahead_ms  INTEGER NOT NULL,
    waited_ms INTEGER NOT NULL
);
INSERT INTO age_clock SELECT 1, t, 0, 0 FROM (SELECT MAX(t_last) AS t FROM day_count) WHERE t IS NOT NULL;
