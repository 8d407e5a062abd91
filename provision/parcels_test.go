package provision

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

const sampleWaybill = "SF123456789012"

// packRoom is a journal with finished keys, and the table over it.
type packRoom struct {
	t    *testing.T
	path string
	Table
}

func newPackRoom(t *testing.T) *packRoom {
	t.Helper()
	j, path := openTestJournal(t)
	g, err := packing.NewGrammar([]string{"SF[0-9]{12,13}"})
	if err != nil {
		t.Fatal(err)
	}
	return &packRoom{t, path, Table{Journal: j, Grammar: g, Verify: packing.VerifyNever, Anchored: 1 << 40, Now: time.Now}}
}

// reopen is a crash and a new start.
func (r *packRoom) reopen() {
	r.t.Helper()
	r.must(r.Journal.Close())
	j, err := OpenJournal(r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = j.Close() })
	r.Journal = j
}

func (r *packRoom) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// job journals a job for a unit of an order and has it end; answer is the central server's, "" for
// none yet.
func (r *packRoom) job(order string, sequence, of, generation int, token TokenRef, state State, answer string) *Record {
	r.t.Helper()
	job := sampleJob(sequence)
	job.Subject.OrderID, job.Subject.UnitID, job.Subject.Of, job.Generation = order, packing.UnitID(order, sequence), of, generation
	rec, err := r.Journal.Create(job, 1, token)
	r.must(err)
	if !state.Final() {
		return rec
	}
	rec.State, rec.Facts.CertificateSHA256 = state, sha256hex([]byte(token.Identity.Serial))
	var report *Report
	if state == StateFinished {
		report = &Report{JobID: rec.Job.ID, Kind: ReportResult, UnitID: rec.Job.UnitID(), Generation: generation, Epoch: 1, Outcome: OutcomeInstalled}
	}
	r.must(r.Journal.Finish(rec, report))
	if answer != "" {
		r.answer(answer)
	}
	return rec
}

// finished is a key that may be packed.
func (r *packRoom) finished(order string, sequence, of int, serial string) *Record {
	r.t.Helper()
	return r.job(order, sequence, of, 1, token(serial), StateFinished, installedAnswer)
}

// answer has the server answer every report that waits.
func (r *packRoom) answer(text string) {
	r.t.Helper()
	for _, report := range r.pending() {
		r.must(r.Journal.ReportSent(report.ID, text))
	}
}

func (r *packRoom) pending() []Report {
	r.t.Helper()
	reports, err := r.Journal.PendingReports(100)
	r.must(err)
	return reports
}

func (r *packRoom) now() packing.Desk {
	r.t.Helper()
	d, err := r.Desk()
	r.must(err)
	return d
}

// ok runs an act that must be done.
func (r *packRoom) ok(d packing.Desk, a packing.Act, err error) packing.Desk {
	r.t.Helper()
	r.must(err)
	if a.N == 0 || a.By == "" || a.Parcel == 0 {
		r.t.Fatalf("act %+v", a)
	}
	return d
}

// no runs one that must be refused, and looks that nothing has changed.
func (r *packRoom) no(why packing.Reason, act func() (packing.Desk, packing.Act, error)) {
	r.t.Helper()
	before := r.counts()
	_, _, err := act()
	var refusal *packing.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != why || errors.Is(err, ErrJournal) {
		r.t.Errorf("got %v, want %s", err, why)
	}
	if after := r.counts(); !maps.Equal(before, after) {
		r.t.Errorf("a refusal has changed %v to %v", before, after)
	}
}

func (r *packRoom) counts() map[string]int {
	r.t.Helper()
	out := map[string]int{}
	for _, table := range []string{"parcel_act", "record", "report", "job", "entry"} {
		var n int
		r.must(r.Journal.db.QueryRow("SELECT COUNT(*) FROM " + table).Scan(&n))
		out[table] = n
	}
	return out
}

