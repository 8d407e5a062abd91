package packing

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing/packingtest"
)

// world is a table with all that a caller keeps of it: acts, and what codes mean.
type world struct {
	t      testing.TB
	desk   Desk
	orders map[string][]Unit
	acts   []Act
}

func newWorld(t testing.TB, verify Policy, quantities map[string]int) *world {
	t.Helper()
	g, err := NewGrammar([]string{"SF[0-9]{12,13}"})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, desk: Desk{Grammar: g, Verify: verify}, orders: map[string][]Unit{}}
	for order, n := range quantities {
		var known []Unit
		for i := range n {
			id := UnitID(order, i+1)
			known = append(known, Unit{ID: id, Order: order, Sequence: i + 1, Of: n, Standing: Ready, Job: id + "-g1-1", Token: fmt.Sprintf("%s%d", order[:1], i+1)})
		}
		w.orders[order] = Whole(order, known)
	}
	return w
}

func (w *world) means(code string) (m Meaning) {
	_, m.Order = w.orders[code]
	for _, units := range w.orders {
		for _, u := range units {
			if u.Token == code && code != "" {
				m.Units = append(m.Units, u)
			}
		}
	}
	return m
}

// write does what the journal does.
func (w *world) write(a Act, err error) error {
	if err != nil {
		var r *Refusal
		if !errors.As(err, &r) || r.Reason == "" || strings.TrimSpace(r.Error()) == "" {
			w.t.Fatalf("a refusal without reason or sentence: %v", err)
		}
		return err
	}
	a.N, a.Parcel = int64(len(w.acts)+1), w.desk.Parcel.N
	if a.By = "p1"; a.Kind == Opened {
		a.Parcel = a.N
	}
	w.acts = append(w.acts, a)
	w.desk.Parcel = Replay(slices.Collect(func(yield func(Act) bool) {
		for _, b := range w.acts {
			if b.Parcel == a.Parcel && !yield(b) {
				return
			}
		}
	}))
	w.desk.Units = w.orders[w.desk.Parcel.Order]
	return nil
}

func (w *world) scan(code string) error { return w.write(w.desk.Scan(code, w.means(code), "p1")) }
func (w *world) undo(code string) error { return w.write(w.desk.Undo(code)) }
func (w *world) close(by string) error  { return w.write(w.desk.Close(by)) }
func (w *world) insert(code string) error {
	k, err := w.desk.ToVerify(code)
	if err != nil {
		return err
	}
	return w.write(w.desk.Verified(k))
}

func (w *world) refused(err error, why Reason, says string) {
	w.t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != why || !strings.Contains(r.Error(), says) {
		w.t.Errorf("got %v, want %s and %q", err, why, says)
	}
}

func (w *world) must(errs ...error) {
	w.t.Helper()
	if err := errors.Join(errs...); err != nil {
		w.t.Fatal(err)
	}
}

const undoing, closing = "(undo)", "(close)"

// follow has both do the same, and compares them after each step.
func follow(t *testing.T, steps []string) (closed bool) {
	t.Helper()
	w := newWorld(t, VerifyNever, map[string]int{"ALPHA-1": 3, "BRAVO-1": 2})
	w.must(w.scan("ALPHA-1"))
	n := &packingtest.Box{Want: []string{"A1", "A2", "A3"}}
	for i, s := range steps {
		var err error
		var ok bool
		switch s {
		case undoing:
			if n.Bare() {
				continue // it would drop the parcel, which has a test of its own
			}
			err, ok = w.undo(""), n.TakeBack()
		case closing:
			err, ok = w.close("p1"), n.Close()
		default:
			err, ok = w.scan(s), n.Put(s)
		}
		p := w.desk.Parcel
		if (err == nil) != ok || !slices.Equal(p.Tokens(), n.Keys) || (p.Waybill != "") != n.Waybill || p.Open() == n.Shut {
			t.Fatalf("%v, step %d: %v; parcel %v with waybill %q, open %v; want %+v", steps, i, err, p.Tokens(), p.Waybill, p.Open(), n)
		}
	}
	return n.Shut
}

