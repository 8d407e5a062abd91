-- What stations did, by their own account: a record for each installation of a station,
-- which nobody can change without it being seen here or there.

-- +goose Up
CREATE TABLE records (
    station     TEXT   NOT NULL REFERENCES stations (name),
    instance_id TEXT   NOT NULL,
    size        BIGINT NOT NULL,
    note        TEXT   NOT NULL DEFAULT '',
    station_key BYTEA,
    begun_at    BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    forked_at   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (station, instance_id)
);

-- A line is kept as it was sent; kind, unit and generation are in it too.
CREATE TABLE record_entries (
    station     TEXT   NOT NULL,
    instance_id TEXT   NOT NULL,
    n           BIGINT NOT NULL,
    line        TEXT   NOT NULL,
    hashes      BYTEA  NOT NULL,
    kind        TEXT   NOT NULL,
    unit_id     TEXT   NOT NULL,
    generation  BIGINT NOT NULL,
    PRIMARY KEY (station, instance_id, n),
    FOREIGN KEY (station, instance_id) REFERENCES records (station, instance_id)
);
CREATE INDEX record_entries_installed ON record_entries (unit_id, generation) WHERE kind = 'installed';

-- +goose Down
DROP TABLE record_entries;
DROP TABLE records;
