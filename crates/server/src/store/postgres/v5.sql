-- What is or was wrong: a row lasts from raising to clearing. Of one rule, device and channel one at a time is raised.
CREATE TABLE alert (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule      text NOT NULL,
    kind      text NOT NULL,
    device    bigint NOT NULL,
    -- Empty where it is about the whole device.
    channel   text NOT NULL,
    -- For people, and as JSON.
    said      text NOT NULL,
    detail    text NOT NULL,
    t_raised  bigint NOT NULL,
    t_cleared bigint
);
CREATE UNIQUE INDEX alert_raised ON alert (rule, device, channel) WHERE t_cleared IS NULL;

-- Who has not been told yet: that it was raised (step 0), that it was cleared (1).
CREATE TABLE alert_due (
    target text NOT NULL,
    alert  bigint NOT NULL,
    step   smallint NOT NULL,
    PRIMARY KEY (target, alert, step)
);

-- How many of the refused frames were looked at for alerts.
ALTER TABLE reject ADD COLUMN n_judged bigint NOT NULL DEFAULT 0;
UPDATE reject SET n_judged = n;
CREATE INDEX reject_unjudged ON reject (day) WHERE n > n_judged;
