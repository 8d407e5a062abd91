-- How the store is known to be older than it was, and what stations report of
-- bindings that were lost with a backup.

-- +goose Up
-- One row. mark only grows; a server keeps the last one that it saw beside the store.
-- recovering is 1 while the CA is being asked. epoch_floor is above every epoch that
-- was given out before the last recovery; 0 says that there was none.
CREATE TABLE store_age (
    one         BIGINT NOT NULL PRIMARY KEY,
    mark        BIGINT NOT NULL,
    recovering  BIGINT NOT NULL,
    epoch_floor BIGINT NOT NULL
);
INSERT INTO store_age (one, mark, recovering, epoch_floor) VALUES (1, 0, 0, 0);

CREATE TABLE late_results (
    unit_id            TEXT   NOT NULL REFERENCES units (unit_id),
    generation         BIGINT NOT NULL,
    content_sha256     TEXT   NOT NULL,
    epoch              BIGINT NOT NULL,
    station            TEXT   NOT NULL REFERENCES stations (name),
    outcome            TEXT   NOT NULL,
    reason             TEXT   NOT NULL,
    token_serial       TEXT   NOT NULL,
    token_label        TEXT   NOT NULL,
    key_id             TEXT   NOT NULL,
    certificate_serial TEXT   NOT NULL,
    certificate_sha256 TEXT   NOT NULL,
    escrow_id          TEXT   NOT NULL,
    sealed_user_pin    BYTEA,
    recipients         TEXT   NOT NULL,
    created_at         BIGINT NOT NULL,
    PRIMARY KEY (unit_id, generation, content_sha256)
);

-- +goose Down
DROP TABLE late_results;
DROP TABLE store_age;
