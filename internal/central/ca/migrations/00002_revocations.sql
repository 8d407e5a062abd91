-- Revocations are never taken back. A CRL is kept as it was signed, so that its
-- number never goes down and everybody gets the same one.

-- +goose Up
CREATE TABLE revocations (
    serial     TEXT   NOT NULL PRIMARY KEY REFERENCES certificates (serial),
    reason     BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
);

CREATE TABLE crls (
    name    TEXT   NOT NULL,
    number  BIGINT NOT NULL,
    entries BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    crl     BYTEA  NOT NULL,
    PRIMARY KEY (name, number)
);

-- +goose Down
DROP TABLE crls;
DROP TABLE revocations;
