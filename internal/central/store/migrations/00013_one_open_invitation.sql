-- A station has one open invitation at most: of two that are written at the same instant, at
-- two servers, the second ends the first.

-- +goose Up
UPDATE enrollments SET state = 'voided' WHERE state IN ('invited', 'challenged', 'proved') AND EXISTS (
    SELECT 1 FROM enrollments later WHERE later.station = enrollments.station AND later.state IN ('invited', 'challenged', 'proved')
        AND (later.created_at > enrollments.created_at OR later.created_at = enrollments.created_at AND later.enrollment_id > enrollments.enrollment_id));
CREATE UNIQUE INDEX enrollments_open ON enrollments (station) WHERE state IN ('invited', 'challenged', 'proved');

-- +goose Down
DROP INDEX enrollments_open;
