package provision

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// What must hold however a job ended. The tokens are looked at through SoftHSM itself,
// without the shim, in a process of its own.

func (a *attempt) check(t *testing.T) {
	t.Helper()
	a.checkNeighbour(t)
	a.checkPINs(t)
	a.checkRequests(t)
	if a.logins.worst > a.logins.spare {
		t.Errorf("%d wrong PINs were tried in a row", a.logins.worst)
	}
	if !a.rec.State.Final() {
		t.Errorf("the job never ends: %s at %s", a.rec.State, a.rec.Step)
	} else if reports, err := a.runner.Journal.PendingReports(10); err != nil || len(reports) != 1 {
		t.Errorf("%d reports in the outbox (%v)", len(reports), err)
	}
	if a.rec.State != StateFinished && (a.rec.Reason == "" || a.rec.Hint == "") {
		t.Errorf("%s without saying why (%q) and what next (%q)", a.rec.State, a.rec.Reason, a.rec.Hint)
	}
	if last := a.told[len(a.told)-1]; a.rec.State == StateFinished && last != nil {
		t.Errorf("the job finished, and its run returned %v", last)
	}
	a.checkOwn(t)
	if t.Failed() {
		t.Logf("again: scripts/fault-matrix %s", a.cell.name())
		t.Logf("state %s at %s; runs ended with:", a.rec.State, a.rec.Step)
		for _, err := range a.told {
			t.Logf("  %v", err)
		}
	}
}

// checkNeighbour compares the neighbour's files, and counts the tokens.
func (a *attempt) checkNeighbour(t *testing.T) {
	t.Helper()
	s := a.cell.scene
	before, after := contents(t, filepath.Join(s.tokens, s.neighbour)), contents(t, filepath.Join(tokenDir(a.lane.bay), s.neighbour))
	if !maps.Equal(before, after) {
		t.Error("the other token in the module was written")
	}
	if n := len(folders(t, tokenDir(a.lane.bay))); n > 2 {
		t.Errorf("%d tokens in the bay: more than the job's and its neighbour", n)
	}
}

// checkPINs looks for PINs in clear in what was said and in what the journal keeps.
func (a *attempt) checkPINs(t *testing.T) {
	t.Helper()
	so, user := a.drawn(t)
	var text bytes.Buffer
	text.WriteString(a.words())
	for _, name := range folders(t, a.dir) {
		b, err := os.ReadFile(filepath.Join(a.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b)
	}
	for what, pin := range map[string]string{"SO PIN": so, "user PIN": user, "factory SO PIN": "87654321"} {
		if pin != "" && bytes.Contains(text.Bytes(), []byte(pin)) {
			t.Errorf("the %s is in the journal or in an error", what)
		}
	}
}

// drawn are the PINs that were drawn for the token, empty before they were.
func (a *attempt) drawn(t *testing.T) (so, user string) {
	t.Helper()
	f := a.rec.Facts
	if f.EscrowID == "" {
		return "", ""
	}
	so, err := a.runner.Vault.open(a.rec.Job.ID, fieldSOPIN, f.SOPINBox)
	if err != nil {
		t.Error(err)
	}
	user, err = a.runner.Vault.open(a.rec.Job.ID, fieldUserPIN, f.UserPINBox)
	if err != nil {
		t.Error(err)
	}
	return so, user
}

// checkRequests: a unit has one request and one certificate.
func (a *attempt) checkRequests(t *testing.T) {
	t.Helper()
	if len(a.binds) > 1 || a.central.issued > 1 {
		t.Errorf("%d requests were sent and %d certificates issued for one unit", len(a.binds), a.central.issued)
	}
}

// checkOwn looks at the job's token.
func (a *attempt) checkOwn(t *testing.T) {
	t.Helper()
	m := a.module() // of the lane's bay: SoftHSM itself
	defer func() { _ = m.(interface{ Close() error }).Close() }()
	info := a.find(t, m)
	if info == nil {
		if a.rec.State == StateFinished {
			t.Error("there is no token with the unit's label")
		}
		return
	}
	token, err := m.Open(t.Context(), pkcs11.Identity{Serial: info.Serial})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = token.Close() }()
	if a.rec.State == StateFailed {
		a.checkUntouched(t, *info, token)
		return
	}
	a.checkWritten(t, *info, token)
}

// find is the job's token, as far as it is initialised: by the serial that it came
// with, else as the one beside the neighbour.
func (a *attempt) find(t *testing.T, m pkcs11.Module) *pkcs11.TokenInfo {
	t.Helper()
	slots, err := m.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if s.Token != nil && s.Token.Initialized() && s.Token.Serial != a.cell.scene.neighbourSerial {
			return s.Token
		}
	}
	return nil
}

