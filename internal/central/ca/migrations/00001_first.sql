-- The CA's own record of what it issued; rows are never changed.

-- +goose Up
CREATE TABLE certificates (
    number            BIGINT NOT NULL PRIMARY KEY,
    request_id        TEXT   NOT NULL UNIQUE,
    request_sha256    TEXT   NOT NULL,
    serial            TEXT   NOT NULL UNIQUE,
    sha256            TEXT   NOT NULL,
    public_key_sha256 TEXT   NOT NULL,
    subject           TEXT   NOT NULL,
    issuer            TEXT   NOT NULL,
    not_before        BIGINT NOT NULL,
    not_after         BIGINT NOT NULL,
    certificate       BYTEA  NOT NULL
);

-- +goose Down
DROP TABLE certificates;
