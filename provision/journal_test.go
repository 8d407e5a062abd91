package provision

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

func openTestJournal(t *testing.T) (*Journal, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, path
}

func token(serial string) TokenRef {
	return TokenRef{Module: "bay", Identity: pkcs11.Identity{Serial: pkcs11.TokenSerial(serial)}, Model: "sample"}
}

func TestJournalKeepsARecord(t *testing.T) {
	j, path := openTestJournal(t)
	rec, err := j.Create(sampleJob(1), 3, token("A1"))
	if err != nil {
		t.Fatal(err)
	}
	if rec.Job.ID != "SAMPLE-0001-001-g1-1" {
		t.Errorf("id %s", rec.Job.ID)
	}
	rec.State, rec.Facts.KeyID, rec.Facts.CSR = StateRunning, pkcs11.KeyID{1, 2}, []byte("request")
	if err := j.Save(rec, "note", ""); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	got, err := again.Job(rec.Job.ID)
	if err != nil || got == nil {
		t.Fatal(got, err)
	}
	if got.Epoch != 3 || !got.Facts.KeyID.Equal(rec.Facts.KeyID) || !bytes.Equal(got.Facts.CSR, rec.Facts.CSR) ||
		got.Job.Subject != rec.Job.Subject || got.Token != rec.Token {
		t.Errorf("got %+v, want %+v", got, rec)
	}
	history, err := again.History(rec.Job.ID)
	if err != nil || len(history) != 2 || history[1].Note != "note" {
		t.Errorf("history %+v (%v)", history, err)
	}
}

// TestJournalRefusesTwice: one unfinished job a token, one a unit.
func TestJournalRefusesTwice(t *testing.T) {
	j, _ := openTestJournal(t)
	if _, err := j.Create(sampleJob(1), 1, token("A1")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Create(sampleJob(2), 1, token("A1")); !errors.Is(err, ErrJournal) {
		t.Errorf("a second job on the same token: %v", err)
	}
	if _, err := j.Create(sampleJob(1), 2, token("A2")); !errors.Is(err, ErrJournal) {
		t.Errorf("a second job for the same unit: %v", err)
	}
	if _, err := j.Create(sampleJob(2), 1, token("A2")); err != nil {
		t.Errorf("another unit on another token: %v", err)
	}
}

// TestJournalMakesAWave: all jobs of it are journalled, in their order, or none.
func TestJournalMakesAWave(t *testing.T) {
	j, _ := openTestJournal(t)
	first, second := NewJob{sampleJob(1), 1, token("A1")}, NewJob{sampleJob(2), 1, token("A2")}
	if _, err := j.CreateAll([]NewJob{first, second, {sampleJob(3), 1, token("A1")}}); !errors.Is(err, ErrJournal) {
		t.Errorf("two on the same token: %v", err)
	}
	if all, err := j.All(); err != nil || len(all) != 0 {
		t.Errorf("%d jobs are there (%v)", len(all), err)
	}
	made, err := j.CreateAll([]NewJob{first, second})
	if err != nil || len(made) != 2 {
		t.Fatal(made, err)
	}
	all, err := j.All()
	if err != nil || len(all) != 2 || all[0].Job.ID != made[0].Job.ID || all[1].Token != second.Token {
		t.Errorf("%+v (%v)", all, err)
	}
}

// TestJournalRefusesAKeyTwice: two jobs never have one public key.
func TestJournalRefusesAKeyTwice(t *testing.T) {
	j, _ := openTestJournal(t)
	for i, want := range []error{nil, ErrJournal} {
		rec, err := j.Create(sampleJob(i+1), 1, token(fmt.Sprint("A", i)))
		if err != nil {
			t.Fatal(err)
		}
		rec.State, rec.Facts.PublicKey = StateRunning, []byte("the same key")
		if err := j.Save(rec, "", ""); !errors.Is(err, want) {
			t.Errorf("job %d: %v, want %v", i, err, want)
		}
	}
}

// TestFullDisk fills SQLite's file up to a limit, which fails as a full disk does.
func TestFullDisk(t *testing.T) {
	j, _ := openTestJournal(t)
	var pages int
	if err := j.db.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := j.db.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
		t.Fatal(err)
	}
	if err := j.Check(t.Context()); !errors.Is(err, ErrJournal) {
		t.Errorf("check on a full disk: %v", err)
	}
	var rec *Record
	var err error
	for i := 1; i < 1000 && err == nil; i++ {
		job := sampleJob(i)
		job.Subject.Company.Name = strings.Repeat("示例", 500)
		rec, err = j.Create(job, 1, token(fmt.Sprint("A", i)))
	}
	if !errors.Is(err, ErrJournal) || rec != nil {
		t.Errorf("a job was journalled on a full disk: %v", err)
	}
	if _, err := j.db.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := j.Check(t.Context()); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestFullDiskMidJob: the job stops where the journal last had it, and goes on
// when there is room again; the token is written once.
func TestFullDiskMidJob(t *testing.T) {
	s := newStation(t)
	m := s.module()
	rec := s.create(m, 1)
	s.central.onEscrow = func() {
		if _, err := s.runner.Journal.db.Exec("PRAGMA query_only = 1"); err != nil {
			t.Error(err)
		}
	}
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrJournal) {
		t.Fatalf("got %v", err)
	}
	slots, err := m.Slots(t.Context())
	if err != nil || slots[0].Token.Initialized() {
		t.Fatalf("the token was written though the intent could not be: %+v (%v)", slots, err)
	}
	if _, err := s.runner.Journal.db.Exec("PRAGMA query_only = 0"); err != nil {
		t.Fatal(err)
	}
	s.central.onEscrow = nil
	s.recover(t)
}

