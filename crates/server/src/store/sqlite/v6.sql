-- Who is let in: people by a password, their browsers by sessions, programs by tokens. All secrets are hashes.
CREATE TABLE account (
    name      TEXT PRIMARY KEY,
    role      TEXT NOT NULL,
    password  TEXT NOT NULL,
    t_created INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE session (
    secret    BLOB PRIMARY KEY,
    account   TEXT NOT NULL,
    t_created INTEGER NOT NULL,
    t_seen    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX session_of ON session (account);

CREATE TABLE token (
    name      TEXT PRIMARY KEY,
    role      TEXT NOT NULL,
    secret    BLOB NOT NULL UNIQUE,
    t_created INTEGER NOT NULL,
    t_expires INTEGER
) WITHOUT ROWID;
