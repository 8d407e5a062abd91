package provision

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// labelRoom is a journal of a station whose labels come one at a time.
type labelRoom struct {
	*packRoom
	here map[string]Sight // of the tokens by serial; Present for others
}

// newLabelRoom has a finished key on each of the tokens.
func newLabelRoom(t *testing.T, serials ...string) *labelRoom {
	t.Helper()
	r := &labelRoom{newPackRoom(t), map[string]Sight{}}
	for i, serial := range serials {
		job := sampleJob(i + 1)
		job.Subject.OrderID, job.Subject.UnitID, job.Subject.Of, job.OneAtATime = "ALPHA-1", packing.UnitID("ALPHA-1", i+1), len(serials), true
		rec, err := r.Journal.Create(job, 1, token(serial))
		r.must(err)
		rec.State = StateFinished
		r.must(r.Journal.Finish(rec, &Report{JobID: rec.Job.ID, Kind: ReportResult, UnitID: rec.Job.UnitID(), Outcome: OutcomeInstalled}))
		r.answer(installedAnswer)
	}
	return r
}

// look is one of the station's, after some tokens have got another sight; it wants the labels
// to be, in the order of the bays.
func (r *labelRoom) look(what string, sights map[string]Sight, want ...LabelState) {
	r.t.Helper()
	for serial, s := range sights {
		r.here[serial] = s
	}
	labels, _, err := r.Journal.Sighted(time.Now(), time.Now(), func(rec *Record) Sight {
		if s, ok := r.here[string(rec.Token.Identity.Serial)]; ok {
			return s
		}
		return Present
	})
	r.must(err)
	r.see(what+", as told", labels, want)
	r.labels(what, want...)
}

func (r *labelRoom) labels(what string, want ...LabelState) {
	r.t.Helper()
	labels, err := r.Journal.Labels()
	r.must(err)
	r.see(what, labels, want)
}

