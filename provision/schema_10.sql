-- What was compacted: the jobs that may be, by when they last changed.
CREATE INDEX job_whole ON job (updated_at)
  WHERE state IN ('finished', 'failed', 'quarantined') AND json_extract(facts, '$.Compacted') IS NULL;

-- Where the record's lines begin. Those before are at the central server only; of their
-- rows there are those whose hashes all later ones need.
CREATE TABLE record_base (
  id            INTEGER PRIMARY KEY CHECK (id = 1),
  n             INTEGER NOT NULL, -- the first row that has a line
  configuration TEXT NOT NULL     -- SHA-256, of the last start among the lines before
) STRICT;
INSERT INTO record_base (id, n, configuration) VALUES (1, 0, '');

-- Keys that were finished before there were statements get none, and are found in the record
-- as the others are.
INSERT INTO evidence (job_id, n, statement)
  SELECT line ->> '$.job', MAX(n), x'' FROM record
  WHERE instr(line, '"kind":"installed"') AND json_valid(line) AND line ->> '$.job' IN (SELECT id FROM job WHERE state = 'finished')
    AND line ->> '$.job' NOT IN (SELECT job_id FROM evidence)
  GROUP BY 1;
