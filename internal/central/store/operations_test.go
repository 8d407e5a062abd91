package store

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// situation is one unit, alone in its order, and who has what of it.
type situation struct {
	t    *testing.T
	s    *Store
	skip func(time.Duration)
	id   string // of the order, and its product
	key  string
	by   Issuer // alone where it is empty
}

func (w *situation) unitID() string { return w.id + "-001" }

func (w *situation) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *situation) session(station string) string {
	w.t.Helper()
	session, _, err := w.s.PutSession(w.t.Context(), Session{Station: station, InstanceID: station, Lease: 2 * time.Minute})
	w.must(err)
	return session.ID
}

func (w *situation) claim() ([]Lease, error) {
	session := w.session("bay-1")
	return w.s.Claim(w.t.Context(), Claim{Station: "bay-1", SessionID: session, KeySHA256: hexSum([]byte("bay-1")), Key: session + w.id, Max: 1, Products: []string{w.id}})
}

func (w *situation) escrow() error {
	_, err := w.s.PutEscrow(w.t.Context(), Escrow{ID: "escrow-" + w.key, UnitID: w.unitID(), Epoch: 1, Station: "bay-1", Sealed: []byte("sealed")})
	return err
}

func (w *situation) bind() error {
	_, _, err := w.s.Bind(w.t.Context(), Binding{
		UnitID: w.unitID(), Generation: 1, Epoch: 1, Station: "bay-1", CSR: []byte("request of " + w.key),
		PublicKeySHA256: hexSum([]byte(w.key)), TokenSerial: "token-" + w.key, KeyID: "01", EscrowID: "escrow-" + w.key,
	}, anyOrder)
	return err
}

func (w *situation) certificate() Certificate {
	return Certificate{PKCS7: []byte("p7"), Serial: "4a", Subject: "CN=经办人甲", SHA256: hexSum([]byte("certificate of " + w.key)), NotAfter: time.Unix(2e9, 0)}
}

func (w *situation) intend() error {
	by := w.by
	if by.Server == "" {
		by = alone
	}
	_, err := w.s.Intend(w.t.Context(), w.unitID(), 1, by)
	return err
}

func (w *situation) issued() error {
	return w.s.Issued(w.t.Context(), w.unitID(), 1, w.certificate())
}

func (w *situation) result(outcome string) error {
	r := Result{UnitID: w.unitID(), Generation: 1, Epoch: 1, Station: "bay-1", Outcome: outcome, TokenSerial: "token-" + w.key, KeyID: "01", EscrowID: "escrow-" + w.key}
	if outcome == OutcomeInstalled {
		c := w.certificate()
		r.CertificateSerial, r.CertificateSHA256, r.SealedUserPIN = c.Serial, c.SHA256, []byte("sealed")
	}
	_, err := w.s.PutResult(w.t.Context(), r)
	return err
}

func (w *situation) adopt() error {
	_, err := w.s.Adopt(w.t.Context(), w.adoption(w.session("bay-2")))
	return err
}

func (w *situation) adoption(session string) Adoption {
	return Adoption{
		Station: "bay-2", SessionID: session, KeySHA256: hexSum([]byte("bay-2")), UnitID: w.unitID(), Generation: 1, Epoch: w.unit().Epoch,
		TokenSerial: "token-" + w.key, PublicKeySHA256: hexSum([]byte(w.key)), StatementSHA256: "statement",
	}
}

// anchor puts the unit's end into a record of its own.
func (w *situation) anchor() {
	w.t.Helper()
	log := audit.Log{Storage: &audit.Memory{}}
	_, err := log.Append(audit.Entry{
		Time: time.Unix(1, 0), Kind: audit.KindInstalled, Unit: w.unitID(), Generation: 1, Hashes: map[string]string{"certificate": w.certificate().SHA256},
	})
	w.must(err)
	root, err := log.Root(1)
	w.must(err)
	_, err = w.s.PutRecord(w.t.Context(), RecordPart{
		Station: "bay-1", InstanceID: w.key, Checkpoint: audit.Checkpoint{Size: 1, Root: root}, Note: "note", StationKey: []byte("key"),
		Lines: [][]byte{log.Storage.(*audit.Memory).Rows[0].Line},
	})
	w.must(err)
}

func (w *situation) ship() error {
	w.anchor()
	_, err := w.s.PutShipment(w.t.Context(), Shipment{UnitID: w.unitID(), Generation: 1, Station: "bay-1", Waybill: "SF1", Scans: []string{"token-" + w.key}, PackedBy: "p1"})
	return err
}

func (w *situation) cancel() error {
	_, err := w.s.Cancel(w.t.Context(), Cancellation{OrderID: w.id, Operator: "p1", Reason: "test"})
	return err
}

func (w *situation) ask(a Action) error {
	d := Decision{UnitID: w.unitID(), Generation: 1, Action: a, RequestedBy: "p1", Reason: "test"}
	switch a {
	case ActionCertificate:
		d.Certificate = w.certificate()
	case ActionRevoked, ActionSurplus:
		d.Certificate.SHA256 = w.certificate().SHA256
	}
	d, _, err := w.s.RequestDecision(w.t.Context(), d)
	if err == nil {
		_, _, err = w.s.ApproveDecision(w.t.Context(), d.ID, "p2")
	}
	return err
}

// strand lets everybody be silent for longer than custody.
func (w *situation) strand() {
	w.t.Helper()
	w.skip(73 * time.Hour)
	_, err := w.s.Sweep(w.t.Context())
	w.must(err)
}