// TestNoOrderOfScans goes through every order of two orders' serials, one of them twice, and
// the waybill, with an undo somewhere, closing being tried after each scan; and of one
// order's with a strange one, with an undo at every place: the parcel is always what the naive model's box is, and is closed with
// exactly its order's keys or not at all.
func TestNoOrderOfScans(t *testing.T) {
	runs, closed := 0, 0
	packingtest.Permute([]string{"A1", "A2", "A3", "B1", "B2", "A1", "SF123456789012"}, func(codes []string) {
		var steps []string
		for i, c := range codes {
			if i == runs%(len(codes)+1) {
				steps = append(steps, undoing)
			}
			steps = append(steps, c, closing)
		}
		if runs++; follow(t, steps) {
			closed++
		}
	})
	for at := range 9 { // every place of the undo, with every order of the serials alone
		packingtest.Permute([]string{"A1", "A2", "A3", "B1", "A1", "Z9"}, func(codes []string) {
			steps := slices.Clone(codes)
			if at < len(steps) {
				steps = slices.Insert(steps, at, undoing)
			}
			steps = append(steps, "SF123456789012", closing)
			if at == 8 {
				steps = append(steps, undoing, "A1", closing)
			}
			if follow(t, steps) {
				closed++
			}
		})
	}
	if runs != 5040 || closed < 500 {
		t.Errorf("%d orders of scans, %d closed", runs, closed)
	}
}

// TestRandomPacking goes on where permutations end: long runs of scans, undos and closings.
func TestRandomPacking(t *testing.T) {
	codes := []string{"A1", "A2", "A3", "A1", "A2", "A3", "B1", "B2", "Z9", "SF123456789012", "SF123456789012", undoing, closing}
	closed := 0
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 7))
		steps := make([]string, 40)
		for i := range steps {
			steps[i] = codes[r.IntN(len(codes))]
		}
		if follow(t, steps) {
			closed++
		}
	}
	if closed < 500 {
		t.Errorf("only %d of 5000 were closed", closed)
	}
}

func TestWrongKeysHaveASentence(t *testing.T) {
	w := newWorld(t, VerifyNever, map[string]int{"ALPHA-1": 2, "BRAVO-1": 2})
	w.refused(w.scan("A1"), NothingOpen, "scan the order first")
	w.refused(w.scan("OMEGA-1"), Unknown, "was not made here")
	w.must(w.scan("ALPHA-1"))
	w.refused(w.scan("ALPHA-1"), Twice, "open already")
	w.refused(w.scan("BRAVO-1"), StillOpen, "ALPHA-1 is still open")
	w.refused(w.scan("B2"), WrongKey, "B2 belongs to order BRAVO-1 (key 2 of 2)")
	w.refused(w.scan("Z9"), Unknown, "was not made here")
	w.refused(w.scan("SF123456789012"), Missing, "Key 1 of 2 (ALPHA-1-001) is not scanned yet")
	w.must(w.scan("A1"))
	w.refused(w.scan("A1"), Twice, "p1 scanned it")
	w.refused(w.undo("A2"), NotThere, "A2")
	w.refused(w.undo("ALPHA-1"), Missing, "not empty")
	w.must(w.scan("A2"), w.scan("SF123456789012"))
	w.refused(w.scan("SF123456789013"), Twice, "SF123456789012 already")
	w.refused(w.scan("SF123456789012"), Twice, "entered already")
	w.must(w.undo("A1"))
	w.refused(w.close("p1"), Missing, "Key 1 of 2")
	w.must(w.scan("A1"), w.close("p1"))
	w.refused(w.close("p1"), NothingOpen, "")
	w.refused(w.undo(""), NothingOpen, "")
	w.must(w.scan("BRAVO-1"), w.undo("BRAVO-1"))
	if w.desk.Parcel.Open() || !w.desk.Parcel.Dropped() {
		t.Errorf("after its opening was undone: %+v", w.desk.Parcel)
	}

	w.orders["CHARLIE-1"] = []Unit{{ID: "CHARLIE-1-001", Order: "CHARLIE-1", Sequence: 1, Of: 1, Standing: Ready, Job: "j", Token: "ALPHA-1"}}
	w.refused(w.scan("ALPHA-1"), Unclear, "as well")
	w.must(w.write(w.desk.Open("CHARLIE-1", w.means("CHARLIE-1"))))
	w.orders["DELTA-1"] = []Unit{{ID: "DELTA-1-001", Order: "DELTA-1", Sequence: 1, Of: 1, Standing: Ready, Job: "k", Token: "B1"}}
	w.refused(w.scan("B1"), Unclear, "2 keys")
	w.refused(w.write(w.desk.Scan("S1", Meaning{Tried: true}, "p1")), NotReady, "put it aside")
	w.refused(w.write(w.desk.EnterWaybill("SF123456789012", Meaning{Tried: true})), Unclear, "cannot be a waybill")
	w.desk.Parcel.Keys = []Key{{Unit: "CHARLIE-1-001", Job: "j", Token: "ALPHA-1"}}
	w.refused(w.write(w.desk.EnterWaybill("SF123456789012", Meaning{Parcel: "ALPHA-1"})), WrongKey, "the parcel of order ALPHA-1")
}

