-- Several servers may share the store: one of them asks the CA about a binding.

-- +goose Up
ALTER TABLE bindings ADD COLUMN intended_by TEXT NOT NULL DEFAULT '';
ALTER TABLE bindings ADD COLUMN intended_until BIGINT NOT NULL DEFAULT 0;

-- What all servers of this store must have alike, such as the stations' root.
CREATE TABLE identities (
    name   TEXT NOT NULL PRIMARY KEY,
    sha256 TEXT NOT NULL
);

-- +goose Down
DROP TABLE identities;
ALTER TABLE bindings DROP COLUMN intended_until;
ALTER TABLE bindings DROP COLUMN intended_by;
