package envelope

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mozilla.org/pkcs7"
)

func TestMain(m *testing.M) {
	ChooseAES256()
	os.Exit(m.Run())
}

var (
	firstKey  = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	secondKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func now() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }

// certificate is self-signed for key, good for a recipient until change is done with it.
func certificate(key crypto.Signer, serial int64, change func(*x509.Certificate)) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "示例收件人"},
		NotBefore: now().AddDate(0, -1, 0), NotAfter: now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	if change != nil {
		change(template)
	}
	return must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
}

func recipient(key crypto.Signer, serial int64) Recipient {
	return must(ParseRecipient(certificate(key, serial, nil), now()))
}

func TestParseRecipient(t *testing.T) {
	good := certificate(firstKey(), 1, nil)
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good})
	ec := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for _, row := range []struct {
		name string
		data []byte
		want error
	}{
		{"DER", good, nil},
		{"PEM", asPEM, nil},
		{"PEM with blank lines", slices.Concat([]byte("\n"), asPEM, []byte("\n\n")), nil},
		{"no key usage given", certificate(firstKey(), 1, func(c *x509.Certificate) { c.KeyUsage = 0 }), nil},
		{"empty", nil, ErrBadRecipient},
		{"garbage", []byte("garbage"), ErrBadRecipient},
		{"bytes after it", append(slices.Clone(good), 0), ErrBadRecipient},
		{"two PEM blocks", slices.Concat(asPEM, asPEM), ErrBadRecipient},
		{"PEM of a key", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: good}), ErrBadRecipient},
		{"PEM cut short", asPEM[:len(asPEM)-10], ErrBadRecipient},
		{"too large", make([]byte, maxCertificate+1), ErrBadRecipient},
		{"elliptic curve key", certificate(ec, 1, nil), ErrRecipientKey},
		{"Ed25519 key", certificate(ed25519.NewKeyFromSeed(make([]byte, 32)), 1, nil), ErrRecipientKey},
		{"RSA of 1024 bits", certificate(must(rsa.GenerateKey(rand.Reader, 1024)), 1, nil), ErrRecipientKey},
		{"RSA exponent 3", exponent(good, 3), ErrRecipientKey},
		{"RSA exponent 65535", exponent(good, 65535), ErrRecipientKey},
		{"signatures only", certificate(firstKey(), 1, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), ErrRecipientUsage},
		{"not valid yet", certificate(firstKey(), 1, func(c *x509.Certificate) { c.NotBefore = now().Add(time.Second) }), ErrRecipientDates},
		{"expired", certificate(firstKey(), 1, func(c *x509.Certificate) { c.NotAfter = now().Add(-time.Second) }), ErrRecipientDates},
	} {
		t.Run(row.name, func(t *testing.T) {
			r, err := ParseRecipient(row.data, now())
			if !errors.Is(err, row.want) || row.want == nil != (r.SHA256() != "") {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
	if _, err := ParseRecipient(certificate(ec, 1, nil), now()); !strings.Contains(err.Error(), "RSA certificate") {
		t.Errorf("does not tell what to do: %v", err)
	}
}

// exponent puts another public exponent into a certificate; recipients' signatures are not looked at.
func exponent(der []byte, e int64) []byte {
	var cert struct{ TBS, Algorithm, Signature asn1.RawValue }
	must(asn1.Unmarshal(der, &cert))
	key := must(x509.ParseCertificate(der)).PublicKey.(*rsa.PublicKey)
	old := must(x509.MarshalPKIXPublicKey(key))
	changed := must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: key.N, E: int(e)}))
	body := bytes.Replace(cert.TBS.Bytes, old, changed, 1)
	cert.TBS = asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: body}
	return must(asn1.Marshal(cert))
}

