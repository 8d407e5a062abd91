-- Revoked stations are found by when they were revoked: PostgreSQL would not take an
-- index by name for that.

-- +goose Up
DROP INDEX stations_revoked;
CREATE INDEX stations_revoked ON stations (revoked_at);

-- +goose Down
DROP INDEX stations_revoked;
CREATE INDEX stations_revoked ON stations (name) WHERE revoked_at IS NOT NULL;
