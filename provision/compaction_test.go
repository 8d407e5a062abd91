package provision

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// heavy is a finished job as heavy as a real one, whose parcel has left and about which there
// is a statement.
func (r *packRoom) heavy(order string, sequence int) *Record {
	r.t.Helper()
	job := sampleJob(sequence)
	job.Subject.OrderID, job.Subject.UnitID, job.Subject.Of = order, packing.UnitID(order, sequence), 1
	job.Recipient = Recipient{Name: "收件人乙", Phone: "13000000000", Address: "示例路 1 号"}
	job.TokenLabel = pkcs11.TokenLabel(job.Subject.UnitID)
	rec, err := r.Journal.Create(job, 3, token("T-"+job.Subject.UnitID))
	r.must(err)
	rec.State, rec.Facts.Bound = StateRunning, true
	rec.Facts.DeliveredAs, rec.Facts.EscrowID = pkcs11.TokenSerial("D-"+job.Subject.UnitID), "escrow-"+job.Subject.UnitID
	rec.Facts.PublicKey = []byte("key of " + job.Subject.UnitID)
	rec.Facts.CSR, rec.Facts.Bundle = bytes.Repeat([]byte("request "), 60), bytes.Repeat([]byte("certificates "), 200)
	rec.Facts.SOPINBox, rec.Facts.UserPINBox = []byte("so box"), []byte("user box")
	rec.Facts.SOPINEnvelope, rec.Facts.UserPINEnvelope = bytes.Repeat([]byte("so "), 300), bytes.Repeat([]byte("user "), 200)
	rec.Facts.CertificateSerial, rec.Facts.CertificateSHA256 = sha256hex(rec.Facts.PublicKey)[:32], sha256hex(rec.Facts.PublicKey)
	for _, s := range Plan(job) {
		rec.Step = s.Name
		r.must(r.Journal.Save(rec, string(s.Name), ""))
	}
	rec.State = StateFinished
	r.must(r.Journal.Finish(rec, &Report{JobID: rec.Job.ID, Kind: ReportResult, UnitID: rec.Job.UnitID(), Generation: 1, Epoch: 3, Outcome: OutcomeInstalled, UserPINEnvelope: rec.Facts.UserPINEnvelope}))
	r.answer(installedAnswer)
	return rec
}

// leaves packs a key and has it leave.
func (r *packRoom) leaves(rec *Record, waybill string) {
	r.t.Helper()
	r.must(r.Journal.SaveStatement(rec.Job.ID, []byte("statement of "+rec.Job.ID)))
	r.ok(r.Open(rec.Job.Subject.OrderID, "packer-1"))
	r.ok(r.Scan(string(rec.Token.Identity.Serial), "packer-1"))
	r.ok(r.EnterWaybill(waybill, "packer-1"))
	r.ok(r.Close("packer-1"))
	r.answer(shippedAnswer)
	r.must(r.Journal.DestroyPINs(rec.Job.ID, "the parcel has left"))
}

// compactAll compacts until nothing is left, and says what went.
func (r *packRoom) compactAll(before time.Time, anchored int64) (sum Compacted) {
	r.t.Helper()
	for {
		done, err := r.Journal.Compact(before, anchored)
		r.must(err)
		if done.Jobs > jobsAtOnce || done.Entries > entriesAtOnce {
			r.t.Errorf("a pass of %d jobs and %d entries", done.Jobs, done.Entries)
		}
		if done == (Compacted{}) {
			return sum
		}
		sum.Jobs, sum.Entries = sum.Jobs+done.Jobs, sum.Entries+done.Entries
	}
}

func (r *packRoom) size() int64 {
	r.t.Helper()
	n, err := r.Journal.RecordSize()
	r.must(err)
	return n
}