func TestRecipientFingerprint(t *testing.T) {
	der := certificate(firstKey(), 1, nil)
	r := must(ParseRecipient(der, now()))
	cmd := exec.Command("openssl", "x509", "-inform", "DER", "-noout", "-fingerprint", "-sha256")
	cmd.Stdin = bytes.NewReader(der)
	out := string(must(cmd.Output()))
	_, print, _ := strings.Cut(strings.TrimSpace(out), "=")
	if want := strings.ToLower(strings.ReplaceAll(print, ":", "")); r.SHA256() != want {
		t.Errorf("SHA256 is %s, openssl says %s", r.SHA256(), want)
	}
	if !bytes.Equal(r.DER(), der) || !r.NotAfter().Equal(now().AddDate(1, 0, 0)) {
		t.Error("another certificate came back")
	}
	var none Recipient
	if none.SHA256() != "" || none.DER() != nil || !errors.Is(none.UsableAt(now()), ErrBadRecipient) {
		t.Error("the zero Recipient passes for one")
	}
	if err := r.UsableAt(now().AddDate(2, 0, 0)); !errors.Is(err, ErrRecipientDates) {
		t.Errorf("two years later: %v", err)
	}
}

func TestDistinct(t *testing.T) {
	a, b := recipient(firstKey(), 1), recipient(secondKey(), 2)
	for _, row := range []struct {
		name    string
		list    []Recipient
		atLeast int
		want    error
	}{
		{"one", []Recipient{a}, 1, nil},
		{"two", []Recipient{a, b}, 2, nil},
		{"none", nil, 0, ErrRecipients},
		{"too few", []Recipient{a}, 2, ErrRecipients},
		{"the same twice", []Recipient{a, a}, 2, ErrRecipients},
		{"one key in two certificates", []Recipient{a, recipient(firstKey(), 3)}, 2, ErrRecipients},
		{"one issuer and serial number for two keys", []Recipient{a, recipient(secondKey(), 1)}, 2, ErrRecipients},
		{"empty one", []Recipient{a, {}}, 1, ErrRecipients},
		{"too many", slices.Repeat([]Recipient{a}, MaxRecipients+1), 1, ErrRecipients},
	} {
		if err := Distinct(row.list, row.atLeast); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
}

// openssl opens every envelope for every recipient, and says how it is encrypted.
func TestSealOpensWithOpenSSL(t *testing.T) {
	keys := map[int64]*rsa.PrivateKey{1: firstKey(), 2: secondKey()}
	for _, serials := range [][]int64{{1}, {1, 2}} {
		for _, length := range []int{1, 8, 15, 16, 17, 64, MaxPlaintext} {
			t.Run(fmt.Sprintf("%d recipients, %d bytes", len(serials), length), func(t *testing.T) {
				dir := t.TempDir()
				plaintext := bytes.Repeat([]byte("7"), length)
				var recipients []Recipient
				for _, s := range serials {
					recipients = append(recipients, recipient(keys[s], s))
				}
				der, err := Seal(recipients, plaintext)
				if err != nil {
					t.Fatal(err)
				}
				sealed := write(t, dir, "sealed.der", der)
				for _, r := range recipients {
					serial := r.cert.SerialNumber.Int64()
					cert := write(t, dir, "r.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.DER()}))
					key := write(t, dir, "k.pem", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(keys[serial])}))
					for _, extra := range [][]string{{"-recip", cert}, nil} {
						got := openssl(t, append([]string{"cms", "-decrypt", "-binary", "-inform", "DER", "-in", sealed, "-inkey", key}, extra...)...)
						if got != string(plaintext) {
							t.Errorf("recipient %d reads %q", serial, got)
						}
					}
				}
				shown := openssl(t, "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", sealed)
				if !strings.Contains(shown, "aes-256-cbc") || strings.Count(shown, "d.ktri") != len(serials) || strings.Contains(shown, "des-") {
					t.Errorf("openssl shows:\n%s", shown)
				}
				if tree := openssl(t, "asn1parse", "-inform", "DER", "-in", sealed); strings.Contains(tree, "indefinite") || strings.Count(tree, "rsaEncryption") != len(serials) {
					t.Errorf("openssl shows:\n%s", tree)
				}
			})
		}
	}
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
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return string(out)
}

