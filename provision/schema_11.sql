-- When its token was last looked for while another's was in somebody's hand, begun at Unix
-- milliseconds; 0 for never.
ALTER TABLE label ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
