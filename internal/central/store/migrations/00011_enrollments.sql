-- Stations that enrol by their TPM. tier is where a station's key is: file or tpm.
-- attestation_key and identity_key are public areas; the nonce of a renewal is good
-- once, until renew_until.

-- +goose Up
ALTER TABLE stations ADD COLUMN tier TEXT NOT NULL DEFAULT 'file';
ALTER TABLE stations ADD COLUMN ek_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE stations ADD COLUMN attestation_key BYTEA;
ALTER TABLE stations ADD COLUMN identity_key BYTEA;
ALTER TABLE stations ADD COLUMN renew_nonce BYTEA;
ALTER TABLE stations ADD COLUMN renew_until BIGINT NOT NULL DEFAULT 0;

-- A row is an invitation, and what has become of it. The join token itself is not kept.
CREATE TABLE enrollments (
    enrollment_id   TEXT   NOT NULL PRIMARY KEY,
    station         TEXT   NOT NULL,
    token_sha256    TEXT   NOT NULL UNIQUE,
    pinned_ek       TEXT   NOT NULL,
    replaces        BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    state           TEXT   NOT NULL,
    ek_sha256       TEXT   NOT NULL DEFAULT '',
    attestation_key BYTEA,
    identity_key    BYTEA,
    key_sha256      TEXT   NOT NULL DEFAULT '',
    nonce           BYTEA,
    secret_sha256   TEXT   NOT NULL DEFAULT '',
    challenge_until BIGINT NOT NULL DEFAULT 0,
    trust           TEXT   NOT NULL DEFAULT '',
    approved_by     TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX enrollments_station ON enrollments (station, state);

-- +goose Down
DROP TABLE enrollments;
ALTER TABLE stations DROP COLUMN renew_until;
ALTER TABLE stations DROP COLUMN renew_nonce;
ALTER TABLE stations DROP COLUMN identity_key;
ALTER TABLE stations DROP COLUMN attestation_key;
ALTER TABLE stations DROP COLUMN ek_sha256;
ALTER TABLE stations DROP COLUMN tier;
