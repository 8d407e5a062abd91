package provision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// acts reads the whole record, which must hold in itself.
func acts(t *testing.T, j *Journal) []audit.Entry {
	t.Helper()
	if _, err := audit.Verify(j.Record()); err != nil {
		t.Fatal(err)
	}
	var out []audit.Entry
	for row, err := range j.Record() {
		if err != nil {
			t.Fatal(err)
		}
		e, err := audit.Decode(row.Line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// TestRecordOfAJob: each line of a job's history is an act in the record, in the same
// order, the user PIN is recorded with the step before it, and the last act says what
// was finished.
func TestRecordOfAJob(t *testing.T) {
	s := newStation(t)
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	history, err := s.runner.Journal.History(rec.Job.ID)
	if err != nil {
		t.Fatal(err)
	}
	got := acts(t, s.runner.Journal)
	history = slices.Insert(history, 4, Entry{Step: StepSetUserPIN, Epoch: 1})
	if len(got) != len(history) {
		t.Fatalf("%d acts for %d lines of history", len(got), len(history))
	}
	var kinds []string
	for i, act := range got {
		if act.Job != rec.Job.ID || act.Unit != rec.Job.UnitID() || act.Step != string(history[i].Step) || act.Epoch != history[i].Epoch {
			t.Errorf("act %+v of the line %+v", act, history[i])
		}
		kinds = append(kinds, string(act.Kind))
	}
	if want := "lease escrow token-write escrow pin-set token-write certificate-bound token-write installed"; strings.Join(kinds, " ") != want {
		t.Errorf("kinds %v, want %s", kinds, want)
	}
	f := rec.Facts
	last := got[len(got)-1]
	for what, want := range map[string]string{
		"certificate": f.CertificateSHA256, "publicKey": sha256hex(f.PublicKey),
		"userPinEnvelope": sha256hex(f.UserPINEnvelope), "soPinEnvelope": sha256hex(f.SOPINEnvelope),
	} {
		if last.Hashes[what] != want {
			t.Errorf("hash of %s: %s, want %s", what, last.Hashes[what], want)
		}
	}
	if last.IDs["certificateSerial"] != f.CertificateSerial || last.IDs["escrow"] != f.EscrowID || last.TokenSerial != string(rec.Token.Identity.Serial) {
		t.Errorf("the end is recorded as %+v", last)
	}
}

// TestRecordHasNothingOfAPerson: what an order says of people and companies stays out.
func TestRecordHasNothingOfAPerson(t *testing.T) {
	j, _ := openTestJournal(t)
	rec, err := j.Create(sampleJob(1), 1, token("A\x00B"))
	if err != nil {
		t.Fatal(err)
	}
	rec.State, rec.Reason = StateParked, "经办人甲 is not here"
	if err := j.Save(rec, "parked", ""); err != nil {
		t.Fatal(err)
	}
	for row, err := range j.Record() {
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"示例", "经办人甲", "91350200M0000000XX", "A\\u0000B"} {
			if strings.Contains(string(row.Line), secret) {
				t.Errorf("%q is in %s", secret, row.Line)
			}
		}
	}
	if got := acts(t, j)[0]; got.TokenSerial != "" || got.Hashes["tokenSerial"] != sha256hex([]byte("A\x00B")) {
		t.Errorf("a serial that is none: %+v", got)
	}
}

// TestRecordFollowsTheJournal: what was not journalled was not recorded.
func TestRecordFollowsTheJournal(t *testing.T) {
	j, _ := openTestJournal(t)
	if _, err := j.Create(sampleJob(1), 1, token("A1")); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Create(sampleJob(1), 2, token("A2")); err == nil {
		t.Fatal("a second job for the unit")
	}
	if err := j.ReportSent(1, "", audit.Entry{Kind: "no kind"}); !errors.Is(err, ErrJournal) {
		t.Errorf("an act that is none: %v", err)
	}
	if got := acts(t, j); len(got) != 1 {
		t.Errorf("%d acts", len(got))
	}
}

func TestRecordOfStarts(t *testing.T) {
	j, _ := openTestJournal(t)
	one, other := sha256hex([]byte("1")), sha256hex([]byte("2"))
	for i, start := range []struct {
		configuration string
		changed       bool
	}{{one, true}, {one, false}, {other, true}, {other, false}, {one, true}} {
		if changed, err := j.Started(start.configuration, "1.0", "file"); err != nil || changed != start.changed {
			t.Errorf("start %d: changed %v (%v)", i, changed, err)
		}
	}
	if _, err := j.db.Exec("INSERT INTO record VALUES (5, 'no JSON', x'')"); err != nil {
		t.Fatal(err)
	}
	if changed, err := j.Started(one, "1.0", "file"); err != nil || changed {
		t.Errorf("after a row that is none: %v (%v)", changed, err)
	}
	if _, err := audit.Verify(j.Record()); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("a row that is none: %v", err)
	}
	if _, err := j.db.Exec("DELETE FROM record WHERE n >= 5"); err != nil {
		t.Fatal(err)
	}
	var kinds []audit.Kind
	for _, act := range acts(t, j) {
		kinds = append(kinds, act.Kind)
	}
	if want := []audit.Kind{"config-change", "start", "config-change", "start", "config-change"}; !slices.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
}

// TestAnOlderJournalGetsARecord: its finished tokens are in it, so that they can be packed.
func TestAnOlderJournalGetsARecord(t *testing.T) {
	j, path := openTestJournal(t)
	for n, state := range []State{StateFinished, StateRunning, StateFailed} {
		rec, err := j.Create(sampleJob(n+1), 1, token(fmt.Sprint("A", n)))
		if err != nil {
			t.Fatal(err)
		}
		rec.State, rec.Facts.CertificateSHA256 = state, sha256hex([]byte{byte(n)})
		if state.Final() {
			err = j.Finish(rec, nil)
		} else {
			err = j.Save(rec, "generate-key", "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	backTo(t, j, 3)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	got := acts(t, again)
	if len(got) != 1 || got[0].Kind != audit.KindInstalled || got[0].Unit != sampleJob(1).UnitID() || got[0].Code != "before-the-record" {
		t.Errorf("its record: %+v", got)
	}
	if n, err := again.OnRecord(got[0].Job); err != nil || n != 0 {
		t.Errorf("its end is at %d (%v)", n, err)
	}
	if wanted, err := again.Unstated(-1, 100, 10); err != nil || len(wanted) != 0 {
		t.Errorf("statements are wanted: %+v (%v)", wanted, err)
	}
}

// TestRecordOnDisk changes every byte of the record in its file, drops, swaps and cuts
// rows, and puts the file back to each state that it ever had. All of it is held against
// the last anchor.
func TestRecordOnDisk(t *testing.T) {
	const size = 16
	j, path := openTestJournal(t)
	// Other files than this one are at stake in a test of durability.
	if _, err := j.db.Exec("PRAGMA synchronous = OFF"); err != nil {
		t.Fatal(err)
	}
	older := map[int]string{}
	for n := range size {
		older[n] = filepath.Join(t.TempDir(), "journal.db")
		if _, err := j.db.Exec("VACUUM INTO $1", older[n]); err != nil {
			t.Fatal(err)
		}
		err := j.Witness(audit.Entry{Kind: audit.KindRefusal, Unit: fmt.Sprintf("SAMPLE-%03d", n), Hashes: map[string]string{"csr": sha256hex([]byte{byte(n)})}})
		if err != nil {
			t.Fatal(err)
		}
	}
	anchor, err := j.Checkpoint(size)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Verify(j.Record(), anchor); err != nil {
		t.Fatal(err)
	}
	tried := 0
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := j.db.Exec(query, args...); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
	changed := func(query string, args ...any) {
		t.Helper()
		tried++
		exec("BEGIN")
		exec(query, args...)
		if _, err := audit.Verify(j.Record(), anchor); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("%s with %v: %v", query, args, err)
		}
		exec("ROLLBACK")
	}
	rows, err := j.RecordRows(0, size)
	if err != nil || len(rows) != size {
		t.Fatal(len(rows), err)
	}
	for n, row := range rows {
		for i := range row.Line {
			line := slices.Clone(row.Line)
			line[i] ^= 1 << (i % 7)
			changed("UPDATE record SET line = $1 WHERE n = $2", string(line), n)
		}
		for i := range row.Hashes {
			hashes := slices.Clone(row.Hashes)
			hashes[i] ^= 1 << (i % 8)
			changed("UPDATE record SET hashes = $1 WHERE n = $2", hashes, n)
		}
		changed("DELETE FROM record WHERE n = $1", n)
		changed("DELETE FROM record WHERE n >= $1", n)
		changed("UPDATE record SET n = n - 1000 WHERE n >= $1", n)
		if n > 0 {
			changed("UPDATE record SET line = (SELECT r.line FROM record r WHERE r.n = 2 * $1 - 1 - record.n) WHERE n IN ($1, $1 - 1)", n)
			changed("UPDATE record SET line = (SELECT r.line FROM record r WHERE r.n = 2 * $1 - 1 - record.n), hashes = (SELECT r.hashes FROM record r WHERE r.n = 2 * $1 - 1 - record.n) WHERE n IN ($1, $1 - 1)", n)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	for n, copied := range older {
		tried++
		data, err := os.ReadFile(copied)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		back, err := OpenJournal(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := audit.Verify(back.Record(), anchor); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("the file as it was at %d entries: %v", n, err)
		}
		// And if it goes on from there, it is another story.
		for range size {
			if err := back.Witness(audit.Entry{Kind: audit.KindRefusal, Unit: "SAMPLE-000"}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := audit.Verify(back.Record(), anchor); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("the file as it was at %d entries, and went on: %v", n, err)
		}
		if err := back.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d changes, each noticed", tried)
}
