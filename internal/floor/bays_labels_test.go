package floor

import (
	"testing"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestFloorOfLabels: a token that was taken out without a label is shown where it was, and at
// a place of its own where something else goes on there, or nobody knows where it was.
func TestFloorOfLabels(t *testing.T) {
	s := newStage(t)
	out := func(i int, state provision.LabelState, serial string) provision.Label {
		return provision.Label{State: state, Record: &provision.Record{Job: s.job(i), Token: provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: pkcs11.TokenSerial(serial)}}}}
	}
	slot := func(name, serial string, use agent.TokenUse) agent.SlotView {
		return agent.SlotView{Description: name, Present: serial != "", Identity: pkcs11.Identity{Serial: pkcs11.TokenSerial(serial)}, Serial: pkcs11.TokenSerial(serial), Use: use}
	}
	look := func(slots ...agent.SlotView) {
		s.is.Modules = []agent.ModuleView{{Name: "m", Looked: s.now, Slots: slots}}
	}
	for i, serial := range []string{"A1", "A2", "A3"} {
		s.tell(i+1, provision.StateFinished, provision.StepFinish, pkcs11.Identity{Serial: pkcs11.TokenSerial(serial)})
	}
	look(slot("r1", "A1", agent.TokenUsed), slot("r2", "A2", agent.TokenUsed), slot("r3", "A3", agent.TokenUsed))
	s.is.Labels = []provision.Label{out(1, provision.LabelInBay, "A1"), out(2, provision.LabelInBay, "A2"), out(3, provision.LabelInBay, "A3")}
	s.see("all are there", "m · r1: done u-1 100% A1", "m · r2: done u-2 100% A2", "m · r3: done u-3 100% A3")
	look(slot("r1", "", ""), slot("r2", "B1", agent.TokenBlank), slot("r3", "A3", agent.TokenUsed))
	s.is.Labels[0], s.is.Labels[1] = out(1, provision.LabelPulled, "A1"), out(2, provision.LabelPrinted, "A2")
	s.see("two are out", "m · r1: labelling u-1 100% A1", "m · r2: label u-2 100% A2", "m · r3: done u-3 100% A3")
	look(slot("r1", "", ""), slot("r2", "B1", agent.TokenUsed), slot("r3", "A3", agent.TokenUsed))
	s.is.Labels[0], s.is.Labels[1] = out(1, provision.LabelMixed, "A1"), out(2, provision.LabelMixed, "A2")
	for range 2 { // its place stays the same
		s.see("another token is in the place of one", "m · r1: mixed u-1 100% A1", "m · r2: used - B1", "m · r3: done u-3 100% A3", "m · r2 ← u-2: mixed u-2 100% A2")
	}
	s.is.Labels = []provision.Label{out(4, provision.LabelPrinted, "A4")}
	look(slot("r1", "", ""))
	s.see("of before this start", "m · r1: empty -", "m ← u-4: label u-4 100% A4")
}
