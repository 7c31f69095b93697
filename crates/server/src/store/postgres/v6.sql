-- The clock retention goes by. A store that holds something begins with the time of its newest arrival.
CREATE TABLE age_clock (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    t_ms      bigint NOT NULL,
    -- How far the database's clock was ahead at the last look, and for how long servers have run by it.
    ahead_ms  bigint NOT NULL,
    waited_ms bigint NOT NULL
);
INSERT INTO age_clock (t_ms, ahead_ms, waited_ms) SELECT t, 0, 0 FROM (SELECT max(t_last) AS t FROM day_count) c WHERE t IS NOT NULL;