// TestOnlyReadyKeysLeave: each standing of one unit of three, at the scan and at the end.
func TestOnlyReadyKeysLeave(t *testing.T) {
	for _, s := range []Standing{Elsewhere, Working, GivenUp, Unreported, NotTaken, Unanchored, Unlabelled, Nameless, Packed} {
		w := newWorld(t, VerifyNever, map[string]int{"ALPHA-1": 3})
		units := w.orders["ALPHA-1"]
		w.must(w.scan("ALPHA-1"), w.scan("A1"), w.scan("A2"))
		units[2].Standing = s
		w.refused(w.scan("A3"), NotReady, "Key 3 of 3")
		err := w.scan("SF123456789012")
		if s == Packed {
			w.must(err, w.close("p1"))
			continue
		}
		w.refused(err, Missing, "Key 3 of 3")
		err = w.write(w.desk.LeaveOut("ALPHA-1-003"))
		if s == Elsewhere || s == GivenUp {
			w.must(err, w.scan("SF123456789012"))
			units[2].Standing = Ready // a key has come after all
			w.refused(w.close("p1"), NotReady, "undo that")
			w.refused(w.scan("A3"), NotReady, "left out")
			w.must(w.undo("ALPHA-1-003"), w.scan("A3"), w.close("p1"))
			continue
		}
		w.refused(err, NotReady, "cannot be left out")
		units[2].Standing = Ready
		w.must(w.scan("A3"), w.scan("SF123456789012"))
		units[2].Standing = s
		w.refused(w.close("p1"), NotReady, "Key 3 of 3")
		units[2].Standing, units[2].Job = Ready, "another"
		w.refused(w.close("p1"), NotReady, "not that of ALPHA-1-003 any more")
	}
	w := newWorld(t, VerifyNever, map[string]int{"ALPHA-1": 1})
	w.orders["ALPHA-1"][0].Standing = Packed
	w.must(w.scan("ALPHA-1"))
	w.refused(w.scan("SF123456789012"), Missing, "left to be packed")
	w.refused(w.close("p1"), Missing, "left to be packed")
	w.refused(w.write(w.desk.LeaveOut("NOWHERE-001")), Unknown, "no unit of order")
}

func TestWhoSawThePINDoesNotPack(t *testing.T) {
	w := newWorld(t, VerifyNever, map[string]int{"ALPHA-1": 1})
	u := &w.orders["ALPHA-1"][0]
	w.must(w.scan("ALPHA-1"))
	u.SawPIN = []string{"p1"}
	w.refused(w.scan("A1"), SamePerson, "somebody else")
	u.SawPIN = nil
	w.must(w.scan("A1"), w.scan("SF123456789012"))
	u.SawPIN = []string{"p2"}
	w.refused(w.close("p2"), SamePerson, "p2 has had")
	u.SawPIN = []string{"p1"} // who scanned it
	w.refused(w.close("p3"), SamePerson, "p1 has had")
}

