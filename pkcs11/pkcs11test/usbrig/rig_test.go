//go:build rig

package usbrig_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/usbrig"
)

// bench is a rig with programs that share no code with it.
type bench struct {
	*usbrig.Rig
	dir string
}

func newBench(t *testing.T, readers int) bench {
	t.Helper()
	return bench{usbrig.New(t, readers), t.TempDir()}
}

func (b bench) file(name string) string { return filepath.Join(b.dir, name) }

// insert puts a card in and waits until the daemon sees it.
func (b bench) insert(t *testing.T, i int, c *pivcard.Card) {
	t.Helper()
	if err := b.Insert(t.Context(), i, c); err != nil {
		t.Fatal(err)
	}
	if err := b.Sees(t.Context(), i, true); err != nil {
		t.Fatal(err)
	}
}

// try runs a program that speaks to the rig's daemon.
func (b bench) try(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = os.Environ()
	for k, v := range b.Env() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run is try where the program has to be there and to succeed.
func (b bench) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%v (apt-get install yubico-piv-tool opensc openssl)", err)
	}
	out, err := b.try(t.Context(), name, args...)
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// piv is Yubico's own tool on the card in reader i.
func (b bench) piv(t *testing.T, i int, args ...string) string {
	t.Helper()
	return b.run(t, "yubico-piv-tool", append([]string{"-r", b.Reader(i), "-a"}, args...)...)
}

// p11 is OpenSC's tool with Yubico's module on the card of a serial number.
func (b bench) p11(t *testing.T, serial string, args ...string) string {
	t.Helper()
	return b.run(t, "pkcs11-tool", append([]string{"--module", b.Module(), "--token-label", "YubiKey PIV #" + serial}, args...)...)
}

