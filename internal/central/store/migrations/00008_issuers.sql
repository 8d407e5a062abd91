-- A certificate whose bytes were removed with the personal data of its order can still
-- be revoked: a CRL names it by its issuer and its serial.

-- +goose Up
CREATE TABLE issuers (
    certificate_sha256 TEXT  NOT NULL PRIMARY KEY,
    issuer             BYTEA NOT NULL
);

-- +goose Down
DROP TABLE issuers;
