package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
)

func open(t *testing.T, dir string) *Development {
	t.Helper()
	d, err := OpenDevelopment(t.Context(), dir, DevelopmentRecord(dir), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func request(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := csr.Build(key, csr.Request{Subject: []csr.Attribute{{Type: "2.5.4.10", Value: "示例客车配件有限公司"}}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// One id is one certificate: again, after a restart, and whatever is asked under it.
func TestOneCertificatePerID(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	d := open(t, dir)
	r := Request{ID: "U-001-g1", CSR: request(t, ecKey(t, elliptic.P256())), Profile: UserKey(1)}
	first, err := d.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir)
	again, err := d.Issue(t.Context(), r)
	if err != nil || !again.Leaf.Equal(first.Leaf) {
		t.Errorf("the same request again: %v", err)
	}
	found, ok, err := d.Lookup(t.Context(), r.ID)
	if err != nil || !ok || !found.Leaf.Equal(first.Leaf) || string(found.PKCS7) != string(first.PKCS7) {
		t.Errorf("lookup: %t %v", ok, err)
	}
	if _, ok, err := d.Lookup(t.Context(), "U-002-g1"); ok || err != nil {
		t.Errorf("lookup of what was never issued: %t %v", ok, err)
	}
	r.CSR = request(t, ecKey(t, elliptic.P256()))
	var refused *RefusedError
	if _, err := d.Issue(t.Context(), r); !errors.As(err, &refused) {
		t.Errorf("another request under the id: %v", err)
	}
	records, total, err := d.Issued(t.Context(), 10, 0)
	if err != nil || total != 1 || len(records) != 1 || records[0].Serial != SerialText(first.Leaf.SerialNumber) {
		t.Errorf("record: %+v %d %v", records, total, err)
	}
}

// Two servers on one record issue at the same time without standing in each other's way.
func TestManyIssueAtOnce(t *testing.T) {
	postgres, err := database.ParsePostgres(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "ca")
	const servers, each, times = 4, 40, 3
	var all sync.WaitGroup
	for i := range servers {
		d, err := OpenDevelopment(t.Context(), dir, postgres.Schema("ca"), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		for j := range each {
			der := request(t, ecKey(t, elliptic.P256()))
			all.Go(func() {
				for k := range times {
					if _, err := d.Issue(t.Context(), Request{ID: fmt.Sprintf("U-%d-%d-g%d", i, j, k), CSR: der, Profile: UserKey(1)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
}

func TestEveryKindOfKeyIsCertified(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, filepath.Join(t.TempDir(), "ca"))
	for id, key := range map[string]crypto.Signer{"rsa": rsaKey, "p256": ecKey(t, elliptic.P256()), "p384": ecKey(t, elliptic.P384())} {
		c, err := d.Issue(t.Context(), Request{ID: id, CSR: request(t, key), Profile: UserKey(3)})
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		bundle, err := csr.ParseBundle(c.PKCS7)
		if err != nil || len(bundle) != 2 {
			t.Errorf("%s: a bundle of %d: %v", id, len(bundle), err)
			continue
		}
		kind, root := x509.ECDSA, d.Roots()[0]
		if id == "rsa" {
			kind, root = x509.RSA, d.Roots()[1]
		}
		if bundle[1].PublicKeyAlgorithm != kind || bundle[1].CheckSignatureFrom(root) != nil || bundle[0].CheckSignatureFrom(bundle[1]) != nil {
			t.Errorf("%s: certified by %s, a CA of kind %s", id, bundle[1].Subject, bundle[1].PublicKeyAlgorithm)
		}
		if want := c.Leaf.NotBefore.AddDate(3, 0, 0); !c.Leaf.NotAfter.Equal(want) {
			t.Errorf("%s: valid to %s, want %s", id, c.Leaf.NotAfter, want)
		}
	}
	for name, r := range map[string]Request{
		"not a request": {ID: "x", CSR: []byte("x"), Profile: UserKey(1)},
		"no id":         {CSR: request(t, rsaKey), Profile: UserKey(1)},
		"no validity":   {ID: "x", CSR: request(t, rsaKey)},
		"too long":      {ID: "x", CSR: request(t, rsaKey), Profile: UserKey(25)},
	} {
		var refused *RefusedError
		if _, err := d.Issue(t.Context(), r); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysAreSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	open(t, dir)
	for _, f := range []string{"ecdsa-root.key", "ecdsa-issuer.key", "rsa-root.key", "rsa-issuer.key", "issued.db"} {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, info, err)
		}
	}
}

func TestSerials(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		n, err := newSerial()
		if err != nil {
			t.Fatal(err)
		}
		s := SerialText(n)
		if n.Sign() <= 0 || len(s) != 32 || seen[s] {
			t.Fatalf("serial %s", s)
		}
		seen[s] = true
	}
}

func TestNameText(t *testing.T) {
	name := pkix.Name{Names: []pkix.AttributeTypeAndValue{
		{Type: []int{2, 5, 4, 6}, Value: "CN"},
		{Type: []int{2, 5, 4, 10}, Value: ` #甲, "乙" + 丙\ `},
		{Type: []int{2, 5, 4, 3}, Value: "#丁"},
	}}
	if got, want := NameText(name), `CN=\#丁,O=\ #甲\, \"乙\" \+ 丙\\\ ,C=CN`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
