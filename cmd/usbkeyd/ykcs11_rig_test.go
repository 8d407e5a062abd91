//go:build rig

package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/usbrig"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestEightYubiKeys has the daemon write eight virtual YubiKeys behind one pcscd and
// one module, with a profile that asks for the maker's attestation. Two of them are put
// in only when the others are at work.
func TestEightYubiKeys(t *testing.T) {
	const cards = 8
	dir, err := os.MkdirTemp("", "usbrig-")
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	rig, err := usbrig.Start(t.Context(), dir, cards, &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	t.Cleanup(func() {
		if err := errors.Join(rig.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	maker, err := pivcard.NewMaker()
	if err != nil {
		t.Fatal(err)
	}
	insert := func(i int) {
		c, err := pivcard.New(uint32(10000001+i), maker)
		if err != nil {
			t.Fatal(err)
		}
		c.Slow = 300 * time.Millisecond
		if err := rig.Insert(t.Context(), i, c); err != nil {
			t.Fatal(err)
		}
	}
	s := newStation(t, 0, "ec-p256")
	s.yubiKeys(rig, maker)
	s.Central.Order(t, cards)
	for i := range cards - 2 {
		insert(i)
	}
	logFile := filepath.Join(s.Dir, "log")
	daemon := s.start(t.Context(), logFile, "run", "--log", "-", "--log-level", "debug")
	stationtest.Eventually(t, "work to begin", func() bool { return s.Entries() > 12 })
	insert(cards - 2)
	insert(cards - 1)
	installed := func() (n int) {
		for _, u := range s.Central.Units(t) {
			if u.State == api.INSTALLED {
				n++
			}
		}
		return n
	}
	stationtest.Eventually(t, "all keys", func() bool {
		time.Sleep(50 * time.Millisecond)
		return installed() == cards
	})
	if err := daemon.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		text, _ := os.ReadFile(logFile)
		t.Fatalf("%v\n%s", err, text)
	}
	s.checkYubiKeys(rig, cards)
	if code, out, errOut := s.command("jobs", "list", "-o", "json"); code != exitOK || strings.Count(out, `"finished"`) != cards {
		t.Errorf("jobs: exit code %d, %s%s", code, out, errOut)
	}
	s.checkAttested(cards)
}

// yubiKeys makes the rig the station's only module, with the built-in profile's ways
// written out and attestation besides.
func (s *station) yubiKeys(rig *usbrig.Rig, maker *pivcard.Maker) {
	s.t.Helper()
	root, so, user := filepath.Join(s.Dir, "maker.pem"), filepath.Join(s.Dir, "factory-so.pin"), filepath.Join(s.Dir, "factory-user.pin")
	for path, data := range map[string][]byte{
		root: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: maker.Root.Raw}),
		so:   []byte(pivcard.FactoryManagementKey), user: []byte(pivcard.FactoryPIN),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	text, err := os.ReadFile(s.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	modules := fmt.Sprintf("modules:\n  - {name: usb, path: %q, tokens: %d, env: {PCSCLITE_CSOCK_NAME: %q}}\n", rig.Module(), rig.Readers(), rig.Socket())
	modules += fmt.Sprintf(`tokenProfiles:
  - name: yubikey
    match: {manufacturer: "Yubico (www.yubico.com)", model: "YubiKey *"}
    soPin: {length: 48, alphabet: hex}
    factorySoPinFile: %s
    factoryUserPinFile: %s
    initialise: false
    userPin: change
    keyLogin: so
    soPinUncounted: true
    keyId: "01"
    caKeyIds: ["05", "06"]
    omitAttributes: [CKA_EXTRACTABLE, CKA_PRIVATE]
    ownLabels: ["X.509 Certificate for PIV Attestation*", "Public key for PIV Attestation*", "Private key for PIV Attestation*"]
    attestationTrust: %s
`, so, user, root)
	// Their PINs have 8 characters at most.
	changed := strings.NewReplacer("modules:\n", modules, "userPin: {length: 12}", "userPin: {length: 8}").Replace(string(text))
	if err := os.WriteFile(s.Config, []byte(changed), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// checkYubiKeys has pkcs11-tool log in to every card with the delivered PIN and sign.
func (s *station) checkYubiKeys(rig *usbrig.Rig, want int) {
	t := s.t
	t.Helper()
	bay := pkcs11test.Bay{Path: rig.Module(), Env: rig.Env()}
	serials := map[string]bool{}
	for _, u := range s.Central.Units(t) {
		serials[*u.TokenSerial] = true
		sealed, err := s.Central.Admin.SealedPIN(t.Context(), u.UnitId)
		if err != nil {
			t.Fatal(err)
		}
		in := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(in, []byte("sample"), 0o600); err != nil {
			t.Fatal(err)
		}
		// Its maker's label, which it keeps, and not the product's: it is not initialised.
		if want := "YubiKey PIV #" + *u.TokenSerial; *u.TokenLabel != want {
			t.Errorf("the token of %s is reported with the label %q, not %q", u.UnitId, *u.TokenLabel, want)
		}
		bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--token-label", *u.TokenLabel, "--login", "--pin", s.Central.OpenPIN(t, sealed),
			"--sign", "--id", "01", "-m", "ECDSA-SHA256", "-i", in, "-o", in+".sig")
	}
	if len(serials) != want {
		t.Errorf("%d cards for %d units", len(serials), want)
	}
}

// checkAttested looks into the journal for what the maker said of each key.
func (s *station) checkAttested(want int) {
	s.t.Helper()
	journal, err := provision.OpenJournal(journalPath(filepath.Join(s.Dir, "state")))
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = journal.Close() }()
	jobs, err := journal.All()
	if err != nil {
		s.t.Fatal(err)
	}
	said := 0
	for _, j := range jobs {
		if strings.Contains(j.Facts.Attestation, string(j.Token.Identity.Serial)) {
			said++
		}
	}
	if said != want {
		s.t.Errorf("%d of %d keys are attested", said, want)
	}
}