// TestParcel goes the whole way, with a new start after every act.
func TestParcel(t *testing.T) {
	r := newPackRoom(t)
	r.finished("ALPHA-1", 1, 2, "A1")
	r.finished("ALPHA-1", 2, 2, "A2")
	r.finished("BRAVO-1", 1, 1, "B1")
	for _, code := range []string{"ALPHA-1", "A2", "A1", sampleWaybill} {
		r.ok(r.Scan(code, "p1"))
		r.reopen()
	}
	r.no(packing.WrongKey, func() (packing.Desk, packing.Act, error) { return r.Scan("B1", "p1") })
	r.ok(r.Undo("A1", "p2"))
	r.reopen()
	r.no(packing.Missing, func() (packing.Desk, packing.Act, error) { return r.Close("p1") })
	r.ok(r.Scan("A1", "p2"))
	r.ok(r.Close("p1"))
	r.reopen()

	reports := r.pending()
	if len(reports) != 2 {
		t.Fatalf("outbox %+v", reports)
	}
	for i, unit := range []string{"ALPHA-1-002", "ALPHA-1-001"} {
		p := reports[i]
		if p.Kind != ReportShipment || p.UnitID != unit || p.Generation != 1 || p.Epoch != 1 || p.Waybill != sampleWaybill || p.PackedBy != "p1" || !slices.Equal(p.Scans, []string{"A2", "A1"}) {
			t.Errorf("report %+v", p)
		}
	}
	if d := r.now(); d.Parcel.Open() || len(d.Units) != 0 {
		t.Errorf("the table after the parcel: %+v", d)
	}
	r.ok(r.Scan("ALPHA-1", "p1"))
	r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) { return r.Scan("A1", "p1") })
	r.ok(r.Undo("", "p1"))

	var said []string
	for _, e := range acts(t, r.Journal) {
		switch e.Kind {
		case audit.KindScanned, audit.KindPacked, audit.KindParcel:
			said = append(said, strings.TrimSpace(fmt.Sprintf("%s %s %s%s %s %s %s", e.Kind, e.Code, e.Unit, e.TokenSerial, e.IDs["by"], e.IDs["order"], e.IDs["waybill"])))
		}
	}
	want := []string{
		"parcel opened  p1 ALPHA-1", "scanned  ALPHA-1-002A2 p1 ALPHA-1", "scanned  ALPHA-1-001A1 p1 ALPHA-1", "parcel waybill  p1 ALPHA-1 " + sampleWaybill,
		"scanned undone ALPHA-1-001A1 p2 ALPHA-1", "scanned  ALPHA-1-001A1 p2 ALPHA-1",
		"packed  ALPHA-1-002A2 p1 ALPHA-1 " + sampleWaybill, "packed  ALPHA-1-001A1 p1 ALPHA-1 " + sampleWaybill,
		"parcel opened  p1 ALPHA-1", "parcel undone  p1 ALPHA-1",
	}
	if !slices.Equal(said, want) {
		t.Errorf("on record:\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}

// TestAnswersComeBack: what the server has against a shipment is a parcel to be looked at,
// and its key may be packed by somebody else.
func TestAnswersComeBack(t *testing.T) {
	r := newPackRoom(t)
	r.finished("ALPHA-1", 1, 2, "A1")
	r.finished("ALPHA-1", 2, 2, "A2")
	pack := func(by string, codes ...string) {
		t.Helper()
		for _, code := range append([]string{"ALPHA-1"}, codes...) {
			r.ok(r.Scan(code, by))
		}
		r.ok(r.Close(by))
	}
	last := func() Shipment {
		t.Helper()
		all, err := r.Journal.Shipments()
		r.must(err)
		return all[len(all)-1]
	}
	pack("p1", "A1", "A2", sampleWaybill)
	if s := last(); s.Left() || s.Refused() || len(s.Answers) != 2 {
		t.Errorf("without an answer: %+v", s)
	}
	first, second := r.pending()[0], r.pending()[1]
	r.must(r.Journal.ReportSent(first.ID, "refused: same-person"))
	r.must(r.Journal.ReportSent(second.ID, shippedAnswer))
	if s := last(); s.Left() || !s.Refused() || s.Answers["ALPHA-1-001"] != "refused: same-person" {
		t.Errorf("refused: %+v", s)
	}
	pack("p2", "A1", sampleWaybill) // the same paper: it is the same parcel on the table
	if got := r.pending(); len(got) != 1 || got[0].UnitID != "ALPHA-1-001" || got[0].PackedBy != "p2" {
		t.Errorf("outbox %+v", got)
	}
	r.answer(shippedAnswer)
	if s := last(); !s.Left() || s.Refused() {
		t.Errorf("shipped: %+v", s)
	}
	all, err := r.Journal.Shipments()
	if err != nil || len(all) != 2 || !all[0].Refused() {
		t.Errorf("the first parcel is still one that was refused: %+v (%v)", all, err)
	}
	r.finished("BRAVO-1", 1, 1, "B1")
	r.ok(r.Scan("BRAVO-1", "p1"))
	r.ok(r.Scan("B1", "p1"))
	r.no(packing.WrongKey, func() (packing.Desk, packing.Act, error) { return r.Scan(sampleWaybill, "p1") })
	r.ok(r.Scan("SF123456789013", "p1"))
	r.ok(r.Close("p1"))
	r.answer("HELD")
	if s := last(); s.Left() || !s.Refused() {
		t.Errorf("an answer that nobody foresaw: %+v", s)
	}
}

// TestStandings: what the journal knows of a unit decides whether its key may leave.
func TestStandings(t *testing.T) {
	r := newPackRoom(t)
	slot := TokenRef{Module: "bay", Identity: pkcs11.Identity{Serial: "0000", SlotDescription: "reader 1"}}
	const of = 8
	r.finished("ALPHA-1", 1, of, "A1")
	r.job("ALPHA-1", 2, of, 1, token("A2"), StateFinished, "")
	r.answer("") // which is none; the answers that follow are not its own
	r.job("ALPHA-1", 3, of, 1, token("A3"), StateFinished, "CANCELLED")
	r.job("ALPHA-1", 4, of, 1, token("A4"), StateQuarantined, "")
	r.job("ALPHA-1", 5, of, 1, token("A5"), StateQueued, "")
	r.job("ALPHA-1", 6, of, 1, slot, StateFinished, installedAnswer)
	n, err := r.Journal.RecordSize()
	r.must(err)
	r.finished("ALPHA-1", 7, of, "A7")
	r.Anchored = n
	units, err := r.Order("ALPHA-1")
	r.must(err)
	var got []packing.Standing
	for _, u := range units {
		got = append(got, u.Standing)
	}
	want := []packing.Standing{packing.Ready, packing.Unreported, packing.NotTaken, packing.GivenUp, packing.Working, packing.Nameless, packing.Unanchored, packing.Elsewhere}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.ok(r.Open("ALPHA-1", "p1"))
	for _, serial := range []string{"A2", "A3", "A4", "A5", "0000", "A7"} {
		r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) { return r.Scan(serial, "p1") })
	}
	r.ok(r.Scan("A1", "p1"))
	for _, unit := range []int{2, 3, 5, 6, 7} {
		r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) { return r.LeaveOut(packing.UnitID("ALPHA-1", unit), "p1") })
	}
	r.ok(r.LeaveOut("ALPHA-1-004", "p1"))
	r.ok(r.LeaveOut("ALPHA-1-008", "p1"))
	r.no(packing.Missing, func() (packing.Desk, packing.Act, error) { return r.Close("p1") })

	// The unit's key is made anew: the old one does not go with it, even once it is finished.
	r.job("ALPHA-1", 1, of, 2, token("N1"), StateFinished, installedAnswer)
	r.Anchored = 1 << 40
	r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) { return r.Close("p1") })
	r.ok(r.Undo("A1", "p1"))
	r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) { return r.Scan("A1", "p1") })
	r.ok(r.Scan("N1", "p1"))
}

