-- Statements about finished keys: a row with each job's end, the statement when the
-- record has been anchored.
CREATE TABLE evidence (
  job_id    TEXT PRIMARY KEY REFERENCES job (id),
  n         INTEGER NOT NULL, -- of the record: the job's end
  statement BLOB              -- CMS SignedData, DER
) STRICT;
CREATE INDEX evidence_missing ON evidence (n) WHERE statement IS NULL;
