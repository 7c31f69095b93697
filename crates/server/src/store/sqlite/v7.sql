-- Bundles that are offered: to one device, or (device 0) to so many in a hundred of all.
CREATE TABLE offer (
    device      INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    percent     INTEGER NOT NULL,
    -- The signed update, in the form of the wire crate.
    signed      BLOB NOT NULL,
    t_offered   INTEGER NOT NULL,
    PRIMARY KEY (device, fingerprint)
) WITHOUT ROWID;
