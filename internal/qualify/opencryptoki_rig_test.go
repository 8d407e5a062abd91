//go:build rig && linux

package qualify_test

import (
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/qualify"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// TestOpenCryptoki: a model that departs from SoftHSM in much. Its tokens come with an
// SO PIN that cannot be put back, all show one serial, and open to nobody any more
// when they are initialised after their SO PIN was changed.
func TestOpenCryptoki(t *testing.T) {
	pkcs11test.InOpenCryptoki(t, func(t *testing.T) {
		bay := pkcs11test.NewOpenCryptoki(t, "soft token A", "soft token B")
		o, kept := writingTo(t, bay, "soft token A")
		o.Write.Algorithms = nil
		if r := qualified(t, o); r.Fit || r.State != "as it was" {
			t.Errorf("without the factory SO PIN: %s, left %s", r.Verdict, r.State)
		}
		o.Write.FactorySO, o.Write.PINTry = pkcs11.NewSOPIN(pkcs11test.FactorySOPIN), true
		r := qualified(t, o)
		findsNone(t, r, qualify.Unfit)
		finds(t, r, qualify.OK, "so pin", "can change")
		finds(t, r, qualify.OK, "pin try", "the flags show")
		finds(t, r, qualify.Note, "leaving", "could not be put back")
		if !r.Fit || len(kept.pins) != 1 || !strings.Contains(r.State, "its SO PIN is in the test") {
			t.Fatalf("%d SO PINs kept, state %q", len(kept.pins), r.State)
		}
		if p := r.Profile; p.Identity != "reader" || p.SOPINLength != 8 {
			t.Errorf("profile %s", r.ProfileYAML)
		}
		m, err := o.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = m.Close() }()
		token, err := m.Open(t.Context(), pkcs11.Identity{Serial: "123", SlotDescription: "soft token A"})
		if err != nil {
			t.Fatal(err)
		}
		if err := token.LoginSO(t.Context(), kept.pins[0]); err != nil {
			t.Error(err)
		}
	})
}
