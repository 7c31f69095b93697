-- What is or was wrong: a row lasts from raising to clearing. Of one rule, device and channel one at a time is raised.
CREATE TABLE alert (
    id        INTEGER PRIMARY KEY,
    rule      TEXT NOT NULL,
    kind      TEXT NOT NULL,
    device    INTEGER NOT NULL,
    -- Empty where it is about the whole device.
    channel   TEXT NOT NULL,
    -- For people, and as JSON.
    said      TEXT NOT NULL,
    detail    TEXT NOT NULL,
    t_raised  INTEGER NOT NULL,
    t_cleared INTEGER
);
CREATE UNIQUE INDEX alert_raised ON alert (rule, device, channel) WHERE t_cleared IS NULL;

-- Who has not been told yet: that it was raised (step 0), that it was cleared (1).
CREATE TABLE alert_due (
    target TEXT NOT NULL,
    alert  INTEGER NOT NULL,
    step   INTEGER NOT NULL,
    PRIMARY KEY (target, alert, step)
) WITHOUT ROWID;

-- How many of the refused frames were looked at for alerts.
ALTER TABLE reject ADD COLUMN n_judged INTEGER NOT NULL DEFAULT 0;
UPDATE reject SET n_judged = n;
CREATE INDEX reject_unjudged ON reject (day) WHERE n > n_judged;
