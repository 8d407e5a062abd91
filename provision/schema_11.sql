-- When its token was last looked for while another's was in somebody's hand, begun at Unix
-- milliseconds; 0 for never.
ALTER TABLE label ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;

-- The reports of a unit that wait for an answer.
CREATE INDEX report_of_unit ON report (body ->> '$.UnitID', id) WHERE sent_at IS NULL;