func (r *labelRoom) see(what string, labels []Label, want []LabelState) {
	r.t.Helper()
	var got []LabelState
	for _, l := range labels {
		got = append(got, l.State)
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (r *labelRoom) printed(serial string) {
	r.t.Helper()
	found, err := r.Journal.Labelled(serial)
	r.must(err)
	r.must(r.Journal.LabelSent(found[0], "", "handed to the printer", time.Now()))
}

func (r *labelRoom) confirm(serial string, want LabelFault) {
	r.t.Helper()
	_, err := r.Journal.ConfirmLabel(serial, "p1", time.Now())
	var refused *LabelRefusal
	if errors.As(err, &refused) != (want != "") || refused != nil && refused.Fault != want || err != nil && refused == nil {
		r.t.Errorf("scan of %s: %v, want %q", serial, err, want)
	}
}

// TestOneAtATime is the way of labels where nobody makes a mistake, and small ones.
func TestOneAtATime(t *testing.T) {
	r := newLabelRoom(t, "A1", "A2", "A3")
	r.look("all are in their bays", nil, LabelInBay, LabelInBay, LabelInBay)
	r.confirm("A1", LabelTokenInBay)
	r.confirm("Z9", LabelUnknown)
	r.look("one is pulled", map[string]Sight{"A1": Absent}, LabelPulled, LabelInBay, LabelInBay)
	r.confirm("A1", LabelUnprinted)
	r.confirm("A2", LabelWrong)
	r.printed("A1")
	r.look("its label is printed", nil, LabelPrinted, LabelInBay, LabelInBay)
	r.confirm("A2", LabelWrong)
	r.confirm("Z9", LabelWrong)
	r.look("what cannot be seen has not moved", map[string]Sight{"A2": Unseen}, LabelPrinted, LabelInBay, LabelInBay)
	r.reopen()
	r.labels("after a new start", LabelPrinted, LabelInBay, LabelInBay)
	r.confirm("A1", "")
	r.labels("it is stuck on", LabelInBay, LabelInBay)
	r.look("another is pulled", map[string]Sight{"A2": Absent}, LabelPulled, LabelInBay)
	r.look("and put back", map[string]Sight{"A2": Present}, LabelInBay, LabelInBay)
	r.look("a third one is pulled", map[string]Sight{"A3": Absent}, LabelInBay, LabelPulled)
	r.printed("A3")
	r.confirm("A3", LabelUnseen) // A2 may have been pulled besides, and may have the label
	r.look("the others are there", nil, LabelInBay, LabelPrinted)
	r.confirm("A3", "")
	r.look("a token that has its label is put in to be verified", map[string]Sight{"A1": Present}, LabelInBay)
	r.look("and pulled", map[string]Sight{"A1": Absent}, LabelInBay)
}

// TestTwoInTheHand: whoever pulls a token before the label of the one before was scanned has
// to put both back, whatever is scanned and printed meanwhile.
func TestTwoInTheHand(t *testing.T) {
	r := newLabelRoom(t, "A1", "A2", "A3", "A4")
	r.look("one is pulled", map[string]Sight{"A1": Absent}, LabelPulled, LabelInBay, LabelInBay, LabelInBay)
	r.printed("A1")
	r.look("and another", map[string]Sight{"A2": Absent}, LabelMixed, LabelMixed, LabelInBay, LabelInBay)
	r.confirm("A1", LabelMixedUp)
	r.confirm("A2", LabelMixedUp)
	r.printed("A1")
	r.look("a label does not help", nil, LabelMixed, LabelMixed, LabelInBay, LabelInBay)
	r.look("one is in a bay again, unproved", map[string]Sight{"A1": Present}, LabelMixed, LabelMixed, LabelInBay, LabelInBay)
	r.look("it proves what it is", map[string]Sight{"A1": Verified}, LabelInBay, LabelMixed, LabelInBay, LabelInBay)
	r.reopen()
	r.look("the other is still missing, and a third one is pulled", map[string]Sight{"A1": Present, "A3": Absent}, LabelInBay, LabelMixed, LabelMixed, LabelInBay)
	r.look("both prove what they are", map[string]Sight{"A2": Verified, "A3": Verified}, LabelInBay, LabelInBay, LabelInBay, LabelInBay)
	r.look("two are pulled between two looks", map[string]Sight{"A3": Absent, "A4": Absent}, LabelInBay, LabelInBay, LabelMixed, LabelMixed)
	if _, err := r.Journal.SetLabelAside("A1", "p1", time.Now()); err == nil {
		t.Error("a token in its bay was put aside")
	}
	if _, err := r.Journal.SetLabelAside("A3", "p1", time.Now()); err != nil {
		t.Error(err)
	}
	r.look("one is lost", map[string]Sight{"A2": Present}, LabelInBay, LabelInBay, LabelMixed)
	var codes []string
	for row, err := range r.Journal.Record() {
		r.must(err)
		e, err := audit.Decode(row.Line)
		r.must(err)
		if e.Kind == audit.KindLabel {
			codes = append(codes, e.TokenSerial+" "+e.Code+" "+e.IDs["by"])
		}
	}
	want := []string{"A1 printed ", "A1 mixed ", "A2 mixed ", "A1 printed ", "A1 in-bay ", "A3 mixed ", "A2 in-bay ", "A3 in-bay ", "A3 mixed ", "A4 mixed ", "A3 aside p1"}
	if !slices.Equal(codes, want) {
		t.Errorf("on record:\n%s\nwant\n%s", strings.Join(codes, "\n"), strings.Join(want, "\n"))
	}
}

// TestUnlabelledKeysAreNotPacked: a key leaves with a label that was scanned on it.
func TestUnlabelledKeysAreNotPacked(t *testing.T) {
	r := newLabelRoom(t, "A1", "A2")
	standings := func() string {
		units, err := r.Order("ALPHA-1")
		r.must(err)
		return fmt.Sprint(units[0].Standing, " ", units[1].Standing)
	}
	r.ok(r.Open("ALPHA-1", "p1"))
	for _, row := range []struct {
		sights map[string]Sight
		want   []LabelState
	}{
		{nil, []LabelState{LabelInBay, LabelInBay}},
		{map[string]Sight{"A1": Absent}, []LabelState{LabelPulled, LabelInBay}},
		{map[string]Sight{"A2": Absent}, []LabelState{LabelMixed, LabelMixed}},
		{map[string]Sight{"A1": Verified, "A2": Verified}, []LabelState{LabelInBay, LabelInBay}},
		{map[string]Sight{"A1": Absent, "A2": Present}, []LabelState{LabelPulled, LabelInBay}},
	} {
		r.look("packing", row.sights, row.want...)
		r.no(packing.NotReady, func() (packing.Desk, packing.Act, error) { return r.Scan("A1", "p1") })
		if got := standings(); got != "unlabelled unlabelled" {
			t.Errorf("%v: %s", row.want, got)
		}
	}
	r.printed("A1")
	r.look("the other is there", nil, LabelPrinted, LabelInBay)
	r.confirm("A1", "")
	r.ok(r.Scan("A1", "p1"))
	if got := standings(); got != "ready unlabelled" {
		t.Error(got)
	}
	r.must(r.Journal.EndLabels())
	r.labels("labels do not come one at a time any more")
	r.ok(r.Scan("A2", "p1"))
}

// TestWhichLabels: a code of an order, a unit or a token means finished keys, in the order of
// their bays; of a unit that was made anew only the last.
func TestWhichLabels(t *testing.T) {
	r := newPackRoom(t)
	r.finished("ALPHA-1", 2, 2, "B1")
	r.finished("ALPHA-1", 1, 2, "B2")
	r.job("ALPHA-1", 2, 2, 2, token("B3"), StateFinished, installedAnswer)
	r.job("BRAVO-1", 1, 1, 1, token("C1"), StateQuarantined, "")
	for code, want := range map[string]string{"ALPHA-1": "[B2 B3]", "ALPHA-1-002": "[B3]", "B1": "[]", "B2": "[B2]", "BRAVO-1": "[]", "C1": "[]", "": "[]"} {
		found, err := r.Journal.Labelled(code)
		r.must(err)
		got := []string{}
		for _, rec := range found {
			got = append(got, string(rec.Token.Identity.Serial))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%q: %v, want %s", code, got, want)
		}
	}
	labels, err := r.Journal.Labels()
	if err != nil || len(labels) != 0 {
		t.Errorf("labels that do not come one at a time: %v (%v)", labels, err)
	}
}

// TestPulledWhereNobodyLooked: a second token is pulled from a module that is not looked at just
// then. The label of the first is not taken as stuck on until it was, for it may be on either.
func TestPulledWhereNobodyLooked(t *testing.T) {
	r := newLabelRoom(t, "A1", "A2", "A3")
	r.look("both are pulled, and one of them is missed", map[string]Sight{"A1": Absent, "A2": Unseen, "A3": Unseen}, LabelPulled, LabelInBay, LabelInBay)
	r.printed("A1")
	r.look("the others are not looked for", nil, LabelPrinted, LabelInBay, LabelInBay)
	r.confirm("A1", LabelUnseen)
	r.look("one of them is", map[string]Sight{"A3": Present}, LabelPrinted, LabelInBay, LabelInBay)
	r.confirm("A1", LabelUnseen)
	r.look("the other is missed, too", map[string]Sight{"A2": Absent}, LabelMixed, LabelMixed, LabelInBay)
	r.confirm("A1", LabelMixedUp)
}

// TestTokenThatCannotBeLookedFor: where a module cannot be looked at any more, its tokens are
// put aside, and the work goes on.
func TestTokenThatCannotBeLookedFor(t *testing.T) {
	r := newLabelRoom(t, "A1", "A2")
	aside := func(serial string, want LabelFault) {
		t.Helper()
		_, err := r.Journal.SetLabelAside(serial, "p1", time.Now())
		var refused *LabelRefusal
		if errors.As(err, &refused) != (want != "") || refused != nil && refused.Fault != want || err != nil && refused == nil {
			t.Errorf("%s aside: %v, want %q", serial, err, want)
		}
	}
	r.look("all are there", nil, LabelInBay, LabelInBay)
	aside("A2", LabelTokenInBay) // nobody waits for it
	r.look("one is pulled, the other cannot be looked for", map[string]Sight{"A1": Absent, "A2": Unseen}, LabelPulled, LabelInBay)
	r.printed("A1")
	r.confirm("A1", LabelUnseen)
	aside("A2", "")
	r.confirm("A1", "")
}