// TestCompactedIsNotForgotten: after a compaction everything is refused that was refused
// before, every number still finds its key, the record goes on, and a tenth of the file is left.
func TestCompactedIsNotForgotten(t *testing.T) {
	r := newPackRoom(t)
	const units = 150
	var all []*Record
	for n := range units {
		rec := r.heavy(fmt.Sprintf("P-%d", n), 1)
		r.leaves(rec, fmt.Sprintf("SF%012d", n))
		all = append(all, rec)
	}
	_, err := r.Journal.Started(sha256hex([]byte("configuration")), "v1", "file")
	r.must(err)
	r.must(r.Journal.Shred(t.Context()))
	before, _, err := r.Journal.Size()
	r.must(err)
	size := r.size()
	anchor, err := r.Journal.Checkpoint(size)
	r.must(err)
	would, err := r.Journal.Compactable(time.Now().Add(time.Hour), size)
	r.must(err)
	done := r.compactAll(time.Now().Add(time.Hour), size)
	if done != would || done.Jobs != units || done.Entries != size {
		t.Errorf("%+v went of %d and %d, and %+v was foretold", done, units, size, would)
	}
	for unused := int64(1); unused > 0; {
		r.must(r.Journal.GiveBack(t.Context()))
		_, unused, err = r.Journal.Size()
		r.must(err)
	}
	r.must(r.Journal.Shred(t.Context()))
	info, err := os.Stat(r.path)
	r.must(err)
	t.Logf("%d bytes a unit before, %d after", before/units, info.Size()/units)
	if room := int64(roomForAJob); (info.Size()-room)*5 > (before - room) {
		t.Errorf("the file had %d bytes and has %d", before, info.Size())
	}
	r.reopen()

	text, err := os.ReadFile(r.path)
	r.must(err)
	for _, what := range []string{"收件人乙", "示例客车", "经办人甲", "示例路"} {
		if bytes.Contains(text, []byte(what)) {
			t.Errorf("%s is still in the file", what)
		}
	}
	rec := all[7]
	if knows, err := r.Journal.Knows(rec.Job.UnitID(), 1, 99); err != nil || !knows {
		t.Errorf("the unit is not known any more (%v)", err)
	}
	if given, err := r.Journal.LabelGiven(&Record{}, rec.Job.TokenLabel); err != nil || !given {
		t.Errorf("its label may be given again (%v)", err)
	}
	if serials, err := r.Journal.SerialsOfOthers(&Record{Token: rec.Token}); err != nil || len(serials) != units {
		t.Errorf("%d serials are known (%v)", len(serials), err)
	}
	keys := 0
	for known, err := range r.Journal.publicKeys() {
		r.must(err)
		if string(known.SPKI) == string(all[keys].Facts.PublicKey) {
			keys++
		}
	}
	if keys != units {
		t.Errorf("%d keys are known", keys)
	}
	twice, err := r.Journal.Create(sampleJob(1), 1, token("ANOTHER"))
	r.must(err)
	twice.State, twice.Facts.PublicKey = StateRunning, rec.Facts.PublicKey
	if err := r.Journal.Save(twice, "generate-key", ""); err == nil {
		t.Error("its key serves another job")
	}
	again, err := r.Journal.Create(rec.Job, 9, token("AGAIN"))
	r.must(err)
	if again.Job.ID != JobID(rec.Job.UnitID(), 1, 2) {
		t.Errorf("the next job for the unit is %s", again.Job.ID)
	}
	again.State = StateFailed
	r.must(r.Journal.Finish(again, nil))
	r.ok(r.Open(all[3].Job.Subject.OrderID, "packer-2"))
	r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) {
		return r.Scan(string(all[3].Token.Identity.Serial), "packer-2")
	})
	for _, code := range []string{rec.Job.Subject.OrderID, rec.Job.UnitID(), rec.Job.ID, string(rec.Token.Identity.Serial), rec.Facts.CertificateSerial, "SF000000000007"} {
		found, err := r.Journal.Find(code, 5)
		if err != nil || !slices.ContainsFunc(found, func(m Match) bool { return m.Job.ID == rec.Job.ID }) {
			t.Errorf("%s finds %d (%v)", code, len(found), err)
		}
	}
	if _, der, err := r.Journal.Statement(all[3].Job.UnitID()); err != nil || string(der) != "statement of "+all[3].Job.ID {
		t.Errorf("its statement: %q (%v)", der, err)
	}
	if cert, err := foundJob(r.Journal.Job(rec.Job.ID)).Certificate(); cert != nil || err != nil {
		t.Errorf("its certificate: %v (%v)", cert, err)
	}
	told, err := r.Journal.Told(rec.Job.ID)
	if err != nil || len(told) != 2 || told[0].Answer != installedAnswer || told[1].Kind != ReportShipment || told[1].Answer != shippedAnswer {
		t.Errorf("what was told: %+v (%v)", told, err)
	}
	if ends, err := r.Journal.Ended(time.Now().Add(-time.Hour), time.Now().Add(time.Hour)); err != nil || len(ends) != units+1 {
		t.Errorf("%d ended (%v)", len(ends), err)
	}
	if changed, err := r.Journal.Started(sha256hex([]byte("configuration")), "v1", "file"); err != nil || changed {
		t.Errorf("the configuration of the last start is forgotten (%v)", err)
	}
	if _, err := r.Journal.VerifyRecord(anchor); err != nil {
		t.Errorf("the record: %v", err)
	}
	if c, err := r.Journal.Checkpoint(size); err != nil || c.Root != anchor.Root {
		t.Errorf("the checkpoint of before is another one (%v)", err)
	}
	if _, err := r.Journal.ProveAct(r.size(), size+1); err != nil {
		t.Errorf("a new act cannot be proved: %v", err)
	}
}

