//go:build rig

package provision

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/attestation"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/usbrig"
)

// yubiKeyProfile is the built-in profile of ykcs11, with the roots of a maker.
func yubiKeyProfile(maker *pivcard.Maker) TokenProfile {
	roots := x509.NewCertPool()
	roots.AddCert(maker.Root)
	return TokenProfile{
		Name: "ykcs11", SOPIN: PINPolicy{Length: 48, Alphabet: "0123456789abcdef"}, WorstKeyGeneration: time.Minute,
		FactorySOPIN: pkcs11.NewSOPIN(pivcard.FactoryManagementKey), FactoryUserPIN: pkcs11.NewUserPIN(pivcard.FactoryPIN),
		SOPINUncounted: true,
		AsMade:         true, UserPIN: UserPINChange, SOWritesKeys: true,
		KeyID: pkcs11.KeyID{0x01}, CAKeyIDs: []pkcs11.KeyID{{0x05}, {0x06}},
		OmitAttributes: []string{"CKA_EXTRACTABLE", "CKA_PRIVATE"},
		OwnLabels:      []string{"X.509 Certificate for PIV Attestation*", "Public key for PIV Attestation*", "Private key for PIV Attestation*"},
		Attest:         attestation.YubiKey(roots, time.Now),
	}
}

// usbStation is a station whose tokens are virtual YubiKeys behind a real pcscd.
type usbStation struct {
	*station
	rig   *usbrig.Rig
	maker *pivcard.Maker
	cards []*pivcard.Card
}

func newUSBStation(t *testing.T, readers int) *usbStation {
	t.Helper()
	s := &usbStation{station: newStation(t)}
	dir, err := os.MkdirTemp("", "usbrig-")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	if s.rig, err = usbrig.Start(t.Context(), dir, readers, &log); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.rig.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if s.maker, err = pivcard.NewMaker(); err != nil {
		t.Fatal(err)
	}
	for i := range readers {
		s.cards = append(s.cards, s.newCard(t, uint32(10000001+i)))
	}
	s.bay = pkcs11test.Bay{Path: s.rig.Module(), Env: s.rig.Env()}
	s.runner.Settle = settle
	s.runner.TokenProfile = func(pkcs11.TokenInfo) (TokenProfile, error) { return yubiKeyProfile(s.maker), nil }
	return s
}

