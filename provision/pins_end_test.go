package provision

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
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