// TestWhoseTokenItIs: a serial stands for the last thing that was done to the token.
func TestWhoseTokenItIs(t *testing.T) {
	r := newPackRoom(t)
	r.job("ALPHA-1", 1, 1, 1, token("T1"), StateFailed, "") // its unit went elsewhere, the token back to stock
	r.finished("BRAVO-1", 1, 1, "T1")
	r.ok(r.Open("BRAVO-1", "p1"))
	r.ok(r.Scan("T1", "p1"))
	r.ok(r.Undo("", "p1"))
	r.ok(r.Undo("", "p1"))

	r.finished("CHARLIE-1", 1, 1, "T2")
	r.job("DELTA-1", 1, 1, 1, token("T2"), StateQuarantined, "") // and then it was tried for another
	r.ok(r.Open("CHARLIE-1", "p1"))
	r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) { return r.Scan("T2", "p1") })
	r.ok(r.Undo("", "p1"))

	other := token("T3")
	other.Module = "other"
	r.finished("ECHO-1", 1, 1, "T3")
	r.job("FOXTROT-1", 1, 1, 1, other, StateFinished, installedAnswer)
	r.ok(r.Open("ECHO-1", "p1"))
	r.no(packing.Unclear, func() (packing.Desk, packing.Act, error) { return r.Scan("T3", "p1") })
}

