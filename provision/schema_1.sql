CREATE TABLE job (
  id                TEXT PRIMARY KEY,
  unit_id           TEXT NOT NULL,
  generation        INTEGER NOT NULL,
  attempt           INTEGER NOT NULL,
  state             TEXT NOT NULL CHECK (state IN ('queued', 'running', 'parked', 'finished', 'failed', 'quarantined')),
  step              TEXT NOT NULL,
  epoch             INTEGER NOT NULL,
  module            TEXT NOT NULL,
  token_serial      TEXT NOT NULL,
  token_slot        TEXT NOT NULL,
  token_model       TEXT NOT NULL,
  waiting           TEXT NOT NULL,
  reason            TEXT NOT NULL,
  hint              TEXT NOT NULL,
  busy_ms           INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL, -- Unix milliseconds
  public_key_sha256 TEXT UNIQUE,      -- a key serves one job only
  job               TEXT NOT NULL,    -- JSON of Job, never changed
  facts             TEXT NOT NULL     -- JSON of Facts; PINs only as boxes and envelopes
) STRICT;

-- One job at a time writes a token, and one works on a unit.
CREATE UNIQUE INDEX job_token ON job (module, token_serial)
  WHERE state IN ('queued', 'running', 'parked') AND token_serial <> '';
CREATE UNIQUE INDEX job_slot ON job (module, token_slot)
  WHERE state IN ('queued', 'running', 'parked') AND token_serial = '';
CREATE UNIQUE INDEX job_unit ON job (unit_id)
  WHERE state IN ('queued', 'running', 'parked');
CREATE INDEX job_state ON job (state);

-- What happened, in order; never changed.
CREATE TABLE entry (
  seq    INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id TEXT NOT NULL REFERENCES job (id),
  at     INTEGER NOT NULL, -- Unix milliseconds
  state  TEXT NOT NULL,
  step   TEXT NOT NULL,
  epoch  INTEGER NOT NULL,
  note   TEXT NOT NULL
) STRICT;
CREATE INDEX entry_job ON entry (job_id, seq);

-- The outbox: sent in the order of id until the central server has answered.
CREATE TABLE report (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id   TEXT NOT NULL REFERENCES job (id),
  body     TEXT NOT NULL,    -- JSON of Report
  sha256   TEXT NOT NULL,    -- of body
  made_at  INTEGER NOT NULL, -- Unix milliseconds
  sent_at  INTEGER,          -- when the central server had answered
  answer   TEXT              -- what it answered, for people
) STRICT;
CREATE INDEX report_pending ON report (id) WHERE sent_at IS NULL;

-- One row that is written anew before work is claimed, to find out whether there is room.
CREATE TABLE room (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  filler BLOB NOT NULL
) STRICT;
