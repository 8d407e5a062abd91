-- The station's record: a row for each act, added in the transaction that it
-- witnesses; never changed.
CREATE TABLE record (
  n      INTEGER PRIMARY KEY, -- from 0, without gaps
  line   TEXT NOT NULL,       -- the entry, JSON
  hashes BLOB NOT NULL        -- of the subtrees that it completes
) STRICT;

-- The last checkpoint that the central server has signed too.
CREATE TABLE anchor (
  id   INTEGER PRIMARY KEY CHECK (id = 1),
  note TEXT NOT NULL
) STRICT;
