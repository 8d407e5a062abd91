package cryptoki_test

import (
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// TestSameSerialsRenumbered: of a model whose tokens show one serial and one label, only
// the slot tells them apart. When the slots get other numbers under an open session, what
// is written still goes to the token that was meant, and to no other.
func TestSameSerialsRenumbered(t *testing.T) {
	const so, before, after = "factory-so", "123456", "654321"
	for name, write := range map[string]func(pkcs11.Token){
		"init":     func(k pkcs11.Token) { _, _ = k.Init(t.Context(), pkcs11.NewSOPIN(so), "mine") },
		"user PIN": func(k pkcs11.Token) { _ = k.InitUserPIN(t.Context(), pkcs11.NewUserPIN(after)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := pkcs11test.NewBay(t)
			b.InitToken(t, "A", so, before)
			b.InitToken(t, "B", so, before)
			shim := pkcs11test.NewShim(t, b)
			m := open(t, shim.Bay)
			slots, err := m.Slots(t.Context())
			must(t, err)
			meant, other := slots[0], slots[1]
			alike := []string{"C_GetTokenInfo label factory", "C_GetTokenInfo serial 123"}
			shim.Rules(t, alike...)
			k, err := m.Open(t.Context(), pkcs11.Identity{Serial: "123", SlotDescription: meant.Description})
			must(t, err)
			must(t, k.LoginSO(t.Context(), pkcs11.NewSOPIN(so)))
			if name == "init" {
				must(t, k.Logout(t.Context()))
			}
			shim.Rules(t, append(alike, pkcs11test.Swapped(meant.Token.Serial, other.Token.Serial))...)
			write(k) // it may be refused as well
			must(t, k.Close())
			shim.Rules(t)

			k, err = m.Open(t.Context(), pkcs11.Identity{Serial: other.Token.Serial})
			must(t, err)
			info, err := k.Info(t.Context())
			must(t, err)
			if info.Label != other.Token.Label {
				t.Errorf("the other token has the label %q", string(info.Label))
			}
			if err := k.LoginUser(t.Context(), pkcs11.NewUserPIN(before)); err != nil {
				t.Errorf("the other token's user PIN: %v", err)
			}
		})
	}
}