// TestLettersAndParcelsApart: who has confirmed a letter does not pack its key.
func TestLettersAndParcelsApart(t *testing.T) {
	r := newPackRoom(t)
	rec := r.finished("ALPHA-1", 1, 1, "A1")
	r.must(r.Journal.amendLetters(rec, "letter", nil, func(f *Facts) { f.Letters = []Letter{{State: LetterConfirmed, ConfirmedBy: "p1"}} }))
	r.ok(r.Open("ALPHA-1", "p1"))
	r.no(packing.SamePerson, func() (packing.Desk, packing.Act, error) { return r.Scan("A1", "p1") })
	r.ok(r.Scan("A1", "p2"))
	r.ok(r.EnterWaybill(sampleWaybill, "p2"))
	r.no(packing.SamePerson, func() (packing.Desk, packing.Act, error) { return r.Close("p1") })
	r.ok(r.Close("p2"))
}

// TestAnActIsWhole: an act that fails at any of its writes has done nothing, and is done
// when it is tried again.
func TestAnActIsWhole(t *testing.T) {
	for _, table := range []string{"parcel_act", "record", "report"} {
		r := newPackRoom(t)
		r.finished("ALPHA-1", 1, 2, "A1")
		r.finished("ALPHA-1", 2, 2, "A2")
		steps := []func() (packing.Desk, packing.Act, error){
			func() (packing.Desk, packing.Act, error) { return r.Open("ALPHA-1", "p1") },
			func() (packing.Desk, packing.Act, error) { return r.Scan("A1", "p1") },
			func() (packing.Desk, packing.Act, error) { return r.Undo("", "p1") },
			func() (packing.Desk, packing.Act, error) { return r.Scan("A1", "p1") },
			func() (packing.Desk, packing.Act, error) { return r.Scan("A2", "p1") },
			func() (packing.Desk, packing.Act, error) { return r.EnterWaybill(sampleWaybill, "p1") },
			func() (packing.Desk, packing.Act, error) { return r.Close("p1") },
		}
		failed := 0
		for i, step := range steps {
			for at := 0; ; at++ { // the at-th row of this act
				_, err := r.Journal.db.Exec(fmt.Sprintf("CREATE TEMP TRIGGER full BEFORE INSERT ON %s WHEN (SELECT COUNT(*) FROM %[1]s) >= %d BEGIN SELECT RAISE(ABORT, 'disk full'); END", table, r.counts()[table]+at))
				r.must(err)
				before, was := r.counts(), fmt.Sprintf("%+v", r.now())
				_, _, err = step()
				_, dropped := r.Journal.db.Exec("DROP TRIGGER full")
				r.must(dropped)
				if err == nil {
					break
				}
				failed++
				if !errors.Is(err, ErrJournal) || !maps.Equal(before, r.counts()) || fmt.Sprintf("%+v", r.now()) != was {
					t.Fatalf("step %d, row %d of %s: %v; %v, then %v", i, at, table, err, before, r.counts())
				}
				r.reopen()
			}
		}
		least := map[string]int{"parcel_act": 7, "record": 8, "report": 2}
		if failed != least[table] || len(r.pending()) != 2 {
			t.Errorf("%s: %d writes failed, want %d; outbox %d", table, failed, least[table], len(r.pending()))
		}
	}
}

