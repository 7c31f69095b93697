-- Who is let in: people by a password, their browsers by sessions, programs by tokens. All secrets are hashes.
CREATE TABLE account (
    name      text PRIMARY KEY,
    role      text NOT NULL,
    password  text NOT NULL,
    t_created bigint NOT NULL
);

CREATE TABLE session (
    secret    bytea PRIMARY KEY,
    account   text NOT NULL REFERENCES account ON DELETE CASCADE,
    t_created bigint NOT NULL,
    t_seen    bigint NOT NULL
);
CREATE INDEX session_of ON session (account);

CREATE TABLE token (
    name      text PRIMARY KEY,
    role      text NOT NULL,
    secret    bytea NOT NULL UNIQUE,
    t_created bigint NOT NULL,
    t_expires bigint
);
