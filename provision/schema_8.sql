-- Looking a key up by its certificate's serial, and a day's ends by their time.
CREATE INDEX job_certificate ON job (json_extract(facts, '$.CertificateSerial')) WHERE json_extract(facts, '$.CertificateSerial') IS NOT NULL;
CREATE INDEX entry_end ON entry (at) WHERE state IN ('finished', 'failed', 'quarantined');