func (b bench) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(b.file(name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestYubicosTool takes the card for a YubiKey, makes a key on it and has it attested;
// openssl follows the attestation to the maker's root.
func TestYubicosTool(t *testing.T) {
	b := newBench(t, 2)
	card, maker := usbrig.NewCard(t, 12345678)
	b.insert(t, 0, card)
	if out := b.piv(t, 0, "status"); !strings.Contains(out, "12345678") || !strings.Contains(out, "PIN tries left:\t3") {
		t.Errorf("status: %s", out)
	}
	b.write(t, "root.pem", maker.RootPEM())
	for _, algorithm := range []string{"RSA2048", "ECCP256", "ECCP384"} {
		b.piv(t, 0, "generate", "-s", "9a", "-A", algorithm, "-o", b.file("public.pem"))
		b.piv(t, 0, "attest", "-s", "9a", "-o", b.file("attestation.pem"))
		b.piv(t, 0, "read-certificate", "-s", "f9", "-o", b.file("f9.pem"))
		b.run(t, "openssl", "verify", "-CAfile", b.file("root.pem"), "-untrusted", b.file("f9.pem"), b.file("attestation.pem"))
		made, err := os.ReadFile(b.file("public.pem"))
		if err != nil {
			t.Fatal(err)
		}
		attested := b.run(t, "openssl", "x509", "-in", b.file("attestation.pem"), "-pubkey", "-noout")
		if strings.TrimSpace(attested) != strings.TrimSpace(string(made)) {
			t.Errorf("%s: another key is attested than was made", algorithm)
		}
		if out := b.piv(t, 0, "verify-pin", "-P", pivcard.FactoryPIN, "-a", "test-signature", "-s", "9a", "-i", b.file("attestation.pem")); !strings.Contains(out, "Successful") {
			t.Errorf("%s: test-signature: %s", algorithm, out)
		}
	}
	if text := b.run(t, "openssl", "x509", "-in", b.file("attestation.pem"), "-noout", "-text"); !strings.Contains(text, "1.3.6.1.4.1.41482.3.9") {
		t.Errorf("the attestation lacks an extension: %s", text)
	}
}

// TestPINs changes, blocks and unblocks with Yubico's tool.
func TestPINs(t *testing.T) {
	b := newBench(t, 2)
	card, _ := usbrig.NewCard(t, 12345678)
	b.insert(t, 1, card)
	verify := func(pin string) error {
		_, err := b.try(t.Context(), "yubico-piv-tool", "-r", b.Reader(1), "-a", "verify-pin", "-P", pin)
		return err
	}
	b.piv(t, 1, "change-pin", "-P", pivcard.FactoryPIN, "-N", "654321")
	b.piv(t, 1, "verify-pin", "-P", "654321")
	for n := range 3 {
		if verify("999999") == nil {
			t.Fatal("a wrong PIN is taken")
		}
		if out := b.piv(t, 1, "status"); !strings.Contains(out, "PIN tries left:\t"+string(rune('2'-n))) {
			t.Errorf("after %d wrong PINs: %s", n+1, out)
		}
	}
	if verify("654321") == nil {
		t.Error("three wrong PINs do not lock it")
	}
	if err := b.Pull(1); err != nil {
		t.Fatal(err)
	}
	if err := b.Sees(t.Context(), 1, false); err != nil {
		t.Fatal(err)
	}
	b.insert(t, 0, card)
	if out := b.piv(t, 0, "status"); !strings.Contains(out, "PIN tries left:\t0") {
		t.Errorf("pulling the card unlocks it: %s", out)
	}
	b.piv(t, 0, "unblock-pin", "-P", pivcard.FactoryPUK, "-N", "246810")
	b.piv(t, 0, "verify-pin", "-P", "246810")
}

// TestModule goes the way of a provisioning station with OpenSC's tool: key, certificate,
// PIN; openssl checks a signature with the certificate's key.
func TestModule(t *testing.T) {
	b := newBench(t, 2)
	card, _ := usbrig.NewCard(t, 12345678)
	b.insert(t, 0, card)
	b.write(t, "in", []byte("sample text"))
	labels := map[string]string{
		"9a": "X.509 Certificate for PIV Authentication", "9d": "X.509 Certificate for Key Management", "9e": "X.509 Certificate for Card Authentication",
	}
	b.run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", b.file("ca.key"), "-out", b.file("ca.pem"), "-subj", "/CN=sample CA")
	for _, row := range []struct{ kind, id, slot, mechanism string }{
		{"rsa:2048", "01", "9a", "SHA256-RSA-PKCS"}, {"EC:prime256v1", "03", "9d", "ECDSA-SHA256"}, {"EC:secp384r1", "04", "9e", "ECDSA-SHA256"},
	} {
		so := []string{"--login", "--login-type", "so", "--so-pin", pivcard.FactoryManagementKey}
		b.p11(t, "12345678", append(so, "--keypairgen", "--key-type", row.kind, "--id", row.id)...)
		// OpenSC 0.23 cannot write down the public key of a P-384 object.
		b.p11(t, "12345678", "--read-object", "--type", "cert", "--label", "X.509 Certificate for PIV Attestation "+row.slot, "-o", b.file("attestation.der"))
		b.run(t, "openssl", "x509", "-in", b.file("attestation.der"), "-pubkey", "-noout", "-out", b.file("attested.pem"))
		b.run(t, "openssl", "x509", "-new", "-force_pubkey", b.file("attested.pem"), "-subj", "/CN=sample", "-CA", b.file("ca.pem"), "-CAkey", b.file("ca.key"),
			"-outform", "DER", "-out", b.file("leaf.der"))
		b.p11(t, "12345678", append(so, "--write-object", b.file("leaf.der"), "--type", "cert", "--id", row.id)...)
		b.p11(t, "12345678", "--read-object", "--type", "cert", "--label", labels[row.slot], "-o", b.file("read.der"))
		b.run(t, "openssl", "x509", "-inform", "DER", "-in", b.file("read.der"), "-pubkey", "-noout", "-out", b.file("public.pem"))
		b.p11(t, "12345678", "--login", "--pin", pivcard.FactoryPIN, "--sign", "--id", row.id, "-m", row.mechanism,
			"--signature-format", "openssl", "-i", b.file("in"), "-o", b.file("signature"))
		b.run(t, "openssl", "dgst", "-sha256", "-verify", b.file("public.pem"), "-signature", b.file("signature"), b.file("in"))
	}
	b.p11(t, "12345678", "--login", "--pin", pivcard.FactoryPIN, "--change-pin", "--new-pin", "654321")
	b.p11(t, "12345678", "--login", "--pin", "654321", "-O")
}

// TestEightCards are written at once, each by a process of its own.
func TestEightCards(t *testing.T) {
	const cards = 8
	b := newBench(t, cards)
	serials := []string{"10000001", "10000002", "10000003", "10000004", "10000005", "10000006", "10000007", "10000008"}
	for i := range serials {
		card, _ := usbrig.NewCard(t, uint32(10000001+i))
		if err := b.Insert(t.Context(), i, card); err != nil {
			t.Fatal(err)
		}
	}
	for i := range serials {
		if err := b.Sees(t.Context(), i, true); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	var wg sync.WaitGroup
	for i := range serials {
		wg.Go(func() {
			out, err := b.try(t.Context(), "yubico-piv-tool", "-r", b.Reader(i), "-a", "generate", "-s", "9a", "-A", "ECCP256", "-a", "attest", "-o", b.file(serials[i]))
			if err != nil {
				t.Errorf("reader %d: %v\n%s", i, err, out)
			}
		})
	}
	wg.Wait()
	t.Logf("%d keys in %s", cards, time.Since(begun).Round(time.Millisecond))
	shown := b.run(t, "pkcs11-tool", "--module", b.Module(), "-L")
	for _, serial := range serials {
		if !strings.Contains(shown, "YubiKey PIV #"+serial) {
			t.Errorf("the module does not show %s", serial)
		}
	}
}

// TestInsertAndPull are seen within a second, by the daemon and by a module in a
// process that begins then.
func TestInsertAndPull(t *testing.T) {
	b := newBench(t, 2)
	card, _ := usbrig.NewCard(t, 12345678)
	const rounds, limit = 5, time.Second
	for range rounds {
		begun := time.Now()
		b.insert(t, 1, card)
		inserted := time.Since(begun)
		if out := b.run(t, "pkcs11-tool", "--module", b.Module(), "-L"); !strings.Contains(out, "12345678") {
			t.Errorf("the module does not see the card: %s", out)
		}
		begun = time.Now()
		if err := errors.Join(b.Pull(1), b.Sees(t.Context(), 1, false)); err != nil {
			t.Fatal(err)
		}
		pulled := time.Since(begun)
		t.Logf("insertion seen after %s, pull after %s", inserted.Round(time.Millisecond), pulled.Round(time.Millisecond))
		if inserted > limit || pulled > limit {
			t.Error("which is too long")
		}
	}
}

// TestTwoRigs run side by side, each with a daemon of its own.
func TestTwoRigs(t *testing.T) {
	first, second := newBench(t, 2), newBench(t, usbrig.MaxReaders)
	card, _ := usbrig.NewCard(t, 12345678)
	first.insert(t, 1, card)
	if out, err := second.try(t.Context(), "yubico-piv-tool", "-r", "Yubico", "-a", "version"); err == nil {
		t.Errorf("the second daemon sees the first one's card: %s", out)
	}
	if err := first.Insert(t.Context(), 1, card); !errors.Is(err, usbrig.ErrReader) {
		t.Errorf("a full reader takes a card: %v", err)
	}
	if err := second.Insert(t.Context(), 0, card); !errors.Is(err, pivcard.ErrInserted) {
		t.Errorf("a card is in two readers: %v", err)
	}
	if err := first.Pull(0); !errors.Is(err, usbrig.ErrReader) {
		t.Errorf("a card is pulled from an empty reader: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	for _, n := range []int{0, usbrig.MaxReaders + 1} {
		if _, err := usbrig.Start(t.Context(), t.TempDir(), n, nil); !errors.Is(err, usbrig.ErrReader) {
			t.Errorf("%d readers: %v", n, err)
		}
	}
	if _, err := usbrig.Start(t.Context(), "/tmp/"+strings.Repeat("long", 30), 2, nil); !errors.Is(err, usbrig.ErrMissing) {
		t.Errorf("a socket with too long a name: %v", err)
	}
}
