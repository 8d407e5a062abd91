package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// A unit that the journal refuses is given back, and holds up no other of its wave.
func TestOneRefusedHoldsUpNoOther(t *testing.T) {
	r := newRig(t, 1, 2*time.Minute)
	a, end := r.newAgent()
	defer end()
	var plans []plan
	for i, serial := range []string{"A1", "A1", "A2"} {
		unit := fmt.Sprint("sample-2026-0001-", i+1)
		plans = append(plans, plan{heldLease{Lease: api.Lease{UnitId: unit, Epoch: 1, LeaseSeconds: 120}}, provision.NewJob{
			Job: provision.Job{
				Kind: provision.KindInitial, Generation: 1, CreatedAt: time.Now(), TokenLabel: pkcs11.TokenLabel(unit),
				Subject: csr.SubjectData{OrderID: "sample-2026-0001", UnitID: unit, Sequence: i + 1, Of: 3, ProductCode: "CERT272353"},
			},
			Epoch: 1, Token: provision.TokenRef{Module: "bay-01", Identity: pkcs11.Identity{Serial: pkcs11.TokenSerial(serial)}},
		}})
	}
	wave := a.makeAll(t.Context(), plans)
	if len(wave) != 2 || wave[0].rec.Job.UnitID() != "sample-2026-0001-1" || wave[1].rec.Job.UnitID() != "sample-2026-0001-3" {
		t.Errorf("to be started: %d jobs", len(wave))
	}
	all, err := r.journal.All()
	if err != nil || len(all) != 2 {
		t.Errorf("%d jobs are journalled, want 2 (%v)", len(all), err)
	}
	if !a.asked { // what is given back for want of a token is not claimed again
		t.Error("nothing was given back")
	}
}

// A lease was lost and got again before a job was made of it. One job is made, which goes on
// under the later one; nothing is given back, and the next unit gets the next token.
func TestTwoLeasesOfOneUnit(t *testing.T) {
	r := newRig(t, 1, 2*time.Minute)
	a, end := r.newAgent()
	defer end()
	lease := func(n int, epoch int64) heldLease {
		return heldLease{Lease: api.Lease{
			UnitId: fmt.Sprintf("sample-2026-0001-%03d", n), OrderId: "sample-2026-0001", Sequence: n, Of: 2, ProductCode: "CERT272353",
			Kind: api.Initial, Generation: 1, Epoch: epoch, LeaseSeconds: 120, ValidityYears: 1,
		}}
	}
	var free []provision.TokenRef
	for _, serial := range []pkcs11.TokenSerial{"A1", "A2"} {
		free = append(free, provision.TokenRef{Module: "bay-01", Identity: pkcs11.Identity{Serial: serial}})
	}
	tokens := func() []provision.TokenRef { // as the inventory has it: without those at work
		return slices.DeleteFunc(slices.Clone(free), func(ref provision.TokenRef) bool {
			for _, j := range a.jobs {
				if j.rec.Token == ref {
					return true
				}
			}
			return false
		})
	}
	wave := a.jobsOf(t.Context(), []heldLease{lease(1, 1), lease(1, 2), lease(2, 1)}, tokens)
	if len(wave) != 2 || wave[0].rec.Job.UnitID() != "sample-2026-0001-001" || wave[1].rec.Job.UnitID() != "sample-2026-0001-002" {
		t.Fatalf("to be started: %d jobs", len(wave))
	}
	if got := wave[0].lease.Epoch(); got != 2 {
		t.Errorf("the first goes on under epoch %d", got)
	}
	if a.asked {
		t.Error("a unit was given back")
	}
}

// An order that becomes urgent after its units were leased is urgent here from the next
// heartbeat on, and no longer than there.
func TestUrgentAfterTheLease(t *testing.T) {
	r := newRig(t, 1, 2*time.Minute)
	r.order(1)
	a, end := r.newAgent()
	defer end()
	if err := a.openSession(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := func() []provision.TokenRef {
		return []provision.TokenRef{{Module: "bay-01", Identity: pkcs11.Identity{Serial: "A1"}}}
	}
	if wave := a.jobsOf(t.Context(), a.claim(t.Context(), 1).leases, token); len(wave) != 1 {
		t.Fatalf("%d jobs", len(wave))
	}
	order := a.View().Jobs[0].Job.Subject.OrderID
	for _, urgent := range []bool{false, true, false} {
		if _, err := r.central.Admin.FlagOrder(t.Context(), order, api.OrderFlags{Urgent: urgent}); err != nil {
			t.Fatal(err)
		}
		if err := a.heartbeat(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := a.View().Jobs[0].Job.Urgent; got != urgent {
			t.Errorf("urgent %t, want %t", got, urgent)
		}
	}
}

// Of leases that came together the urgent ones get the tokens, where there are too few.
func TestUrgentOnesChooseFirst(t *testing.T) {
	r := newRig(t, 1, 2*time.Minute)
	a, end := r.newAgent()
	defer end()
	lease := func(order string, urgent *bool) heldLease {
		return heldLease{Lease: api.Lease{
			UnitId: order + "-001", OrderId: order, Sequence: 1, Of: 1, ProductCode: "CERT272353", Urgent: urgent,
			Kind: api.Initial, Generation: 1, Epoch: 1, LeaseSeconds: 120, ValidityYears: 1,
		}}
	}
	yes, no := true, false
	tokens := func() []provision.TokenRef {
		return []provision.TokenRef{
			{Module: "bay-01", Identity: pkcs11.Identity{Serial: "A1"}}, {Module: "bay-01", Identity: pkcs11.Identity{Serial: "A2"}},
		}
	}
	var got []string
	for _, j := range a.jobsOf(t.Context(), []heldLease{lease("OLD", nil), lease("PLAIN", &no), lease("RUSH", &yes)}, tokens) {
		got = append(got, j.rec.Job.UnitID()+" "+string(j.rec.Token.Identity.Serial))
	}
	if want := []string{"RUSH-001 A1", "OLD-001 A2"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
