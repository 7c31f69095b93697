-- Bundles that are offered: to one device, or (device 0) to so many in a hundred of all.
CREATE TABLE offer (
    device      bigint NOT NULL,
    fingerprint bytea NOT NULL,
    percent     smallint NOT NULL,
    -- The signed update, in the form of the wire crate.
    signed      bytea NOT NULL,
    t_offered   bigint NOT NULL,
    PRIMARY KEY (device, fingerprint)
);
