-- Tokens as their suppliers delivered them: a row for each list that was taken in, and
-- one for each token in it.
CREATE TABLE delivery (
  sha256   TEXT PRIMARY KEY, -- of the list's file
  lot      TEXT NOT NULL,
  model    TEXT NOT NULL,
  taken_by TEXT NOT NULL,    -- an id, no name
  taken_at INTEGER NOT NULL  -- Unix milliseconds
) STRICT;
CREATE INDEX delivery_lot ON delivery (lot);
CREATE TABLE stock (
  token_serial  TEXT PRIMARY KEY,
  casing_number TEXT NOT NULL UNIQUE,
  delivery      TEXT NOT NULL REFERENCES delivery (sha256)
) STRICT;
CREATE INDEX stock_delivery ON stock (delivery);
-- Which job has had a token: the serial by which it was delivered, which initialising may change.
CREATE INDEX job_delivered ON job (json_extract(facts, '$.DeliveredAs')) WHERE json_extract(facts, '$.DeliveredAs') IS NOT NULL;
