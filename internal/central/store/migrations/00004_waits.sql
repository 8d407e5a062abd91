-- A row says: the CA has been asked for this certificate, there was none yet, for
-- certain, and the same request may go to it again at again_at. While it does,
-- again_at is empty: what comes of that call is not known before it ends.

-- +goose Up
CREATE TABLE waits (
    unit_id    TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    calls      BIGINT NOT NULL,
    why        TEXT   NOT NULL,
    first_at   BIGINT NOT NULL,
    again_at   BIGINT,
    PRIMARY KEY (unit_id, generation),
    FOREIGN KEY (unit_id, generation) REFERENCES bindings (unit_id, generation)
);

-- +goose Down
DROP TABLE waits;
