-- Finished tokens whose PINs are still here, until their parcels have left.
CREATE INDEX job_pins ON job (id) WHERE state = 'finished' AND json_extract(facts, '$.SOPINBox') IS NOT NULL;