func foundJob(r *Record, err error) *Record {
	if err != nil || r == nil {
		return &Record{}
	}
	return r
}

// TestWhatIsNotCompacted: whatever somebody still needs stays as it is.
func TestWhatIsNotCompacted(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for name, row := range map[string]struct {
		before   time.Time
		anchored func(*packRoom) int64
		end      func(*packRoom, *Record)
	}{
		"it is too young":              {before: time.Now().Add(-time.Hour)},
		"the server has not signed it": {anchored: func(*packRoom) int64 { return 0 }},
		"there is no statement":        {end: func(r *packRoom, rec *Record) { r.exec("UPDATE evidence SET statement = NULL") }},
		"its PINs are here":            {end: func(r *packRoom, rec *Record) { r.exec(`UPDATE job SET facts = json_set(facts, '$.SOPINBox', 'eA==')`) }},
		"a report waits":               {end: func(r *packRoom, rec *Record) { r.exec("UPDATE report SET sent_at = NULL WHERE id = 2") }},
		"its label is not where it should": {end: func(r *packRoom, rec *Record) {
			r.exec("INSERT INTO label (job_id, state, since, says) VALUES ($1, 'printed', 1, '')", rec.Job.ID)
		}},
		"nobody has decided": {end: func(r *packRoom, rec *Record) { r.exec("UPDATE job SET state = 'quarantined'") }},
		"it is at work":      {end: func(r *packRoom, rec *Record) { r.exec("UPDATE job SET state = 'parked'") }},
	} {
		t.Run(name, func(t *testing.T) {
			r := newPackRoom(t)
			rec := r.heavy("P-1", 1)
			r.leaves(rec, "SF000000000001")
			if row.before.IsZero() {
				row.before = later
			}
			anchored := r.size()
			if row.anchored != nil {
				anchored = row.anchored(r)
			}
			if row.end != nil {
				row.end(r, rec)
			}
			r.compactAll(row.before, anchored)
			now := foundJob(r.Journal.Job(rec.Job.ID))
			if now.Facts.Compacted || len(now.Facts.CSR) == 0 || now.Job.Recipient.Name == "" {
				t.Errorf("%+v", now.Facts)
			}
			// The same without the obstacle.
			r.exec("UPDATE job SET state = 'finished', facts = json_remove(facts, '$.SOPINBox'); UPDATE report SET sent_at = 1; DELETE FROM label; UPDATE evidence SET statement = x'01'")
			r.compactAll(later, r.size())
			if !foundJob(r.Journal.Job(rec.Job.ID)).Facts.Compacted {
				t.Error("nothing hinders, and it stays")
			}
		})
	}
}

func (r *packRoom) exec(query string, args ...any) {
	r.t.Helper()
	_, err := r.Journal.db.Exec(query, args...)
	r.must(err)
}

// TestLinesThatAreNeeded: the lines from the end of a key without a statement on stay, for it
// has the line in it; and so does what the server has not signed.
func TestLinesThatAreNeeded(t *testing.T) {
	r := newPackRoom(t)
	r.leaves(r.heavy("P-1", 1), "SF000000000001")
	waits := r.heavy("P-2", 1)
	r.leaves(r.heavy("P-3", 1), "SF000000000003")
	end, err := r.Journal.OnRecord(waits.Job.ID)
	r.must(err)
	later := time.Now().Add(time.Hour)
	r.compactAll(later, 5)
	if base, err := r.Journal.RecordBase(); err != nil || base.Size != 5 {
		t.Errorf("lines begin at %d, and 5 are signed (%v)", base.Size, err)
	}
	r.exec("UPDATE evidence SET statement = NULL WHERE job_id = $1", waits.Job.ID)
	r.compactAll(later, r.size())
	if base, err := r.Journal.RecordBase(); err != nil || base.Size != end {
		t.Errorf("lines begin at %d, and %d is needed (%v)", base.Size, end, err)
	}
	if wanted, err := r.Journal.Unstated(-1, r.size(), 10); err != nil || len(wanted) != 1 || wanted[0].N != end || len(wanted[0].Line) == 0 {
		t.Errorf("%+v (%v)", wanted, err)
	}
	if rows, err := r.Journal.RecordRows(end, 1); err != nil || len(rows) != 1 || !strings.Contains(string(rows[0].Line), `"installed"`) {
		t.Errorf("%s (%v)", rows, err)
	}
}