// TestParcelsInTheJournal follows a naive model through long random runs of two orders, with
// parcels opened, dropped and closed, and new starts between.
func TestParcelsInTheJournal(t *testing.T) {
	keys := map[string][]string{"ALPHA-1": {"A1", "A2", "A3"}, "BRAVO-1": {"B1", "B2"}}
	closed := 0
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := newPackRoom(t)
		for order, serials := range keys {
			for i, s := range serials {
				r.finished(order, i+1, len(serials), s)
			}
		}
		r.job("ALPHA-1", 3, 3, 2, token("N3"), StateFinished, installedAnswer) // in the place of A3
		belongs := map[string]string{"A1": "ALPHA-1", "A2": "ALPHA-1", "N3": "ALPHA-1", "B1": "BRAVO-1", "B2": "BRAVO-1"}
		left := map[string]int{"ALPHA-1": 3, "BRAVO-1": 2}
		open, box, paper, done := "", map[string]bool{}, "", map[string]bool{}
		codes := []string{"ALPHA-1", "BRAVO-1", "A1", "A2", "A3", "N3", "B1", "B2", "Z9", "SF000000000001", "SF000000000002", "undo", "close"}
		for range 150 {
			code := codes[random.IntN(len(codes))]
			want, err := false, error(nil)
			switch order, isOrder := left[code]; {
			case code == "undo":
				serial := slices.Sorted(maps.Keys(box))
				if len(serial) == 0 || open == "" {
					continue
				}
				code = serial[random.IntN(len(serial))]
				_, _, err = r.Undo(code, "p1")
				delete(box, code)
				want = true
			case code == "close":
				want = open != "" && paper != "" && len(box) == left[open] && !done[open]
				_, _, err = r.Close("p1")
				if want {
					closed++
					done[open], open, box, paper = true, "", map[string]bool{}, ""
				}
			case isOrder && order > 0:
				want = open == ""
				_, _, err = r.Scan(code, "p1")
				if want {
					open = code
				}
			case strings.HasPrefix(code, "SF"):
				want = open != "" && paper == "" && !done[open] && len(box) == left[open] && code == map[string]string{"ALPHA-1": "SF000000000001", "BRAVO-1": "SF000000000002"}[open]
				if open != "" && paper == "" && !done[open] && len(box) == left[open] && !want {
					continue // somebody else's paper is fine as long as it was not used
				}
				_, _, err = r.Scan(code, "p1")
				if want {
					paper = code
				}
			default:
				want = open != "" && belongs[code] == open && !box[code] && !done[open]
				_, _, err = r.Scan(code, "p1")
				if want {
					box[code] = true
				}
			}
			var refusal *packing.Refusal
			if err != nil && !errors.As(err, &refusal) {
				t.Fatal(err)
			}
			d := r.now()
			tokens := slices.Sorted(slices.Values(d.Parcel.Tokens()))
			if (err == nil) != want || !slices.Equal(tokens, slices.Sorted(maps.Keys(box))) || d.Parcel.Order != open || d.Parcel.Waybill != paper {
				t.Fatalf("seed %d: %s: %v, want done %v; parcel of %s with %v, %s; want %s with %v, %s", seed, code, err, want, d.Parcel.Order, tokens, d.Parcel.Waybill, open, box, paper)
			}
			if random.IntN(20) == 0 {
				r.reopen()
			}
			if done[open] { // nothing of it is left: it is dropped
				r.ok(r.Undo("", "p1"))
				open = ""
			}
		}
		for _, p := range r.pending() {
			order, _, _ := strings.Cut(p.UnitID, "-00")
			want := slices.Clone(map[string][]string{"ALPHA-1": {"A1", "A2", "N3"}, "BRAVO-1": {"B1", "B2"}}[order])
			if got := slices.Sorted(slices.Values(p.Scans)); !slices.Equal(got, want) {
				t.Errorf("seed %d: %s left with %v", seed, p.UnitID, got)
			}
		}
	}
	if closed < 10 {
		t.Errorf("only %d parcels were closed", closed)
	}
}

// TestUnpacked: which orders have a key to be packed, and which of them can be.
func TestUnpacked(t *testing.T) {
	r := newPackRoom(t)
	r.finished("ALPHA-1", 1, 2, "A1")
	r.finished("BRAVO-1", 1, 2, "B1")
	r.job("BRAVO-1", 2, 2, 1, token("B2"), StateQueued, "")
	r.finished("CHARLIE-1", 1, 1, "C1")
	r.job("DELTA-1", 1, 1, 1, token("D1"), StateQuarantined, "")
	look := func(want map[string]bool) {
		t.Helper()
		got := map[string]bool{}
		all, err := r.Unpacked()
		r.must(err)
		for _, u := range all {
			got[u.Order] = u.Ready()
		}
		if !maps.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	look(map[string]bool{"ALPHA-1": true, "BRAVO-1": false, "CHARLIE-1": true}) // the rest of ALPHA-1 is elsewhere
	for _, code := range []string{"CHARLIE-1", "C1", sampleWaybill} {
		r.ok(r.Scan(code, "p1"))
	}
	r.ok(r.Close("p1"))
	look(map[string]bool{"ALPHA-1": true, "BRAVO-1": false})
	r.answer("refused: same-person")
	look(map[string]bool{"ALPHA-1": true, "BRAVO-1": false, "CHARLIE-1": true})
}
