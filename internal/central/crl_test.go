package central_test

import (
	"bytes"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// noCRL is a CA that publishes its revocation lists elsewhere.
type noCRL struct{ ca.CA }

// The revocation lists are served as they lie in the CA's folder.
func TestCRLsAreServed(t *testing.T) {
	var development *ca.Development
	r := &rig{t: t, dir: t.TempDir(), clock: &clock{}, spec: specRouter(t)}
	development = r.developmentCA()
	r.start(func(c *central.Config) { c.CA = development })
	issued, err := development.Issue(t.Context(), ca.Request{ID: "CRL-001-g1", CSR: request(t, newKey(t)), Profile: ca.UserKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := development.Revoke(t.Context(), ca.RevocationOf(issued.Leaf, ca.KeyCompromise)); err != nil {
		t.Fatal(err)
	}
	get := func(name string) (int, string, []byte) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.srv.AdminURL()+"/crls/"+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+r.srv.AdminToken())
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("Content-Type"), body
	}
	for name, entries := range map[string]int{"ecdsa": 1, "rsa": 0} {
		status, kind, body := get(name)
		crl, err := x509.ParseRevocationList(body)
		if status != http.StatusOK || kind != "application/pkix-crl" || err != nil || len(crl.RevokedCertificateEntries) != entries {
			t.Fatalf("%s: %d %s, %v", name, status, kind, err)
		}
		if entries == 1 && crl.RevokedCertificateEntries[0].SerialNumber.Cmp(issued.Leaf.SerialNumber) != 0 {
			t.Errorf("another serial is revoked: %x", crl.RevokedCertificateEntries[0].SerialNumber)
		}
		onDisk, err := os.ReadFile(filepath.Join(r.dir, "test-ca", name+".crl"))
		if err != nil || !bytes.Equal(onDisk, body) {
			t.Errorf("%s: the file is another one: %v", name, err)
		}
	}
	if status, _, body := get("sm2"); status != http.StatusBadRequest {
		t.Errorf("a list that there is not: %d %s", status, body)
	}
	r.stop()
	r.start(func(c *central.Config) { c.CA = noCRL{development} })
	if status, _, body := get("ecdsa"); status != http.StatusNotFound || !bytes.Contains(body, []byte(api.ProblemNotFound)) {
		t.Errorf("a CA without: %d %s", status, body)
	}
}