// TestCompactedRecordOnDisk: of every length of the beginning, no byte of what is left can be
// changed without being noticed against a checkpoint.
func TestCompactedRecordOnDisk(t *testing.T) {
	const size = 23
	r := newPackRoom(t)
	r.exec("PRAGMA synchronous = OFF")
	for n := range size {
		r.must(r.Journal.Witness(audit.Entry{Kind: audit.KindRefusal, Unit: fmt.Sprintf("SAMPLE-%03d", n)}))
	}
	anchor, err := r.Journal.Checkpoint(size)
	r.must(err)
	broken := func(query string, args ...any) {
		t.Helper()
		r.exec("BEGIN")
		r.exec(query, args...)
		if _, err := r.Journal.VerifyRecord(anchor); !errors.Is(err, audit.ErrBroken) && !errors.Is(err, audit.ErrDropped) {
			t.Errorf("%s %v: %v", query, args, err)
		}
		r.exec("ROLLBACK")
	}
	for to := int64(1); to <= size; to++ {
		if done := r.compactAll(time.Now().Add(time.Hour), to); done.Entries != 1 {
			t.Fatalf("%+v", done)
		}
		whole, err := r.Journal.VerifyRecord(anchor)
		if err != nil || whole.Size != size {
			t.Fatalf("from %d: %v", to, err)
		}
		if _, err := r.Journal.VerifyRecord(); !errors.Is(err, audit.ErrBroken) {
			t.Errorf("from %d, without a checkpoint: %v", to, err)
		}
		early := anchor
		early.Size = to - 1
		if _, err := r.Journal.VerifyRecord(early, anchor); !errors.Is(err, audit.ErrDropped) {
			t.Errorf("from %d, with a checkpoint of %d: %v", to, early.Size, err)
		}
		for _, n := range audit.BaseRows(to) {
			var hashes []byte
			r.must(r.Journal.db.QueryRow("SELECT hashes FROM record WHERE n = $1", n).Scan(&hashes))
			// Of the row's subtrees the largest is what counts.
			at := len(hashes) - 1
			hashes[at] ^= 1
			broken("UPDATE record SET hashes = $1 WHERE n = $2", hashes, n)
			broken("DELETE FROM record WHERE n = $1", n)
		}
		broken("UPDATE record_base SET n = n - 1")
		broken("UPDATE record_base SET n = 1000")
	}
	// It goes on as one that has all of its lines.
	for n := range 8 {
		r.must(r.Journal.Witness(audit.Entry{Kind: audit.KindRefusal, Unit: fmt.Sprintf("AFTER-%03d", n)}))
	}
	if _, err := r.Journal.VerifyRecord(anchor); err != nil {
		t.Error(err)
	}
}

// TestCompactingIsByIndex: what is looked for every minute costs the same after years.
func TestCompactingIsByIndex(t *testing.T) {
	j, _ := openTestJournal(t)
	rows, err := j.db.Query("EXPLAIN QUERY PLAN SELECT rowid "+doneQuery+" ORDER BY updated_at LIMIT $3", 1, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	plan := ""
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan += detail + "\n"
	}
	if err := rows.Err(); err != nil || !strings.Contains(plan, "job_whole") || strings.Contains(plan, "SCAN") || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("%s(%v)", plan, err)
	}
}

// TestRebuildOfAnOlderJournal: a file that was made before journals gave pages back does so
// from then on.
func TestRebuildOfAnOlderJournal(t *testing.T) {
	j, err := OpenJournal(filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	mode := func() (mode int) {
		t.Helper()
		if err := j.db.QueryRow("PRAGMA auto_vacuum").Scan(&mode); err != nil {
			t.Fatal(err)
		}
		return mode
	}
	const none, incremental = 0, 2
	if mode() != incremental {
		t.Errorf("a new one has mode %d", mode())
	}
	if _, err := j.db.Exec("PRAGMA auto_vacuum = none; VACUUM"); err != nil {
		t.Fatal(err)
	}
	if mode() != none {
		t.Fatal("it is not an older one")
	}
	if err := j.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	if mode() != incremental {
		t.Errorf("after it was written anew it has mode %d", mode())
	}
}
