package cryptoki_test

import (
	"slices"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// A key that was made since the login, on a token that was initialised through the same one, was
// read when it was made. Reading back finds it there and asks for certificates alone; after
// another login, or for a key that is not known to have been made here, it asks for all.
func TestKeysJustMadeAreNotReadAgain(t *testing.T) {
	m, shim, tokens := shimmed(t, 1)
	token := openToken(t, m, tokens[0])
	user := pkcs11.NewUserPIN(tokens[0].User)
	_, err := token.Init(t.Context(), pkcs11.NewSOPIN(tokens[0].SOPIN), "made")
	must(t, err)
	must(t, token.LoginSO(t.Context(), pkcs11.NewSOPIN(tokens[0].SOPIN)))
	must(t, token.InitUserPIN(t.Context(), user))
	must(t, token.Logout(t.Context()))
	must(t, token.LoginUser(t.Context(), user))
	must(t, generate(t, token, 7))
	must(t, token.WriteCertificate(t.Context(), pkcs11.CertificateObject{ID: pkcs11.KeyID{7}, DER: pkcs11test.Certificate(t, "leaf")}))

	readBack := func(token pkcs11.Token, asked int) []pkcs11.Object {
		t.Helper()
		shim.Calls(t)
		objects, err := token.Objects(t.Context(), pkcs11.Query{Shallow: true})
		must(t, err)
		got := 0
		for _, call := range shim.Calls(t) {
			if call == "C_GetAttributeValue" {
				got++
			}
		}
		if got != 2*asked { // for the lengths first
			t.Errorf("%d objects were asked for attributes %d times, want %d", len(objects), got, 2*asked)
		}
		slices.SortFunc(objects, func(a, b pkcs11.Object) int { return int(a.Class) - int(b.Class) })
		return objects
	}
	known := readBack(token, 1)
	must(t, token.Logout(t.Context()))
	must(t, token.LoginUser(t.Context(), user))
	anew := readBack(token, 4) // the certificate's value is a call of its own
	if len(known) != 3 || len(anew) != 3 {
		t.Fatalf("%d objects, and after another login %d", len(known), len(anew))
	}
	for i := range known {
		if known[i].Class != anew[i].Class || !known[i].ID.Equal(anew[i].ID) || known[i].Label != anew[i].Label || string(known[i].Certificate) != string(anew[i].Certificate) {
			t.Errorf("%+v, and after another login %+v", known[i], anew[i])
		}
	}
}