func (s *usbStation) newCard(t *testing.T, serial uint32) *pivcard.Card {
	t.Helper()
	c, err := pivcard.New(serial, s.maker)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// insert puts a card into a reader and waits until a module sees it.
func (s *usbStation) insert(t *testing.T, reader int, c *pivcard.Card) {
	t.Helper()
	if err := s.rig.Insert(t.Context(), reader, c); err != nil {
		t.Fatal(err)
	}
	s.sees(t, c, true)
}

// settle is how long a person takes at least between two moves. The daemon looks for
// cards 2.5 times a second; a reader whose card is exchanged in between confuses it.
const settle = time.Second

// pull takes a card out and waits until a module misses it.
func (s *usbStation) pull(t *testing.T, reader int, c *pivcard.Card) {
	t.Helper()
	if err := s.rig.Pull(reader); err != nil {
		t.Fatal(err)
	}
	s.sees(t, c, false)
	time.Sleep(settle)
}

// sees waits until a module sees a card, or sees it no more.
func (s *usbStation) sees(t *testing.T, c *pivcard.Card, want bool) {
	t.Helper()
	m := s.module()
	defer func() { _ = m.(interface{ Close() error }).Close() }()
	for end := time.Now().Add(5 * time.Second); ; {
		slots, err := m.Slots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		there := false
		for _, slot := range slots {
			there = there || slot.Is(serialOf(c))
		}
		if there == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("card %d is seen: %t, wanted %t %+v", c.Serial, there, want, slots)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func serialOf(c *pivcard.Card) pkcs11.Identity {
	return pkcs11.Identity{Serial: pkcs11.TokenSerial(fmt.Sprint(c.Serial))}
}

// run runs a job in a process of its own, which ends with it.
func (s *usbStation) run(t *testing.T, rec *Record) error {
	t.Helper()
	m := s.module()
	err := s.runner.Run(t.Context(), rec, m, alwaysOurs{})
	_ = m.(interface{ Close() error }).Close() // it may have come to harm with its card
	return err
}

// job journals a job for a card.
func (s *usbStation) job(t *testing.T, sequence int, c *pivcard.Card) *Record {
	t.Helper()
	rec, err := s.runner.Journal.Create(sampleJob(sequence), 1, TokenRef{Module: "usb", Identity: serialOf(c), Model: "YubiKey YK5"})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// witness has openssl and pkcs11-tool, with the PIN that openssl took out of its
// envelope, say that the card holds a key that belongs to its certificate.
func (s *usbStation) witness(t *testing.T, rec *Record) {
	t.Helper()
	dir, serial := t.TempDir(), string(rec.Token.Identity.Serial)
	pin := s.openPIN(rec.Facts.UserPINEnvelope)
	in, sig, cert, public := filepath.Join(dir, "in"), filepath.Join(dir, "sig"), filepath.Join(dir, "cert.der"), filepath.Join(dir, "public.pem")
	if err := os.WriteFile(in, []byte("sample text"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool := func(args ...string) {
		s.bay.Tool(t, "pkcs11-tool", append([]string{"--module", s.bay.Path, "--token-label", "YubiKey PIV #" + serial}, args...)...)
	}
	tool("--read-object", "--type", "cert", "--label", "X.509 Certificate for PIV Authentication", "-o", cert)
	tool("--login", "--pin", pin, "--sign", "--id", "01", "-m", "ECDSA-SHA256", "--signature-format", "openssl", "-i", in, "-o", sig)
	for _, args := range [][]string{
		{"x509", "-inform", "DER", "-in", cert, "-pubkey", "-noout", "-out", public},
		{"dgst", "-sha256", "-verify", public, "-signature", sig, in},
	} {
		if out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	der, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if sha256hex(der) != rec.Facts.CertificateSHA256 {
		t.Errorf("card %s holds another certificate than the report says", serial)
	}
	if root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.maker.Root.Raw}); len(root) == 0 || !strings.Contains(rec.Facts.Attestation, serial) {
		t.Errorf("card %s: attestation %q", serial, rec.Facts.Attestation)
	}
}

// TestYubiKeys writes eight cards at once, each in a process of its own. A card that
// is written is not taken for a new one.
func TestYubiKeys(t *testing.T) {
	const cards = 8
	s := newUSBStation(t, cards)
	var records [cards]*Record
	for i, c := range s.cards {
		if err := s.rig.Insert(t.Context(), i, c); err != nil {
			t.Fatal(err)
		}
		records[i] = s.job(t, i+1, c)
	}
	for _, c := range s.cards {
		s.sees(t, c, true)
	}
	var modules [cards]pkcs11.Module
	for i := range modules {
		// A wave's processes begin, and have seen every card, before it does: the first
		// look of ykcs11 selects the application of each, which ends all logins.
		modules[i] = s.module()
		if _, err := modules[i].Slots(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	var wg sync.WaitGroup
	for i, rec := range records {
		wg.Go(func() {
			if err := s.runner.Run(t.Context(), rec, modules[i], alwaysOurs{}); err != nil {
				t.Errorf("card %d: %v", s.cards[i].Serial, err)
			}
		})
	}
	wg.Wait()
	t.Logf("%d cards in %s", cards, time.Since(begun).Round(time.Millisecond))
	if t.Failed() {
		return
	}
	for _, rec := range records {
		s.witness(t, rec)
	}
	again := s.job(t, cards+1, s.cards[0])
	if err := s.run(t, again); !errors.Is(err, ErrNotBlank) || again.State != StateFailed {
		t.Errorf("a written card again: %v, state %s", err, again.State)
	}
}

// TestYubiKeyPulled pulls the card at every few commands of the way, puts it back in
// another reader, and has the job go on: it finishes with one certificate, or the card
// is set aside because a PIN was being tried whose fate is unknown.
func TestYubiKeyPulled(t *testing.T) {
	s := newUSBStation(t, 2)
	whole := s.newCard(t, 20000000)
	var commands atomic.Int64
	s.insert(t, 0, whole)
	whole.Before = func([]byte) { commands.Add(1) }
	if err := s.run(t, s.job(t, 1, whole)); err != nil {
		t.Fatal(err)
	}
	total := int(commands.Load())
	whole.Before = nil
	s.pull(t, 0, whole)
	const pulls = 12
	finished, aside := 0, 0
	for n := range pulls {
		at := 1 + n*total/pulls
		c := s.newCard(t, uint32(20000001+n))
		rec := s.pulledAt(t, n+2, c, at)
		switch {
		case rec.State == StateFinished:
			finished++
			s.witness(t, rec)
		case errors.Is(lastError(rec), ErrFactoryTried) && rec.State.Final():
			aside++
		default:
			t.Errorf("pulled at command %d of %d: state %s, %s", at, total, rec.State, rec.Reason)
		}
		s.pull(t, 1, c)
	}
	if s.central.issued != finished+1 {
		t.Errorf("%d certificates for %d finished cards", s.central.issued, finished+1)
	}
	t.Logf("%d commands; pulled at %d of them: %d finished after all, %d set aside", total, pulls, finished, aside)
	if finished < pulls*3/4 {
		t.Errorf("%d of %d finished only", finished, pulls)
	}
}

// lastError is ErrFactoryTried when that is why the job ended.
func lastError(rec *Record) error {
	if strings.Contains(rec.Reason, string(ErrFactoryTried)) {
		return ErrFactoryTried
	}
	return nil
}

// pulledAt runs a job on a card in reader 0 that is pulled at its n-th command, and
// lets it go on with the card in reader 1.
func (s *usbStation) pulledAt(t *testing.T, sequence int, c *pivcard.Card, n int) *Record {
	t.Helper()
	s.insert(t, 0, c)
	rec := s.job(t, sequence, c)
	var commands atomic.Int64
	pulled := make(chan error, 1)
	c.Before = func([]byte) {
		if commands.Add(1) == int64(n) {
			pulled <- s.rig.Eject(0)
		}
	}
	err := s.run(t, rec)
	if len(pulled) == 0 {
		t.Fatalf("card %d was never pulled: the run is shorter than %d commands (%v)", c.Serial, n, err)
	}
	if err := <-pulled; err != nil {
		t.Fatal(err)
	}
	if err == nil {
		t.Fatalf("the job finished though the card was pulled at command %d", n)
	}
	c.Before = nil
	s.sees(t, c, false)
	time.Sleep(settle)
	s.insert(t, 1, c)
	for range 3 {
		if rec.State.Final() {
			break
		}
		_ = s.run(t, rec) // its state tells
	}
	return rec
}

// TestAnotherYubiKey: a card in the place of the one that a job began with is left alone.
func TestAnotherYubiKey(t *testing.T) {
	s := newUSBStation(t, 2)
	first, second := s.cards[0], s.cards[1]
	s.insert(t, 0, first)
	rec := s.job(t, 1, first)
	s.central.bindError = errors.New("no network")
	if err := s.run(t, rec); err == nil {
		t.Fatal("the job finished without a certificate")
	}
	s.central.bindError = nil
	s.pull(t, 0, first)
	s.insert(t, 0, second)
	var touched atomic.Int64
	second.Before = func(apdu []byte) {
		switch ins := apdu[1]; {
		case ins == 0x20 && len(apdu) > 5, // VERIFY; without a PIN it asks for the tries left
			ins == 0x24, ins == 0x47, ins == 0xdb, ins == 0xff: // CHANGE, GENERATE, PUT DATA, SET KEY
			touched.Add(1)
		}
	}
	if err := s.run(t, rec); !errors.Is(err, pkcs11.ErrNotFound) || rec.State != StateParked {
		t.Errorf("error is %v, state %s", err, rec.State)
	}
	second.Before = nil
	if n := touched.Load(); n > 0 {
		t.Errorf("%d commands that write or try a PIN went to another card", n)
	}
	s.pull(t, 0, second)
	s.insert(t, 1, first)
	if err := s.run(t, rec); err != nil {
		t.Fatalf("with the card back, in another reader: %v", err)
	}
	s.witness(t, rec)
}

// TestCancelledYubiKey: a key that cannot be destroyed in its place is replaced by one
// that nobody has asked for; neither it nor the certificate can be used any more.
func TestCancelledYubiKey(t *testing.T) {
	s := newUSBStation(t, 1)
	s.insert(t, 0, s.cards[0])
	rec := s.job(t, 1, s.cards[0])
	lease := &withdrawable{}
	s.runner.Observe = func(p Progress) {
		if p.Step == StepFinish {
			lease.cancelled.Store(true)
		}
	}
	if err := s.runner.Run(t.Context(), rec, s.module(), lease); !errors.Is(err, ErrCancelled) || rec.State != StateQuarantined {
		t.Fatalf("error is %v, state %s", err, rec.State)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Outcome != OutcomeDestroyed {
		t.Errorf("outbox %+v (%v)", reports, err)
	}
	s.runner.Observe = nil
	m := s.module()
	token, err := m.Open(t.Context(), serialOf(s.cards[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := token.LoginUser(t.Context(), pkcs11.NewUserPIN(s.openPIN(rec.Facts.UserPINEnvelope))); err != nil {
		t.Fatal(err)
	}
	objects, err := token.Objects(t.Context(), pkcs11.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range yubiKeyProfile(s.maker).ours(objects) {
		if o.Class == pkcs11.ClassCertificate || bytes.Equal(o.PublicKey, rec.Facts.PublicKey) {
			t.Errorf("class %d with CKA_ID %s is still on the card", o.Class, o.ID)
		}
	}
}
