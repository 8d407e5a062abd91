package provision

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pinsIn makes a job with PINs, some history behind it, and a final state.
func pinsIn(t *testing.T, j *Journal, sequence int, end State) *Record {
	t.Helper()
	rec, err := j.Create(sampleJob(sequence), 1, token(string(rune('A'+sequence))))
	if err != nil {
		t.Fatal(err)
	}
	rec.State = StateRunning
	rec.Facts.SOPINBox, rec.Facts.UserPINBox = bytes.Repeat([]byte{1, byte(sequence), 3}, 20), bytes.Repeat([]byte{7, byte(sequence), 9}, 20)
	rec.Facts.SOPINEnvelope = []byte("envelope")
	for range 20 {
		rec.Facts.CSR = append(rec.Facts.CSR, bytes.Repeat([]byte("request"), 40)...) // so that the row moves from page to page
		if err := j.Save(rec, "note", ""); err != nil {
			t.Fatal(err)
		}
	}
	rec.State = end
	if err := j.Finish(rec, nil); err != nil {
		t.Fatal(err)
	}
	return rec
}

// onDisk says in which files of a folder the boxes can be found, as they are and in base64.
func onDisk(t *testing.T, dir string, boxes ...[]byte) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range boxes {
			if bytes.Contains(data, b) || bytes.Contains(data, []byte(base64.StdEncoding.EncodeToString(b))) {
				found = append(found, filepath.Base(path))
			}
		}
	}
	return found
}

func TestDestroyPINs(t *testing.T) {
	j, path := openTestJournal(t)
	gone, kept := pinsIn(t, j, 1, StateFinished), pinsIn(t, j, 2, StateFinished)
	aside := pinsIn(t, j, 3, StateQuarantined)
	boxes := [][]byte{gone.Facts.SOPINBox, gone.Facts.UserPINBox}
	if len(onDisk(t, filepath.Dir(path), boxes...)) == 0 {
		t.Fatal("the boxes are not found where they must be")
	}
	list, err := j.KeptPINs("", 10)
	if err != nil || len(list) != 2 || list[0].JobID != gone.Job.ID || list[0].TokenSerial != "B" || list[0].Generation != 1 || list[1].JobID != kept.Job.ID {
		t.Fatalf("%+v (%v)", list, err)
	}
	if rest, err := j.KeptPINs(gone.Job.ID, 10); err != nil || len(rest) != 1 || rest[0].JobID != kept.Job.ID {
		t.Fatalf("%+v (%v)", rest, err)
	}
	for range 2 { // the second time as after a crash
		if err := j.DestroyPINs(gone.Job.ID, "the parcel has left"); err != nil {
			t.Fatal(err)
		}
	}
	if found := onDisk(t, filepath.Dir(path), boxes...); !slices.Equal(slices.Compact(found), []string{"journal.db-wal"}) {
		t.Errorf("found in %v, want the log alone", found)
	}
	reader, err := ReadJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	reading, err := reader.db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jobsIn(reading, "1 = 1"); err != nil {
		t.Fatal(err)
	}
	if err := j.Shred(t.Context()); !errors.Is(err, ErrBeingRead) {
		t.Errorf("while somebody reads: %v", err)
	}
	if err := reading.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := j.Shred(t.Context()); err != nil {
		t.Error(err)
	}
	if found := onDisk(t, filepath.Dir(path), boxes...); len(found) > 0 {
		t.Errorf("still found in %v", found)
	}
	if list, err := j.KeptPINs("", 10); err != nil || len(list) != 1 || list[0].JobID != kept.Job.ID {
		t.Errorf("%+v (%v)", list, err)
	}
	after, err := j.Job(gone.Job.ID)
	if err != nil || after.Facts.SOPINBox != nil || after.Facts.UserPINBox != nil || string(after.Facts.SOPINEnvelope) != "envelope" || after.State != StateFinished {
		t.Errorf("%+v (%v)", after, err)
	}
	history, err := j.History(gone.Job.ID)
	if err != nil || !strings.HasPrefix(history[len(history)-1].Note, "PINs destroyed: the parcel") {
		t.Errorf("%+v (%v)", history, err)
	}
	other, err := j.Job(kept.Job.ID)
	if err != nil || !bytes.Equal(other.Facts.SOPINBox, kept.Facts.SOPINBox) {
		t.Errorf("another token's PIN went too (%v)", err)
	}
	if err := j.DestroyPINs(aside.Job.ID, "x"); err == nil {
		t.Error("the PINs of a quarantined token were destroyed")
	}
	if err := j.DestroyPINs("NOWHERE", "x"); err == nil {
		t.Error("there is no such job")
	}
}

// The PINs of a token that was never written go with the end of its job.
func TestPINsOfABlankTokenGo(t *testing.T) {
	j, _ := openTestJournal(t)
	rec := pinsIn(t, j, 1, StateFailed)
	after, err := j.Job(rec.Job.ID)
	if err != nil || after.Facts.SOPINBox != nil || after.Facts.UserPINBox != nil {
		t.Errorf("%+v (%v)", after, err)
	}
}

// A PIN whose letter nobody has confirmed would be lost with the station's copy.
func TestPINsWaitForTheirLetter(t *testing.T) {
	s, rec := mailed(t)
	stays := func(when string) {
		t.Helper()
		kept, err := s.runner.Journal.KeptPINs("", 10)
		if err != nil || len(kept) != 0 {
			t.Errorf("%s they may go: %+v (%v)", when, kept, err)
		}
		if err := s.runner.Journal.DestroyPINs(rec.Job.ID, "x"); !errors.Is(err, ErrJournal) {
			t.Errorf("%s they went: %v", when, err)
		}
		s.pinOf(s.mailable())
	}
	stays("before it is printed")
	s.must(s.runner.BeginLetter(rec, "p1"))
	stays("before it is confirmed")
	s.must(s.runner.ConfirmLetter(rec, "p2"))
	kept, err := s.runner.Journal.KeptPINs("", 10)
	if err != nil || len(kept) != 1 || kept[0].JobID != rec.Job.ID {
		t.Fatalf("%+v (%v)", kept, err)
	}
	s.must(s.runner.RenewPIN(t.Context(), rec, s.module(), "p1"))
	stays("with another letter")
	s.must(s.runner.BeginLetter(rec, "p1"))
	s.must(s.runner.ConfirmLetter(rec, "p2"))
	s.must(s.runner.Journal.DestroyPINs(rec.Job.ID, "the parcel has left"))
}

// A job whose end could not be written goes on, and needs its PINs.
func TestPINsStayWithAJobThatDoesNotEnd(t *testing.T) {
	j, _ := openTestJournal(t)
	rec, err := j.Create(sampleJob(1), 1, token("A"))
	if err != nil {
		t.Fatal(err)
	}
	rec.State, rec.Facts.SOPINBox, rec.Facts.UserPINBox = StateFailed, []byte("one"), []byte("two")
	if _, err := j.db.Exec("PRAGMA query_only = 1"); err != nil {
		t.Fatal(err)
	}
	if err := j.Finish(rec, nil); !errors.Is(err, ErrJournal) {
		t.Fatal(err)
	}
	if string(rec.Facts.SOPINBox) != "one" || string(rec.Facts.UserPINBox) != "two" {
		t.Errorf("its PINs went: %+v", rec.Facts)
	}
}