// reach brings the unit to a state by the shortest way.
func (w *situation) reach(state State) {
	w.t.Helper()
	steps := []struct {
		to   State
		does func() error
	}{
		{Leased, func() error {
			leases, err := w.claim()
			if err == nil && len(leases) != 1 {
				err = fmt.Errorf("claimed %d units", len(leases))
			}
			return err
		}},
		{Bound, func() error { return errors.Join(w.escrow(), w.bind()) }},
		{Issuing, w.intend},
		{IssueUnknown, func() error { return w.s.Unknown(w.t.Context(), w.unitID(), 1, alone, "timed out") }},
		{Issued, w.issued},
		{Installed, func() error { return w.result(OutcomeInstalled) }},
		{Shipped, w.ship},
	}
	far := map[State]State{Stranded: Issued, Held: Issued, Cancelling: Issued, Cancelled: Ready}
	goal, detour := far[state]
	if !detour {
		goal = state
	}
	for _, step := range steps {
		if goal == Ready {
			break
		}
		if step.to == IssueUnknown && goal != IssueUnknown {
			continue
		}
		w.must(step.does())
		if step.to == goal {
			break
		}
	}
	switch state {
	case Stranded:
		w.strand()
	case Held:
		w.must(w.result("faulty"))
	case Cancelling, Cancelled:
		w.must(w.cancel())
	}
	if u := w.unit(); u.State != state {
		w.t.Fatalf("the unit is %s, want %s", u.State, state)
	}
}

func (w *situation) unit() UnitRecord {
	w.t.Helper()
	u, err := w.s.Unit(w.t.Context(), w.unitID())
	w.must(err)
	return u
}

type operation struct {
	name string
	does func(w *situation) error
}

// operations are all that anybody may ask about a unit, with what is right for its
// epoch, its station and its key.
func operations() []operation {
	return []operation{
		{"claim", func(w *situation) error { _, err := w.claim(); return err }},
		{"release", func(w *situation) error {
			_, err := w.s.Release(w.t.Context(), "bay-1", Release{UnitID: w.unitID(), Epoch: 1, Reason: "no token"})
			return err
		}},
		{"escrow", (*situation).escrow},
		{"bind", (*situation).bind},
		{"intend", (*situation).intend},
		{"issued", (*situation).issued},
		{"unknown", func(w *situation) error { return w.s.Unknown(w.t.Context(), w.unitID(), 1, alone, "timed out") }},
		{"absent", func(w *situation) error { _, err := w.s.Absent(w.t.Context(), w.unitID(), 1, alone); return err }},
		{"refused", func(w *situation) error { return w.s.RefusedByCA(w.t.Context(), w.unitID(), 1, alone, "no") }},
		{"result installed", func(w *situation) error { return w.result(OutcomeInstalled) }},
		{"result destroyed", func(w *situation) error { return w.result("destroyed") }},
		{"adopt", (*situation).adopt},
		{"ship", (*situation).ship},
		{"return", func(w *situation) error {
			_, err := w.s.Return(w.t.Context(), w.unitID(), "p1", "refused at the door")
			return err
		}},
		{"cancel", (*situation).cancel},
		{"reissue", func(w *situation) error { return w.ask(ActionReissue) }},
		{"resolve certificate", func(w *situation) error { return w.ask(ActionCertificate) }},
		{"resolve absent", func(w *situation) error { return w.ask(ActionAbsent) }},
		{"resolve revoked", func(w *situation) error { return w.ask(ActionRevoked) }},
		{"resolve surplus", func(w *situation) error { return w.ask(ActionSurplus) }},
	}
}

// Each operation in each state is a transition of the contract, changes nothing, or
// is refused with the right reason, and then nothing has changed.
func TestEveryOperationInEveryState(t *testing.T) { onBothEngines(t, testEveryOperationInEveryState) }

func testEveryOperationInEveryState(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	var got []string
	for _, state := range []State{Ready, Leased, Bound, Issuing, IssueUnknown, Issued, Installed, Shipped, Held, Stranded, Cancelling, Cancelled} {
		for _, op := range operations() {
			n := len(got)
			w := &situation{t: t, s: s, skip: skip, id: fmt.Sprintf("PAIR-%03d", n), key: fmt.Sprintf("key-%d", n)}
			_, err := s.PutOrder(t.Context(), Order{ID: w.id, ProductCode: w.id, Quantity: 1, DueAt: time.Unix(1, 0), Content: []byte("{}")})
			w.must(err)
			w.reach(state)
			before := w.unit()
			result := "refused: "
			var refusal *Refusal
			switch err := op.does(w); {
			case err == nil:
				result = string(w.unit().State)
			case errors.As(err, &refusal):
				result += string(refusal.Reason)
				if diff := cmp.Diff(before, w.unit(), cmp.AllowUnexported(UnitRecord{}, Unit{})); diff != "" {
					t.Errorf("%s %s is refused and has changed the unit:\n%s", state, op.name, diff)
				}
			default:
				t.Errorf("%s %s: %v", state, op.name, err)
			}
			got = append(got, fmt.Sprintf("%s\t%s\t%s", state, op.name, result))
			_, err = s.ResetStation(t.Context(), "bay-1")
			w.must(err)
		}
	}
	want, err := os.ReadFile("testdata/operations.tsv")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); diff != "" {
		t.Errorf("(-want +got):\n%s\nall:\n%s", diff, strings.Join(got, "\n"))
	}
}