func TestDamagedAndNewerJournals(t *testing.T) {
	j, path := openTestJournal(t)
	if _, err := j.db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path); err == nil || !strings.Contains(err.Error(), "newer usbkeyd") {
		t.Errorf("a newer journal: %v", err)
	}
	if _, err := ReadJournal(path); err == nil || !strings.Contains(err.Error(), "newer usbkeyd") {
		t.Errorf("a newer journal is read: %v", err)
	}
	if err := os.WriteFile(path, []byte("this is no database at all, but long enough to be looked at"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path); err == nil {
		t.Error("a damaged journal was opened")
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a journal that others may read: %v", err)
	}
}

// backTo makes a journal one of an earlier schema.
func backTo(t *testing.T, j *Journal, version int) {
	t.Helper()
	added := map[int][]string{ // by version, what came with it
		4:  {"TABLE record", "TABLE anchor"},
		5:  {"TABLE evidence"},
		6:  {"TABLE stock", "TABLE delivery", "INDEX job_delivered"},
		7:  {"TABLE parcel_act", "TABLE insertion", "INDEX job_order", "INDEX job_serial", "INDEX report_job"},
		8:  {"INDEX job_certificate", "INDEX entry_end"},
		9:  {"TABLE label", "INDEX job_of_unit"},
		10: {"TABLE record_base", "INDEX job_whole"},
		11: {"INDEX report_of_unit"}, // and a column of label
	}
	if version >= 9 && version < 11 {
		if _, err := j.db.Exec("ALTER TABLE label DROP COLUMN seen_at"); err != nil {
			t.Fatal(err)
		}
	}
	for v := version + 1; v <= journalVersion; v++ {
		for _, what := range added[v] {
			if _, err := j.db.Exec("DROP " + what); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := j.db.Exec(fmt.Sprintf("PRAGMA user_version = %d", version)); err != nil {
		t.Fatal(err)
	}
}

// Whoever only reads cannot bring an older journal up to date, and would miss tables.
func TestOlderJournalIsNotRead(t *testing.T) {
	j, path := openTestJournal(t)
	if _, err := j.db.Exec("PRAGMA user_version = 4"); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadJournal(path); err == nil || !strings.Contains(err.Error(), "older usbkeyd") {
		t.Errorf("got %v", err)
	}
}

func TestVaultBindsBoxesToTheirPlace(t *testing.T) {
	dir := t.TempDir()
	v, err := OpenVault(filepath.Join(dir, "key"), true)
	if err != nil {
		t.Fatal(err)
	}
	box := v.seal("job-1", fieldSOPIN, "12345678")
	if bytes.Contains(box, []byte("12345678")) {
		t.Error("the PIN is in the box in clear")
	}
	for _, place := range [][2]string{{"job-2", fieldSOPIN}, {"job-1", fieldUserPIN}} {
		if _, err := v.open(place[0], place[1], box); !errors.Is(err, ErrSecretLost) {
			t.Errorf("opened as %v: %v", place, err)
		}
	}
	again, err := OpenVault(filepath.Join(dir, "key"), false)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.open("job-1", fieldSOPIN, box); err != nil || got != "12345678" {
		t.Errorf("got %q (%v)", got, err)
	}
}

func TestVaultRefusesABadKeyFile(t *testing.T) {
	rows := []struct {
		name string
		make func(path string) error
		want string
	}{
		{"missing beside a journal", func(string) error { return nil }, "is missing"},
		{"too short", func(p string) error { return os.WriteFile(p, make([]byte, 31), 0o600) }, "damaged"},
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }, "damaged"},
		{"readable by others", func(p string) error { return os.WriteFile(p, make([]byte, 32), 0o640) }, "chmod 600"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := row.make(path); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenVault(path, false); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want one that says %q", err, row.want)
			}
		})
	}
}

