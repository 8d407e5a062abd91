-- How a user PIN gets to its holder, and who has seen the letter that brings it. One row
-- for each person: none of them may pack the token.

-- +goose Up
ALTER TABLE results ADD COLUMN pin_delivery TEXT NOT NULL DEFAULT '';
ALTER TABLE late_results ADD COLUMN pin_delivery TEXT NOT NULL DEFAULT '';

CREATE TABLE mailers (
    unit_id      TEXT   NOT NULL REFERENCES units (unit_id),
    generation   BIGINT NOT NULL,
    confirmed_by TEXT   NOT NULL,
    station      TEXT   NOT NULL REFERENCES stations (name),
    confirmed_at BIGINT NOT NULL,
    PRIMARY KEY (unit_id, generation, confirmed_by)
);

-- +goose Down
DROP TABLE mailers;
ALTER TABLE late_results DROP COLUMN pin_delivery;
ALTER TABLE results DROP COLUMN pin_delivery;