func TestInsertToVerify(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		keys   int
		wants  bool
	}{{VerifySeveral, 1, false}, {VerifySeveral, 2, true}, {VerifyAlways, 1, true}, {VerifyNever, 2, false}} {
		w := newWorld(t, c.policy, map[string]int{"ALPHA-1": c.keys})
		w.must(w.scan("ALPHA-1"))
		w.refused(w.insert("A1"), NotThere, "scan its label first")
		w.refused(w.insert(""), NotThere, "No key")
		for i := range c.keys {
			w.must(w.scan(fmt.Sprint("A", i+1)))
		}
		w.must(w.scan("SF123456789012"))
		if !c.wants {
			w.must(w.close("p1"))
			continue
		}
		w.refused(w.close("p1"), Missing, "insert it")
		for range c.keys {
			w.must(w.insert(""))
		}
		w.must(w.undo("A1"), w.scan("A1")) // another key with this label may be in the hand now
		w.refused(w.close("p1"), Missing, "Key 1 of")
		k, err := w.desk.ToVerify("A1")
		w.must(err, w.undo("A1"))
		w.refused(w.write(w.desk.Verified(k)), NotThere, "not in the open parcel")
		w.must(w.scan("A1"), w.insert("A1"), w.close("p1"))
	}
}

// TestGrammar: a whole code, or none.
func TestGrammar(t *testing.T) {
	w := newWorld(t, VerifyNever, map[string]int{"ALPHA-1": 1})
	for _, code := range []string{"", " ", "ALPHA-1\n", "ALPHA-1\r", "\x1bA1", "A1\x00", "A1 ", " A1", "A\t1", "钥匙", "A1\u00a0", strings.Repeat("A", 65), "A1\x7f"} {
		w.refused(w.scan(code), NoCode, "Scan it again")
	}
	for code, is := range map[string]bool{
		"SF123456789012": true, "SF1234567890123": true, "SF12345678901234": false, "sf123456789012": false,
		"XSF123456789012": false, "SF123456789012\n": false, "": false, "123456789012": false,
	} {
		if w.desk.Grammar.IsWaybill(code) != is {
			t.Errorf("%q is a waybill: %v", code, !is)
		}
	}
	w.refused(w.write(w.desk.Open("no order", Meaning{})), NoCode, "no order number")
	w.refused(w.write(w.desk.EnterWaybill("123456789012", Meaning{})), NoCode, "no waybill number")
	two, err := NewGrammar([]string{"A123|B123", "[0-9]{12}"})
	w.must(err)
	if two.IsWaybill("B1234") || two.IsWaybill("A1234") || !two.IsWaybill("B123") || !two.IsWaybill("123456789012") {
		t.Error("a pattern is not taken as a whole")
	}
	for _, bad := range []string{"[", "a)(b"} {
		if _, err := NewGrammar([]string{bad}); err == nil {
			t.Errorf("%q is taken as a pattern", bad)
		}
	}
}

func TestReplay(t *testing.T) {
	if p := Replay(nil); p.Open() || p.Dropped() {
		t.Errorf("no acts make %+v", p)
	}
	at := time.Unix(1, 0)
	p := Replay([]Act{{N: 4, Parcel: 4, Kind: Opened, Code: "ALPHA-1", At: at}, {N: 5, Parcel: 4, Kind: Closed, By: "p1", At: at}})
	if p.Open() || p.Dropped() || p.ClosedBy != "p1" || p.OpenedAt != at || p.ClosedAt != at || p.N != 4 || p.Order != "ALPHA-1" {
		t.Errorf("got %+v", p)
	}
}

// FuzzScan: whatever a scanner types, nothing but the order's own key gets into the parcel.
func FuzzScan(f *testing.F) {
	for _, s := range []string{"A1", "B1", "ALPHA-1", "SF123456789012", "\x02A1\x03", "A1\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, code string) {
		w := newWorld(t, VerifyNever, map[string]int{"ALPHA-1": 2, "BRAVO-1": 1})
		w.must(w.scan("ALPHA-1"), w.scan("A2"))
		err := w.scan(code)
		if n := len(w.desk.Parcel.Keys); n != 1 && code != "A1" || w.desk.Parcel.Waybill != "" || err == nil && code != "A1" {
			t.Errorf("%q: %v, parcel %+v", code, err, w.desk.Parcel)
		}
	})
}
