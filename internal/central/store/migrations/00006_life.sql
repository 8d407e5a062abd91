-- The rest of a unit's life: revisions, cancelling, adoption, decisions of two
-- persons, revocation, shipping, and the events that others read.

-- +goose Up
ALTER TABLE orders ADD COLUMN revision BIGINT NOT NULL DEFAULT 1;
-- What a revision may not change once a unit was leased.
ALTER TABLE orders ADD COLUMN fixed_sha256 TEXT NOT NULL DEFAULT '';
-- The highest sequence that a unit of the order ever got.
ALTER TABLE orders ADD COLUMN numbered BIGINT NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN on_hold BIGINT NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN urgent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN cancelled_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE orders ADD COLUMN blocked TEXT NOT NULL DEFAULT '';
-- Since when the order's personal data are gone.
ALTER TABLE orders ADD COLUMN cleared_at BIGINT NOT NULL DEFAULT 0;
UPDATE orders SET numbered = quantity;

DROP INDEX orders_open;
CREATE INDEX orders_open ON orders (home_station, urgent DESC, due_at, accepted_at, order_id) WHERE open = 1 AND on_hold = 0 AND cancelled_at = 0;

ALTER TABLE stations ADD COLUMN drain BIGINT NOT NULL DEFAULT 0;
ALTER TABLE stations ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
ALTER TABLE stations ADD COLUMN tripped_until BIGINT NOT NULL DEFAULT 0;
CREATE INDEX stations_draining ON stations (name) WHERE drain = 1;
CREATE INDEX stations_tripped ON stations (tripped_until);
-- What the session claimed last: a JSON list, empty before the first claim.
ALTER TABLE sessions ADD COLUMN products TEXT NOT NULL DEFAULT '';

CREATE TABLE adoptions (
    unit_id          TEXT   NOT NULL REFERENCES units (unit_id),
    epoch            BIGINT NOT NULL,
    station          TEXT   NOT NULL REFERENCES stations (name),
    statement_sha256 TEXT   NOT NULL,
    adopted_at       BIGINT NOT NULL,
    PRIMARY KEY (unit_id, epoch)
);

-- Certificates beside the one in bindings: the CA issued twice.
CREATE TABLE surplus_certificates (
    certificate_sha256 TEXT   NOT NULL PRIMARY KEY,
    unit_id            TEXT   NOT NULL REFERENCES units (unit_id),
    generation         BIGINT NOT NULL,
    certificate_serial TEXT   NOT NULL,
    pkcs7              BYTEA,
    noticed_at         BIGINT NOT NULL
);
CREATE INDEX surplus_certificates_unit ON surplus_certificates (unit_id);

-- A row says that a certificate is to be revoked; revoked_at, that it is.
CREATE TABLE revocations (
    certificate_sha256 TEXT   NOT NULL PRIMARY KEY,
    unit_id            TEXT   NOT NULL REFERENCES units (unit_id),
    generation         BIGINT NOT NULL,
    certificate_serial TEXT   NOT NULL,
    reason             TEXT   NOT NULL,
    asked_at           BIGINT NOT NULL,
    revoked_at         BIGINT NOT NULL DEFAULT 0,
    revoked_by         TEXT   NOT NULL DEFAULT ''
);

-- A row says: it is proved that the CA issued nothing for this generation.
CREATE TABLE absences (
    unit_id    TEXT   NOT NULL REFERENCES units (unit_id),
    generation BIGINT NOT NULL,
    proved_by  TEXT   NOT NULL,
    proved_at  BIGINT NOT NULL,
    PRIMARY KEY (unit_id, generation)
);

CREATE TABLE decisions (
    decision_id        TEXT   NOT NULL PRIMARY KEY,
    unit_id            TEXT   NOT NULL REFERENCES units (unit_id),
    generation         BIGINT NOT NULL,
    action             TEXT   NOT NULL,
    certificate_sha256 TEXT   NOT NULL,
    certificate_serial TEXT   NOT NULL,
    pkcs7              BYTEA,
    subject            TEXT   NOT NULL,
    not_after          BIGINT NOT NULL,
    reason             TEXT   NOT NULL,
    status             TEXT   NOT NULL,
    requested_by       TEXT   NOT NULL,
    requested_at       BIGINT NOT NULL,
    approved_by        TEXT   NOT NULL DEFAULT '',
    approved_at        BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX decisions_unit ON decisions (unit_id, status);

CREATE TABLE shipments (
    unit_id        TEXT   NOT NULL REFERENCES units (unit_id),
    generation     BIGINT NOT NULL,
    content_sha256 TEXT   NOT NULL,
    waybill        TEXT   NOT NULL,
    scans          TEXT   NOT NULL,
    packed_by      TEXT   NOT NULL,
    station        TEXT   NOT NULL REFERENCES stations (name),
    shipped_at     BIGINT NOT NULL,
    PRIMARY KEY (unit_id, generation)
);

-- Events get their sequence when they are first read, so that one that commits
-- late is never skipped by who has read past its number.
CREATE TABLE outgoing_events (
    event_id           TEXT   NOT NULL PRIMARY KEY,
    sequence           BIGINT UNIQUE,
    kind               TEXT   NOT NULL,
    order_id           TEXT   NOT NULL REFERENCES orders (order_id),
    unit_id            TEXT   NOT NULL DEFAULT '',
    unit_version       BIGINT NOT NULL DEFAULT 0,
    generation         BIGINT NOT NULL DEFAULT 0,
    state              TEXT   NOT NULL DEFAULT '',
    station            TEXT   NOT NULL DEFAULT '',
    token_serial       TEXT   NOT NULL DEFAULT '',
    certificate_serial TEXT   NOT NULL DEFAULT '',
    happened_at        BIGINT NOT NULL
);
CREATE INDEX outgoing_events_new ON outgoing_events (happened_at) WHERE sequence IS NULL;

-- One row; who numbers events locks it.
CREATE TABLE event_counter (
    one  BIGINT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO event_counter (one, last) VALUES (1, 0);

-- +goose Down
DROP TABLE event_counter;
DROP TABLE outgoing_events;
DROP TABLE shipments;
DROP TABLE decisions;
DROP TABLE absences;
DROP TABLE revocations;
DROP TABLE surplus_certificates;
DROP TABLE adoptions;
ALTER TABLE sessions DROP COLUMN products;
DROP INDEX stations_tripped;
DROP INDEX stations_draining;
ALTER TABLE stations DROP COLUMN tripped_until;
ALTER TABLE stations DROP COLUMN failures;
ALTER TABLE stations DROP COLUMN drain;
DROP INDEX orders_open;
CREATE INDEX orders_open ON orders (home_station, due_at, accepted_at, order_id) WHERE open = 1;
ALTER TABLE orders DROP COLUMN cleared_at;
ALTER TABLE orders DROP COLUMN blocked;
ALTER TABLE orders DROP COLUMN cancelled_at;
ALTER TABLE orders DROP COLUMN urgent;
ALTER TABLE orders DROP COLUMN on_hold;
ALTER TABLE orders DROP COLUMN numbered;
ALTER TABLE orders DROP COLUMN fixed_sha256;
ALTER TABLE orders DROP COLUMN revision;
