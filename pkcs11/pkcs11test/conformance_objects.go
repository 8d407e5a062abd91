package pkcs11test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Certificate makes a self-signed certificate, in DER, with a subject's common name.
func Certificate(t testing.TB, commonName string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(0xC3), 120), // its first octet needs a zero before it
		Subject:      pkix.Name{CommonName: commonName, Country: []string{"CN"}},
		NotBefore:    now, NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (s suite) certificates(t *testing.T) {
	m, b := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	der := Certificate(t, "王小明")
	id := pkcs11.KeyID{0xAB, 0x00}
	check(t, token.WriteCertificate(ctx, pkcs11.CertificateObject{ID: id, Label: "leaf 証", DER: der}))

	got := objects(t, token, pkcs11.Query{Class: of(pkcs11.ClassCertificate)})
	if len(got) != 1 || !bytes.Equal(got[0].Certificate, der) || !got[0].ID.Equal(id) || got[0].Label != "leaf 証" {
		t.Errorf("read back %+v", got)
	}
	// A second opinion on what was stored.
	if b.Path == "" {
		t.Log("no other tool can look into this process")
	} else if out := s.readCertificate(t, b, id); !bytes.Contains([]byte(out), der) {
		t.Error("another tool reads another certificate")
	}

	for name, bad := range map[string][]byte{
		"nothing":        nil,
		"text":           []byte("-----BEGIN CERTIFICATE-----"),
		"cut short":      der[:len(der)-1],
		"trailing bytes": append(bytes.Clone(der), 0),
		"not one":        {0x30, 0x03, 0x02, 0x01, 0x01},
	} {
		err := token.WriteCertificate(ctx, pkcs11.CertificateObject{ID: id, DER: bad})
		if err == nil {
			t.Errorf("%s is stored as a certificate", name)
			continue
		}
		wants(t, err, pkcs11.ErrTemplateRefused)
	}
	check(t, token.Logout(ctx))
	if objects := objects(t, token, pkcs11.Query{}); len(objects) != 1 {
		t.Errorf("%d objects in sight without login, want the certificate", len(objects))
	}
}

// readCertificate has a tool write out the certificate of an id: OpenSC's, and NSS's
// own where the module wants what pkcs11-tool cannot give it, pReserved.
func (s suite) readCertificate(t *testing.T, b Bay, id pkcs11.KeyID) string {
	t.Helper()
	if b.Reserved != "" {
		return b.Tool(t, "certutil", "-L", "-d", "sql:"+b.Dir, "-n", "leaf 証", "-r")
	}
	return b.Tool(t, "pkcs11-tool", "--module", b.Path, "--token-label", "label", "--read-object", "--type", "cert", "--id", id.String())
}

func (s suite) foreignCertificate(t *testing.T) {
	b := NewBay(t)
	b.InitToken(t, "foreign", soPIN, userPIN)
	der := Certificate(t, "someone else")
	b.PutCertificate(t, "foreign", userPIN, "0102", "theirs", der)

	m := s.open(t, b)
	var id pkcs11.Identity
	for _, slot := range slots(t, m) {
		if slot.Token != nil && slot.Token.Label == "foreign" {
			id = slot.Identity()
		}
	}
	token := openID(t, m, id)
	got := objects(t, token, pkcs11.Query{})
	if len(got) != 1 || got[0].Class != pkcs11.ClassCertificate || !bytes.Equal(got[0].Certificate, der) || got[0].Label != "theirs" {
		t.Errorf("objects are %+v", got)
	}
}

func (s suite) objects(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	s.generate(t, token, pkcs11.KeyID{1}, "first")
	s.generate(t, token, pkcs11.KeyID{2}, "second")
	check(t, token.WriteCertificate(t.Context(), pkcs11.CertificateObject{ID: pkcs11.KeyID{1}, DER: Certificate(t, "leaf")}))
	check(t, token.WriteCertificate(t.Context(), pkcs11.CertificateObject{Label: "no id", DER: Certificate(t, "root")}))

	for _, c := range []struct {
		name string
		q    pkcs11.Query
		want int
	}{
		{"all", pkcs11.Query{}, 6},
		{"public", pkcs11.Query{Class: of(pkcs11.ClassPublicKey)}, 2},
		{"private", pkcs11.Query{Class: of(pkcs11.ClassPrivateKey)}, 2},
		{"certificates", pkcs11.Query{Class: of(pkcs11.ClassCertificate)}, 2},
		{"data", pkcs11.Query{Class: of(pkcs11.ClassData)}, 0},
		{"by id", pkcs11.Query{ID: pkcs11.KeyID{1}}, 3},
		{"by id and class", pkcs11.Query{ID: pkcs11.KeyID{2}, Class: of(pkcs11.ClassPrivateKey)}, 1},
		{"unknown id", pkcs11.Query{ID: pkcs11.KeyID{9}}, 0},
	} {
		if got := objects(t, token, c.q); len(got) != c.want {
			t.Errorf("%s: %d objects, want %d", c.name, len(got), c.want)
		}
	}
	check(t, token.Logout(t.Context()))
	for _, o := range objects(t, token, pkcs11.Query{}) {
		if o.Class == pkcs11.ClassPrivateKey {
			t.Errorf("a private key is in sight without login: %+v", o)
		}
	}
}

func (s suite) destroy(t *testing.T) {
	m, _ := s.fresh(t)
	token := s.loggedIn(t, m, "label")
	ctx := t.Context()
	s.generate(t, token, pkcs11.KeyID{1}, "first")
	s.generate(t, token, pkcs11.KeyID{2}, "second")

	if n, err := token.Destroy(ctx, pkcs11.Query{}); err == nil || n != 0 {
		t.Errorf("the empty query destroyed %d objects", n)
	}
	for _, c := range []struct {
		name string
		q    pkcs11.Query
		want int
	}{
		{"unknown id", pkcs11.Query{ID: pkcs11.KeyID{9}}, 0},
		{"none that is not kept", pkcs11.Query{Class: of(pkcs11.ClassPrivateKey), Passing: true}, 0},
		{"id", pkcs11.Query{ID: pkcs11.KeyID{1}}, 2},
		{"class", pkcs11.Query{Class: of(pkcs11.ClassPublicKey)}, 1},
		{"class again", pkcs11.Query{Class: of(pkcs11.ClassPublicKey)}, 0},
	} {
		n, err := token.Destroy(ctx, c.q)
		check(t, err)
		if n != c.want {
			t.Errorf("%s: %d destroyed, want %d", c.name, n, c.want)
		}
	}
	left := objects(t, token, pkcs11.Query{})
	if len(left) != 1 || left[0].Class != pkcs11.ClassPrivateKey || left[0].Label != "second" {
		t.Errorf("left are %+v", left)
	}
}