// checkUntouched: a token whose job failed is as its maker delivered it.
func (a *attempt) checkUntouched(t *testing.T, info pkcs11.TokenInfo, token pkcs11.Token) {
	t.Helper()
	if a.cell.scene.serial == "" {
		t.Errorf("the job says that it wrote nothing, and a blank token became %+v", info)
		return
	}
	if info.Label != "factory" {
		t.Errorf("the job says that it wrote nothing, and the token's label is %q", string(info.Label))
	}
	if err := token.LoginSO(t.Context(), pkcs11.NewSOPIN("87654321")); err != nil {
		t.Errorf("the job says that it wrote nothing, and the factory's SO PIN gives: %v", err)
	}
	if objects, err := token.Objects(t.Context(), pkcs11.Query{}); err != nil || len(objects) > 0 {
		t.Errorf("the job says that it wrote nothing, and the token holds %d objects (%v)", len(objects), err)
	}
}

// checkWritten: the PINs of a token that was written are known and escrowed; it holds
// one key at most, and no certificate but that key's and the CA's. A finished one holds
// all of it.
func (a *attempt) checkWritten(t *testing.T, info pkcs11.TokenInfo, token pkcs11.Token) {
	t.Helper()
	ctx := t.Context()
	finished := a.rec.State == StateFinished
	if finished && !a.rec.Facts.AsMade && info.Label != a.rec.Job.TokenLabel {
		t.Errorf("the token's label is %q", string(info.Label))
	}
	a.checkSOPIN(t, token, finished)
	if !a.loginUser(t, info, token, finished) {
		return
	}
	objects, err := token.Objects(ctx, pkcs11.Query{})
	if err != nil {
		t.Fatal(err)
	}
	private, certificates := 0, 0
	for _, o := range objects {
		switch o.Class {
		case pkcs11.ClassPrivateKey:
			private++
		case pkcs11.ClassCertificate:
			certificates++
			a.checkCertificate(t, token, o)
		}
	}
	if private > 1 {
		t.Errorf("%d private keys on the token", private)
	}
	if finished && (private != 1 || certificates != 2 || len(objects) != 4) {
		t.Errorf("%d objects on the token, of them %d private keys and %d certificates; wanted a key pair and two certificates", len(objects), private, certificates)
	}
}

// checkSOPIN: the SO PIN of a finished token is the escrowed one, that of another one
// may still be the factory's, and no other.
func (a *attempt) checkSOPIN(t *testing.T, token pkcs11.Token, finished bool) {
	t.Helper()
	ctx := t.Context()
	so, _ := a.drawn(t)
	escrow, escrowed := a.central.escrowed[a.rec.Facts.EscrowID]
	if finished && escrowed {
		so = a.openPIN(escrow.Envelope)
	}
	err := token.LoginSO(ctx, pkcs11.NewSOPIN(so))
	if err == nil && !escrowed {
		t.Error("the token has an SO PIN that is not in escrow")
	}
	if err != nil && !finished && a.cell.scene.profile != nil {
		err = token.LoginSO(ctx, pkcs11.NewSOPIN("87654321"))
	}
	if err != nil {
		t.Errorf("the token's SO PIN is not known: %v", err)
	}
	if err := token.Logout(ctx); err != nil {
		t.Error(err)
	}
}

// loginUser logs in with the PIN that the holder gets, if the token has one.
func (a *attempt) loginUser(t *testing.T, info pkcs11.TokenInfo, token pkcs11.Token, finished bool) bool {
	t.Helper()
	ctx := t.Context()
	if !info.Flags.Has(pkcs11.FlagUserPINInitialized) {
		if finished {
			t.Error("the token has no user PIN")
		}
		return false
	}
	_, user := a.drawn(t)
	if finished {
		user = a.openPIN(a.rec.Facts.UserPINEnvelope)
	}
	err := token.LoginUser(ctx, pkcs11.NewUserPIN(user))
	if err != nil && !finished && a.rec.Facts.AsMade {
		err = token.LoginUser(ctx, pkcs11.NewUserPIN("123456"))
	}
	if err != nil {
		t.Errorf("the token's user PIN is not known: %v", err)
	}
	return err == nil
}

// checkCertificate: the leaf comes from the customers' CA and certifies the key that
// the token signs with.
func (a *attempt) checkCertificate(t *testing.T, token pkcs11.Token, o pkcs11.Object) {
	t.Helper()
	c, err := x509.ParseCertificate(o.Certificate)
	if err != nil {
		t.Error(err)
		return
	}
	if c.IsCA {
		if !bytes.Equal(c.Raw, a.central.ca.Raw) {
			t.Errorf("a CA certificate of %s", c.Subject)
		}
		return
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.central.root)
	between.AddCert(a.central.ca)
	if _, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("the certificate on the token: %v", err)
	}
	challenge := sha256.Sum256([]byte(rand.Text()))
	signature, err := token.Sign(t.Context(), o.ID, pkcs11.MechanismECDSA, challenge[:])
	if err != nil {
		t.Errorf("a certificate without its private key: %v", err)
		return
	}
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	if !ok || !verifyRaw(key, challenge[:], signature) {
		t.Error("a certificate on a wrong key: it does not verify what the token signs")
	}
}

// verifyRaw verifies a signature that comes as r and s of equal length (PKCS#11 v2.40,
// Mechanisms, 2.3.1).
func verifyRaw(key *ecdsa.PublicKey, digest, signature []byte) bool {
	half := len(signature) / 2
	return ecdsa.Verify(key, digest, new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:]))
}
