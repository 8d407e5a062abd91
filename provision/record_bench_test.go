package provision

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// benchJournal is one whose disk costs nothing, so that what is left is the processor's.
func benchJournal(b *testing.B) (*Journal, *Record) {
	b.Helper()
	j, err := OpenJournal(b.TempDir() + "/journal.db")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = j.Close() })
	if _, err := j.db.Exec("PRAGMA synchronous = OFF"); err != nil {
		b.Fatal(err)
	}
	rec, err := j.Create(sampleJob(1), 1, token("A1"))
	if err != nil {
		b.Fatal(err)
	}
	// What a job knows shortly before its end, in the sizes that a P-256 key has here with one recipient of each PIN.
	rec.State, rec.Step = StateRunning, StepInstall
	f := &rec.Facts
	f.SOPINEnvelope, f.UserPINEnvelope = make([]byte, 428), make([]byte, 412)
	f.SOPINBox, f.UserPINBox, f.EscrowID = make([]byte, 44), make([]byte, 36), uuid.NewString()
	f.CSR, f.PublicKey, f.Bundle = make([]byte, 270), make([]byte, 91), make([]byte, 891)
	f.CertificateSerial, f.CertificateSHA256 = strings.Repeat("ab", 8), strings.Repeat("ab", 32)
	f.Claims = map[string]string{}
	for _, claim := range []string{"PRIVATE", "SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE", "ALWAYS_SENSITIVE", "LOCAL", "SIGN"} {
		f.Claims["CKA_"+claim] = "yes"
	}
	return j, rec
}

// BenchmarkSave is one intent in the journal, with its act.
func BenchmarkSave(b *testing.B) {
	j, rec := benchJournal(b)
	for b.Loop() {
		if err := j.Save(rec, string(rec.Step), ""); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSaveUnrecorded is the same without the record.
func BenchmarkSaveUnrecorded(b *testing.B) {
	j, rec := benchJournal(b)
	for b.Loop() {
		if err := j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error { return j.save(tx, rec, string(rec.Step)) }); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkVerify is what a start does for each entry.
func BenchmarkVerify(b *testing.B) {
	j, rec := benchJournal(b)
	const entries = 20_000
	acts := make([]audit.Entry, entries)
	for i := range acts {
		acts[i] = intended(rec, string(rec.Step))
	}
	if err := j.Witness(acts...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := audit.Verify(j.Record()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*entries), "µs/entry")
}