// TestVaultKeyIsMadeWhole: whatever a crash left of a key that no journal needs yet,
// the next start makes one; a key that cannot be written whole is not there at all.
func TestVaultKeyIsMadeWhole(t *testing.T) {
	rows := []struct {
		name string
		left func(path string) error
		made bool
	}{
		{"an empty file", func(p string) error { return os.WriteFile(p, nil, 0o600) }, true},
		{"a part under the other name", func(p string) error { return os.WriteFile(p+".new", make([]byte, 40), 0o600) }, true},
		{"no room for the other name", func(p string) error { return os.Mkdir(p+".new", 0o700) }, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			if err := row.left(path); err != nil {
				t.Fatal(err)
			}
			_, err := OpenVault(path, true)
			key, readErr := os.ReadFile(path)
			if !row.made {
				if err == nil || !errors.Is(readErr, os.ErrNotExist) {
					t.Errorf("got %v; the key file: %d bytes, %v", err, len(key), readErr)
				}
				return
			}
			if err != nil || len(key) != vaultKeyLen {
				t.Fatalf("got %v; the key file: %d bytes, %v", err, len(key), readErr)
			}
			if _, err := OpenVault(path, false); err != nil {
				t.Errorf("opened again: %v", err)
			}
			if _, err := os.Stat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is left beside the key: %v", err)
			}
		})
	}
}

func TestStateTable(t *testing.T) {
	states := []State{StateQueued, StateRunning, StateParked, StateFinished, StateFailed, StateQuarantined}
	events := []Event{EventStart, EventPark, EventFinish, EventFail, EventIsolate}
	allowed := 0
	for _, from := range states {
		for _, event := range events {
			to, err := Advance(from, event)
			if err == nil {
				allowed++
			}
			if from.Final() && err == nil {
				t.Errorf("a final state is left: %s by %s to %s", from, event, to)
			}
		}
	}
	if allowed != 12 {
		t.Errorf("%d transitions are allowed; count them again in the table", allowed)
	}
	if _, err := Advance("nonsense", EventStart); err == nil {
		t.Error("an unknown state was accepted")
	}
}