// What leaves is DER that encoding/asn1, which knows nothing else, reads whole,
// and the library underneath still opens it.
func TestSealIsDER(t *testing.T) {
	r := recipient(firstKey(), 1)
	der := must(Seal([]Recipient{r}, []byte("12345678")))
	var outer contentInfo
	if err := unmarshalAll(der, &outer); err != nil {
		t.Fatal(err)
	}
	var data envelopedData
	if err := unmarshalAll(outer.Content.Bytes, &data); err != nil {
		t.Fatal(err)
	}
	if content := data.EncryptedContentInfo.EncryptedContent; content.IsCompound || content.Class != asn1.ClassContextSpecific || content.Tag != 0 {
		t.Errorf("encryptedContent is %+v", content)
	}
	if p := data.RecipientInfos[0].KeyEncryptionAlgorithm.Parameters; !bytes.Equal(p.FullBytes, asn1.NullBytes) {
		t.Errorf("parameters are %x, want NULL", p.FullBytes)
	}
	again := must(Seal([]Recipient{r}, []byte("12345678")))
	if bytes.Equal(der, again) {
		t.Error("two envelopes are the same")
	}
	if bytes.Contains(der, []byte("12345678")) {
		t.Error("the content is there in clear")
	}
}

func TestSealLeavesPlaintextAlone(t *testing.T) {
	buffer := []byte("12345678--------------------")
	if _, err := Seal([]Recipient{recipient(firstKey(), 1)}, buffer[:8]); err != nil {
		t.Fatal(err)
	}
	if string(buffer) != "12345678--------------------" {
		t.Errorf("the caller's buffer is now %q", buffer)
	}
}

func TestSealFailsClosed(t *testing.T) {
	r := []Recipient{recipient(firstKey(), 1)}
	for name, row := range map[string]struct {
		recipients []Recipient
		plaintext  []byte
		want       error
	}{
		"nobody":           {nil, []byte("x"), ErrRecipients},
		"zero recipient":   {[]Recipient{{}}, []byte("x"), ErrRecipients},
		"the same twice":   {append(r, r...), []byte("x"), ErrRecipients},
		"nothing":          {r, nil, ErrNotSealed},
		"too much content": {r, make([]byte, MaxPlaintext+1), ErrNotSealed},
	} {
		if der, err := Seal(row.recipients, row.plaintext); !errors.Is(err, row.want) || der != nil {
			t.Errorf("%s: got %v, want %v", name, err, row.want)
		}
	}
	defer ChooseAES256()
	for _, algorithm := range []int{pkcs7.EncryptionAlgorithmDESCBC, pkcs7.EncryptionAlgorithmAES128CBC, pkcs7.EncryptionAlgorithmAES256GCM} {
		pkcs7.ContentEncryptionAlgorithm = algorithm
		if der, err := Seal(r, []byte("x")); !errors.Is(err, ErrNotSealed) || der != nil {
			t.Errorf("with algorithm %d: %v", algorithm, err)
		}
	}
}

// The outcome is looked at, whatever the variable said before.
func TestNormalizeRefusesOtherAlgorithms(t *testing.T) {
	certs := []*x509.Certificate{recipient(firstKey(), 1).cert}
	others := []*x509.Certificate{recipient(secondKey(), 2).cert}
	defer ChooseAES256()
	for _, algorithm := range []int{pkcs7.EncryptionAlgorithmDESCBC, pkcs7.EncryptionAlgorithmAES128CBC, pkcs7.EncryptionAlgorithmAES256GCM} {
		pkcs7.ContentEncryptionAlgorithm = algorithm
		if _, err := normalize(must(pkcs7.Encrypt([]byte("x"), certs)), certs, 1); err == nil {
			t.Errorf("algorithm %d passed", algorithm)
		}
	}
	ChooseAES256()
	sealed := must(pkcs7.Encrypt([]byte("x"), certs))
	if _, err := normalize(sealed, certs, 1); err != nil {
		t.Error(err)
	}
	for name, check := range map[string]func() error{
		"other recipient":   func() error { _, err := normalize(sealed, others, 1); return err },
		"recipient missing": func() error { _, err := normalize(sealed, append(others, certs...), 1); return err },
		"other length":      func() error { _, err := normalize(sealed, certs, 16); return err },
		"bytes after it":    func() error { _, err := normalize(append(slices.Clone(sealed), 0), certs, 1); return err },
		"cut short":         func() error { _, err := normalize(sealed[:40], certs, 1); return err },
	} {
		if check() == nil {
			t.Errorf("%s passed", name)
		}
	}
}

func FuzzParseRecipient(f *testing.F) {
	der := certificate(firstKey(), 1, nil)
	f.Add(der)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRecipient(data, now())
		if err != nil {
			return
		}
		if _, err := Seal([]Recipient{r}, []byte("12345678")); err != nil {
			t.Errorf("accepted, but cannot be sealed to: %v", err)
		}
	})
}
