package recovery

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

func TestMain(m *testing.M) {
	envelope.ChooseAES256()
	os.Exit(m.Run())
}

type officer struct {
	key  *rsa.PrivateKey
	cert []byte
}

func newOfficer(t *testing.T, serial int64) officer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "示例恢复专员"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return officer{key, cert}
}

func seal(t *testing.T, pin string, to ...officer) []byte {
	t.Helper()
	var recipients []envelope.Recipient
	for _, o := range to {
		r, err := envelope.ParseRecipient(o.cert, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		recipients = append(recipients, r)
	}
	der, err := envelope.Seal(recipients, []byte(pin))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Each officer alone opens what was sealed to both, here and with openssl; a third does not.
func TestOpen(t *testing.T) {
	first, second, third := newOfficer(t, 1), newOfficer(t, 2), newOfficer(t, 3)
	const pin = "00112233445566778899aabbccddeeff"
	der := seal(t, pin, first, second)
	for name, o := range map[string]officer{"first": first, "second": second} {
		got, err := Open(der, o.key)
		if err != nil || string(got) != pin {
			t.Errorf("%s officer reads %q, %v", name, got, err)
		}
		if got := opensslOpens(t, der, o); got != pin {
			t.Errorf("openssl reads %q for the %s officer", got, name)
		}
	}
	if got, err := Open(der, third.key); !errors.Is(err, ErrNotForKey) || got != nil {
		t.Errorf("a third one reads %q, %v", got, err)
	}
}

func TestOpenWhatOpenSSLMade(t *testing.T) {
	o := newOfficer(t, 1)
	dir := t.TempDir()
	cert := write(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert}))
	plain := write(t, dir, "pin", []byte("87654321"))
	sealed := filepath.Join(dir, "pin.p7m")
	openssl(t, "cms", "-encrypt", "-binary", "-aes256", "-outform", "DER", "-in", plain, "-out", sealed, cert)
	der, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Open(der, o.key); err != nil || string(got) != "87654321" {
		t.Errorf("reads %q, %v", got, err)
	}
}

// Whatever is done to an envelope, what comes out is not taken for the PIN silently: an
// error, or, CBC being what it is, other bytes. One in 256 of the changed last blocks ends as
// padding does; then bytes that no PIN has come after the PIN. Nothing panics.
func TestOpenDamaged(t *testing.T) {
	o := newOfficer(t, 1)
	const pin = "0011223344556677"
	der := seal(t, pin, o)
	for i := range der {
		for _, bit := range []byte{1, 0x80} {
			changed := append([]byte(nil), der...)
			changed[i] ^= bit
			if got, err := Open(changed, o.key); err == nil && string(got) == pin {
				continue // it was a name that nobody needs, such as the recipient's issuer
			} else if err == nil && strings.HasPrefix(string(got), pin) && !bytes.ContainsFunc(got, noPIN) {
				t.Errorf("byte %d: a longer PIN %q", i, got)
			}
		}
	}
	for n := range der {
		if got, err := Open(der[:n], o.key); err == nil {
			t.Errorf("the first %d bytes: %q", n, got)
		}
	}
	if got, err := Open(append(der, 0), o.key); err == nil {
		t.Errorf("one byte more: %q", got)
	}
}

func noPIN(r rune) bool { return r < '!' || r > '~' }

func TestParseKey(t *testing.T) {
	key := newOfficer(t, 1).key
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	dir := t.TempDir()
	plain, locked := write(t, dir, "plain.pem", pkcs8(key)), filepath.Join(dir, "locked.pem")
	openssl(t, "pkcs8", "-topk8", "-in", plain, "-out", locked, "-passout", "pass:sample")
	encrypted, err := os.ReadFile(locked)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		text []byte
		says string
	}{
		"PKCS#8": {pkcs8(key), ""}, "PKCS#1": {pkcs1, ""},
		"empty": {nil, "no PEM block"}, "EC": {pkcs8(ec), "ecdsa"}, "two": {append(pkcs8(key), pkcs1...), "more than one"},
		"certificate": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}}), "CERTIFICATE"},
		"garbage":     {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), "asn1"},
		"encrypted":   {encrypted, "openssl cms -decrypt"},
	} {
		k, err := ParseKey(row.text)
		switch {
		case row.says == "" && (err != nil || !k.Equal(key)):
			t.Errorf("%s: %v", name, err)
		case row.says != "" && (!errors.Is(err, ErrKey) || !strings.Contains(err.Error(), row.says)):
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, der []byte) {
		if got, err := Open(der, key); err == nil {
			t.Errorf("a key that nobody sealed to opens %x: %q", der, got)
		}
	})
}

func opensslOpens(t *testing.T, der []byte, o officer) string {
	t.Helper()
	dir := t.TempDir()
	sealed := write(t, dir, "sealed.p7m", der)
	key := write(t, dir, "key.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(o.key)}))
	cert := write(t, dir, "cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: o.cert}))
	return openssl(t, "cms", "-decrypt", "-binary", "-inform", "DER", "-in", sealed, "-inkey", key, "-recip", cert)
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func openssl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("openssl", args...).Output()
	if err != nil {
		t.Fatalf("openssl %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}
