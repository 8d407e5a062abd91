-- Times are milliseconds since 1970 UTC, written by the server's one clock.
-- The text is meant for SQLite and PostgreSQL alike: BIGINT, TEXT and BYTEA mean
-- the same on both (SQLite keeps blobs as they are under any declared type).

-- +goose Up
CREATE TABLE stations (
    name               TEXT   NOT NULL PRIMARY KEY,
    public_key_sha256  TEXT   NOT NULL UNIQUE,
    certificate        BYTEA  NOT NULL,
    certificate_sha256 TEXT   NOT NULL UNIQUE,
    not_after          BIGINT NOT NULL,
    added_at           BIGINT NOT NULL,
    revoked_at         BIGINT
);

CREATE TABLE sessions (
    station     TEXT   NOT NULL PRIMARY KEY REFERENCES stations (name),
    session_id  TEXT   NOT NULL UNIQUE,
    instance_id TEXT   NOT NULL,
    boot_id     TEXT   NOT NULL,
    version     TEXT   NOT NULL,
    slots       TEXT   NOT NULL,
    lease_ms    BIGINT NOT NULL,
    opened_at   BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL
);

CREATE TABLE orders (
    order_id       TEXT   NOT NULL PRIMARY KEY,
    product_code   TEXT   NOT NULL,
    company        TEXT   NOT NULL,
    quantity       BIGINT NOT NULL,
    due_at         BIGINT NOT NULL,
    home_station   TEXT   REFERENCES stations (name),
    content        BYTEA  NOT NULL,
    content_sha256 TEXT   NOT NULL,
    accepted_at    BIGINT NOT NULL
);
CREATE INDEX orders_due ON orders (due_at, order_id);

CREATE TABLE units (
    unit_id       TEXT   NOT NULL PRIMARY KEY,
    order_id      TEXT   NOT NULL REFERENCES orders (order_id),
    sequence      BIGINT NOT NULL,
    state         TEXT   NOT NULL,
    stranded_from TEXT   NOT NULL DEFAULT '',
    held_reason   TEXT   NOT NULL DEFAULT '',
    epoch         BIGINT NOT NULL DEFAULT 0,
    generation    BIGINT NOT NULL DEFAULT 1,
    attempts      BIGINT NOT NULL DEFAULT 0,
    station       TEXT   REFERENCES stations (name),
    expires_at    BIGINT NOT NULL DEFAULT 0,
    phase         TEXT   NOT NULL DEFAULT '',
    updated_at    BIGINT NOT NULL,
    version       BIGINT NOT NULL DEFAULT 0,
    UNIQUE (order_id, sequence)
);
CREATE INDEX units_state ON units (state, expires_at);

-- What happened to a unit, never changed. "at" is a word of SQL, hence happened_at.
CREATE TABLE history (
    unit_id     TEXT   NOT NULL REFERENCES units (unit_id),
    version     BIGINT NOT NULL,
    epoch       BIGINT NOT NULL,
    generation  BIGINT NOT NULL,
    from_state  TEXT   NOT NULL,
    to_state    TEXT   NOT NULL,
    event       TEXT   NOT NULL,
    station     TEXT   NOT NULL,
    why         TEXT   NOT NULL,
    happened_at BIGINT NOT NULL,
    PRIMARY KEY (unit_id, version)
);

CREATE TABLE claim_keys (
    station        TEXT   NOT NULL REFERENCES stations (name),
    claim_key      TEXT   NOT NULL,
    request_sha256 TEXT   NOT NULL,
    leases         TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (station, claim_key)
);

CREATE TABLE escrows (
    escrow_id    TEXT   NOT NULL PRIMARY KEY,
    unit_id      TEXT   NOT NULL REFERENCES units (unit_id),
    epoch        BIGINT NOT NULL,
    station      TEXT   NOT NULL REFERENCES stations (name),
    sealed       BYTEA  NOT NULL,
    sealed_sha256 TEXT  NOT NULL,
    recipients   TEXT   NOT NULL,
    token_serial TEXT   NOT NULL DEFAULT '',
    created_at   BIGINT NOT NULL
);

-- A row says: this generation of this unit is this public key. It is never deleted,
-- so public_key_sha256 is unique over everything that was ever bound.
CREATE TABLE bindings (
    unit_id            TEXT   NOT NULL REFERENCES units (unit_id),
    generation         BIGINT NOT NULL,
    epoch              BIGINT NOT NULL,
    station            TEXT   NOT NULL REFERENCES stations (name),
    csr                BYTEA  NOT NULL,
    public_key_sha256  TEXT   NOT NULL UNIQUE,
    token_serial       TEXT   NOT NULL,
    token_model        TEXT   NOT NULL,
    key_id             TEXT   NOT NULL,
    escrow_id          TEXT   NOT NULL REFERENCES escrows (escrow_id),
    bound_at           BIGINT NOT NULL,
    request_id         TEXT   UNIQUE,
    intended_at        BIGINT,
    pkcs7              BYTEA,
    certificate_serial TEXT   NOT NULL DEFAULT '',
    certificate_sha256 TEXT   NOT NULL DEFAULT '',
    subject            TEXT   NOT NULL DEFAULT '',
    not_after          BIGINT NOT NULL DEFAULT 0,
    issued_at          BIGINT,
    PRIMARY KEY (unit_id, generation)
);

CREATE TABLE results (
    unit_id         TEXT   NOT NULL,
    generation      BIGINT NOT NULL,
    epoch           BIGINT NOT NULL,
    content_sha256  TEXT   NOT NULL,
    outcome         TEXT   NOT NULL,
    reason          TEXT   NOT NULL,
    token_label     TEXT   NOT NULL,
    sealed_user_pin BYTEA,
    recipients      TEXT   NOT NULL,
    seconds         DOUBLE PRECISION,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (unit_id, generation),
    FOREIGN KEY (unit_id, generation) REFERENCES bindings (unit_id, generation)
);

-- +goose Down
DROP TABLE results;
DROP TABLE bindings;
DROP TABLE escrows;
DROP TABLE claim_keys;
DROP TABLE history;
DROP TABLE units;
DROP TABLE orders;
DROP TABLE sessions;
DROP TABLE stations;
