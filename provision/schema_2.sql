-- Tokens of models whose serials are all the same are held by serial and slot.
DROP INDEX job_token;
CREATE UNIQUE INDEX job_token ON job (module, token_serial, token_slot)
  WHERE state IN ('queued', 'running', 'parked') AND token_serial <> '';
