package csr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeKey claims one public key and signs with another private key, as a mixed-up token would.
type fakeKey struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (k fakeKey) Public() crypto.PublicKey { return k.pub }

// openssl runs the tool; it must be there.
func openssl(t testing.TB, stdin []byte, args ...string) string {
	t.Helper()
	cmd := exec.Command("openssl", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestBuildAndParse(t *testing.T) {
	for _, row := range []struct {
		name      string
		key       crypto.Signer
		algorithm string // as openssl names it
	}{
		{"RSA", keyRSA(), "sha256WithRSAEncryption"},
		{"P-256", keyP256(), "ecdsa-with-SHA256"},
		{"P-384", keyP384(), "ecdsa-with-SHA384"},
	} {
		t.Run(row.name, func(t *testing.T) {
			request := sampleRequest(t)
			der, err := Build(row.key, request)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := ParseRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(request, Request{parsed.Subject, parsed.Emails}); diff != "" {
				t.Error(diff)
			}
			if !samePublicKey(parsed.PublicKey, row.key.Public()) || !bytes.Equal(parsed.SPKI, must(x509.MarshalPKIXPublicKey(row.key.Public()))) {
				t.Error("another public key came back")
			}
			file := filepath.Join(t.TempDir(), "request.der")
			if err := os.WriteFile(file, der, 0o600); err != nil {
				t.Fatal(err)
			}
			out := openssl(t, nil, "req", "-inform", "DER", "-in", file, "-noout", "-verify", "-text", "-nameopt", "utf8,sep_comma_plus_space")
			for _, want := range []string{"verify OK", row.algorithm, "O=示例客车配件有限公司", "organizationIdentifier=NTRCN-91350200MA0000001W", "email:sample@example.com"} {
				if !strings.Contains(out, want) {
					t.Errorf("openssl does not show %q:\n%s", want, out)
				}
			}
		})
	}
}

// The strings of the subject have the ASN.1 types that RFC 5280 gives them.
func TestBuildSubjectEncoding(t *testing.T) {
	der, err := Build(keyP256(), Request{Subject: []Attribute{{typeC, "CN"}, {typeO, "Sample"}, {"2.5.4.5", "0001"}, {"1.2.840.113549.1.9.1", "sample@example.com"}}})
	if err != nil {
		t.Fatal(err)
	}
	var rdns []asn1.RawValue
	must(asn1.Unmarshal(must(ParseRequest(der)).RawSubject, &rdns))
	var tags []int
	for _, rdn := range rdns {
		var atv struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}
		must(asn1.Unmarshal(rdn.Bytes, &atv))
		tags = append(tags, atv.Value.Tag)
	}
	if want := []int{asn1.TagPrintableString, asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String}; !slices.Equal(tags, want) {
		t.Errorf("string types %v, want %v", tags, want)
	}
}

func TestBuildRefuses(t *testing.T) {
	failing := errors.New("the token was pulled")
	good := []Attribute{{typeCN, "示例"}}
	for _, row := range []struct {
		name    string
		key     crypto.Signer
		request Request
		want    error
	}{
		{"no subject", keyP256(), Request{}, ErrBadOrder},
		{"country in small letters", keyP256(), Request{Subject: []Attribute{{typeC, "cn"}}}, ErrBadOrder},
		{"common name too long", keyP256(), Request{Subject: []Attribute{{typeCN, strings.Repeat("示", 65)}}}, ErrBadOrder},
		{"invisible character", keyP256(), Request{Subject: []Attribute{{typeCN, "示\u200b例"}}}, ErrBadOrder},
		{"full-width blank", keyP256(), Request{Subject: []Attribute{{typeCN, "示\u3000例"}}}, ErrBadOrder},
		{"e-mail with a name", keyP256(), Request{Subject: good, Emails: []string{"x <sample@example.com>"}}, ErrBadOrder},
		{"e-mail beyond ASCII", keyP256(), Request{Subject: good, Emails: []string{"示例@example.com"}}, ErrBadOrder},
		{"short RSA key", must(rsa.GenerateKey(rand.Reader, 1024)), Request{Subject: good}, ErrUnsupportedKey},
		{"P-224", must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)), Request{Subject: good}, ErrUnsupportedKey},
		{"Ed25519", ed25519.NewKeyFromSeed(make([]byte, 32)), Request{Subject: good}, ErrUnsupportedKey},
		{"signer fails", brokenKey{keyP256(), failing}, Request{Subject: good}, failing},
	} {
		t.Run(row.name, func(t *testing.T) {
			if der, err := Build(row.key, row.request); !errors.Is(err, row.want) || der != nil {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
	t.Run("token signs with another key", func(t *testing.T) {
		if der, err := Build(fakeKey{keyOther(), keyP256().Public()}, Request{Subject: good}); err == nil || der != nil {
			t.Error("a request with a wrong signature was returned")
		}
	})
}

type brokenKey struct {
	crypto.Signer
	err error
}

func (k brokenKey) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, k.err }

func TestParseRequestRefuses(t *testing.T) {
	good := must(Build(keyP256(), sampleRequest(t)))
	made := func(key crypto.Signer, change func(*x509.CertificateRequest)) []byte {
		template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "sample"}}
		change(template)
		return must(x509.CreateCertificateRequest(rand.Reader, template, key))
	}
	for _, row := range []struct {
		name string
		der  []byte
		want error
	}{
		{"empty", nil, ErrBadRequest},
		{"garbage", []byte("not a request"), ErrBadRequest},
		{"cut short", good[:len(good)-1], ErrBadRequest},
		{"bytes after it", append(slices.Clone(good), 0), ErrBadRequest},
		{"too large", make([]byte, MaxRequest+1), ErrBadRequest},
		{"signature changed", flip(good, len(good)-3), ErrBadSignature},
		{"subject changed", bytes.Replace(good, []byte("SAMPLE"), []byte("SAMPLF"), 1), ErrBadSignature},
		{"short RSA key", made(must(rsa.GenerateKey(rand.Reader, 1024)), func(*x509.CertificateRequest) {}), ErrUnsupportedKey},
		{"P-521", made(must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), func(*x509.CertificateRequest) {}), ErrUnsupportedKey},
		{"Ed25519", made(ed25519.NewKeyFromSeed(make([]byte, 32)), func(*x509.CertificateRequest) {}), ErrUnsupportedKey},
		{"version 1", resignRequest(func(r *infoParts) { r.Version = 1 }), ErrBadRequest},
		{"compressed point", resignRequest(func(r *infoParts) { r.SPKI = compressed(keyP256()) }), ErrBadRequest},
		{"attributes out of order", resignRequest(func(r *infoParts) {
			r.Attributes.Bytes = slices.Concat([]byte{0x30, 0x06, 0x06, 0x02, 0x2a, 0x03, 0x31, 0x00},
				[]byte{0x30, 0x0c, 0x06, 0x02, 0x2a, 0x03, 0x31, 0x06, 0x02, 0x01, 0x02, 0x02, 0x01, 0x01})
			r.Attributes.FullBytes = nil
		}), ErrBadRequest},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got, err := ParseRequest(row.der); !errors.Is(err, row.want) || got != nil {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
	t.Run("as re-signed without change", func(t *testing.T) {
		if _, err := ParseRequest(resignRequest(func(*infoParts) {})); err != nil {
			t.Error(err)
		}
	})
	t.Run("SHA-1 from openssl", func(t *testing.T) {
		dir := t.TempDir()
		der := filepath.Join(dir, "r.der")
		openssl(t, nil, "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", filepath.Join(dir, "k.pem"), "-sha1", "-subj", "/CN=sample", "-outform", "DER", "-out", der)
		if _, err := ParseRequest(must(os.ReadFile(der))); !errors.Is(err, ErrBadRequest) {
			t.Errorf("got %v", err)
		}
	})
}

// infoParts is CertificationRequestInfo of RFC 2986, 4.1.
type infoParts struct {
	Version    int
	Subject    asn1.RawValue
	SPKI       asn1.RawValue
	Attributes asn1.RawValue `asn1:"tag:0"`
}

// resignRequest makes a request that is rightly signed but otherwise as change left it.
func resignRequest(change func(*infoParts)) []byte {
	good := must(x509.ParseCertificateRequest(must(Build(keyP256(), Request{Subject: []Attribute{{typeCN, "sample"}}}))))
	var info infoParts
	must(asn1.Unmarshal(good.RawTBSCertificateRequest, &info))
	change(&info)
	body := must(asn1.Marshal(info))
	digest := sha256.Sum256(body)
	signature := must(keyP256().Sign(rand.Reader, digest[:], crypto.SHA256))
	return must(asn1.Marshal(struct {
		Info      asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{
		asn1.RawValue{FullBytes: body},
		pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
		asn1.BitString{Bytes: signature, BitLength: len(signature) * 8},
	}))
}

func compressed(key crypto.Signer) asn1.RawValue {
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	must(asn1.Unmarshal(must(x509.MarshalPKIXPublicKey(key.Public())), &spki))
	point := spki.Key.Bytes
	short := append([]byte{2 + point[len(point)-1]&1}, point[1:1+(len(point)-1)/2]...)
	spki.Key = asn1.BitString{Bytes: short, BitLength: len(short) * 8}
	return asn1.RawValue{FullBytes: must(asn1.Marshal(spki))}
}

func flip(data []byte, i int) []byte {
	out := slices.Clone(data)
	out[i] ^= 1
	return out
}

func TestCheckPublicKeyExponent(t *testing.T) {
	n := keyRSA().Public().(*rsa.PublicKey).N
	for e, ok := range map[int]bool{3: false, 65535: false, 65536: false, 65537: true, 65538: false, 1<<31 - 1: true} {
		if err := checkPublicKey(&rsa.PublicKey{N: n, E: e}); (err == nil) != ok || err != nil && !errors.Is(err, ErrUnsupportedKey) {
			t.Errorf("exponent %d: %v", e, err)
		}
	}
	if err := checkPublicKey(&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 9000), E: 65537}); !errors.Is(err, ErrUnsupportedKey) {
		t.Errorf("9001 bits: %v", err)
	}
}

func FuzzParseRequest(f *testing.F) {
	for _, key := range []crypto.Signer{keyRSA(), keyP256(), keyP384()} {
		f.Add(must(Build(key, Request{Subject: []Attribute{{typeCN, "示例"}}, Emails: []string{"sample@example.com"}})))
	}
	f.Add(resignRequest(func(r *infoParts) { r.SPKI = compressed(keyP256()) }))
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseRequest(der)
		if err != nil {
			if !errors.Is(err, ErrBadRequest) && !errors.Is(err, ErrUnsupportedKey) {
				t.Errorf("not a typed error: %v", err)
			}
			return
		}
		if !bytes.Equal(r.SPKI, must(x509.MarshalPKIXPublicKey(r.PublicKey))) {
			t.Error("SPKI is not canonical")
		}
	})
}
