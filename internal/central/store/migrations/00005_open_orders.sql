-- Claims find their orders by index, however many units wait for other stations.

-- +goose Up
-- 0 says that the order has no READY unit; 1 that it may have some.
ALTER TABLE orders ADD COLUMN open BIGINT NOT NULL DEFAULT 1;
CREATE INDEX orders_open ON orders (home_station, due_at, accepted_at, order_id) WHERE open = 1;
CREATE INDEX units_of_order ON units (order_id, state);
CREATE INDEX sessions_seen ON sessions (seen_at);
CREATE INDEX stations_revoked ON stations (name) WHERE revoked_at IS NOT NULL;

-- +goose Down
DROP INDEX stations_revoked;
DROP INDEX sessions_seen;
DROP INDEX units_of_order;
DROP INDEX orders_open;
ALTER TABLE orders DROP COLUMN open;
