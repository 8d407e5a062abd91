-- Labels of finished keys where they are printed one at a time, as their tokens are pulled: a
-- row for each key from its end on.
CREATE TABLE label (
  job_id TEXT PRIMARY KEY REFERENCES job (id),
  state  TEXT NOT NULL,
  since  INTEGER NOT NULL, -- of the state, Unix milliseconds
  says   TEXT NOT NULL     -- what is known, for people
) STRICT;
CREATE INDEX label_open ON label (state) WHERE state NOT IN ('stuck', 'aside');
CREATE INDEX job_of_unit ON job (unit_id);
