-- The packing table: one row for each thing that a person did to a parcel, never changed.
-- A parcel is what its acts have made of it.
CREATE TABLE parcel_act (
  n       INTEGER PRIMARY KEY, -- from 1
  parcel  INTEGER NOT NULL,    -- n of the act that opened it
  kind    TEXT NOT NULL,
  unit_id TEXT NOT NULL,
  job_id  TEXT NOT NULL,
  code    TEXT NOT NULL,       -- an order, a token serial or a waybill
  undoes  INTEGER NOT NULL,    -- n of the act that is undone, 0 for none
  by_whom TEXT NOT NULL,       -- an id, no name
  at      INTEGER NOT NULL     -- Unix milliseconds
) STRICT;
CREATE INDEX parcel_act_parcel ON parcel_act (parcel, n);
CREATE INDEX parcel_act_code ON parcel_act (code);

-- The key that is to be put in and read now; one row at most.
CREATE TABLE insertion (
  id     INTEGER PRIMARY KEY CHECK (id = 1),
  asked  INTEGER NOT NULL, -- Unix milliseconds, which tells one wish from another
  until  INTEGER NOT NULL,
  key    TEXT NOT NULL,    -- JSON
  by_whom TEXT NOT NULL,
  reason TEXT,             -- how it ended, NULL before
  says   TEXT
) STRICT;

CREATE INDEX job_order ON job (json_extract(job, '$.Subject.OrderID'));
CREATE INDEX job_serial ON job (token_serial);
CREATE INDEX report_job ON report (job_id, id);
