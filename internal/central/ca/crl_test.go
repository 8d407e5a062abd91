package ca

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
)

func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

// pki writes what a relying party has: the chain and the CRL of an issuer, in PEM.
func pki(t *testing.T, d *Development, h hierarchy) (chain, crl string) {
	t.Helper()
	dir := t.TempDir()
	chain, crl = filepath.Join(dir, "chain.pem"), filepath.Join(dir, "crl.pem")
	der, err := os.ReadFile(filepath.Join(d.dir, h.name+".crl"))
	if err != nil {
		t.Fatal(err)
	}
	err = os.WriteFile(crl, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600)
	if err == nil {
		err = os.WriteFile(chain, append(keyfile.CertificatePEM(h.root.Raw), keyfile.CertificatePEM(h.issuer.Raw)...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return chain, crl
}

// TestRevocationsInTheCRL: OpenSSL, which has nothing of ours, takes the CRL for
// good and refuses the revoked certificate alone.
func TestRevocationsInTheCRL(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "ca"))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for kind, h := range map[string]hierarchy{"ecdsa": d.ecdsa, "rsa": d.rsa} {
		t.Run(kind, func(t *testing.T) {
			leaf := make(map[string]*x509.Certificate)
			for _, name := range []string{"good", "bad", "plain"} {
				csr := request(t, rsaKey)
				if kind == "ecdsa" {
					csr = request(t, ecKey(t, elliptic.P256()))
				}
				c, err := d.Issue(t.Context(), Request{ID: kind + "-" + name, CSR: csr, Profile: UserKey(1)})
				if err != nil {
					t.Fatal(err)
				}
				leaf[name] = c.Leaf
			}
			verify := func(name string) (string, error) {
				chain, crl := pki(t, d, h)
				file := filepath.Join(t.TempDir(), "leaf.pem")
				if err := os.WriteFile(file, keyfile.CertificatePEM(leaf[name].Raw), 0o600); err != nil {
					t.Fatal(err)
				}
				return openssl(t, "verify", "-x509_strict", "-crl_check", "-CRLfile", crl, "-CAfile", chain, file)
			}
			if said, err := verify("bad"); err != nil {
				t.Fatalf("before it is revoked: %v\n%s", err, said)
			}
			for name, reason := range map[string]Reason{"bad": KeyCompromise, "plain": Unspecified} {
				if err := d.Revoke(t.Context(), RevocationOf(leaf[name], reason)); err != nil {
					t.Fatal(err)
				}
				if said, err := verify(name); err == nil || !strings.Contains(said, "certificate revoked") {
					t.Errorf("%s, after it is revoked: %v\n%s", name, err, said)
				}
			}
			if said, err := verify("good"); err != nil {
				t.Errorf("another one: %v\n%s", err, said)
			}
			chain, crl := pki(t, d, h)
			said, err := openssl(t, "crl", "-in", crl, "-noout", "-text", "-CAfile", chain)
			for _, want := range []string{"verify OK", "Version 2", "Key Compromise", "Authority Key Identifier", "Serial Number: " + strings.ToUpper(SerialText(leaf["bad"].SerialNumber))} {
				if err != nil || !strings.Contains(said, want) {
					t.Errorf("%v: no %q in\n%s", err, want, said)
				}
			}
			if n := strings.Count(said, "Serial Number: "); n != 2 || strings.Count(said, "X509v3 CRL Reason Code") != 1 {
				t.Errorf("%d entries; a reason of unspecified must be left out\n%s", n, said)
			}
		})
	}
}

// TestCRLNumbers: a new one with every revocation and after a day, else the same;
// a number never comes twice, also after a restart.
func TestCRLNumbers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	now := time.Now()
	reopen := func() *Development {
		d, err := OpenDevelopment(t.Context(), dir, DevelopmentRecord(dir), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := reopen()
	want := func(what string, number int64, entries int) {
		t.Helper()
		crl := parsed(t, d, "ecdsa")
		if crl.Number.Int64() != number || len(crl.RevokedCertificateEntries) != entries {
			t.Errorf("%s: number %d with %d entries, want %d with %d", what, crl.Number, len(crl.RevokedCertificateEntries), number, entries)
		}
		if left := crl.NextUpdate.Sub(now); left <= 6*24*time.Hour {
			t.Errorf("%s: valid for %s", what, left)
		}
	}
	want("at first", 1, 0)
	c, err := d.Issue(t.Context(), Request{ID: "U-001-g1", CSR: request(t, ecKey(t, elliptic.P256())), Profile: UserKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	want("after an issue", 1, 0)
	for range 2 {
		if err := d.Revoke(t.Context(), RevocationOf(c.Leaf, Superseded)); err != nil {
			t.Fatal(err)
		}
		want("revoked", 2, 1)
	}
	now = now.Add(25 * time.Hour)
	want("a day later", 3, 1)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ecdsa.crl")); err != nil {
		t.Fatal(err)
	}
	d = reopen()
	t.Cleanup(func() { _ = d.Close() })
	want("after a restart", 3, 1)
	if onDisk, err := os.ReadFile(filepath.Join(dir, "ecdsa.crl")); err != nil || !bytes.Equal(onDisk, parsed(t, d, "ecdsa").Raw) {
		t.Errorf("the file is another one: %v", err)
	}
	if crl := parsed(t, d, "rsa"); len(crl.RevokedCertificateEntries) != 0 {
		t.Error("the other issuer's CRL has it too")
	}
}

func parsed(t *testing.T, d *Development, name string) *x509.RevocationList {
	t.Helper()
	lists, err := d.CRLs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lists {
		if l.Name == name {
			crl, err := x509.ParseRevocationList(l.DER)
			if err != nil {
				t.Fatal(err)
			}
			return crl
		}
	}
	t.Fatalf("no CRL %s", name)
	return nil
}

// TestTwoServersRevoke: servers that share the record never sign two CRLs of one
// number, and each has, after its own revocation, all that came before.
func TestTwoServersRevoke(t *testing.T) {
	postgres, err := database.ParsePostgres(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(t.TempDir(), "ca")
	if err := makeHierarchies(first, time.Now()); err != nil {
		t.Fatal(err)
	}
	servers := make([]*Development, 2)
	for i := range servers {
		dir := filepath.Join(t.TempDir(), "ca")
		if err := os.CopyFS(dir, os.DirFS(first)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ecdsa", "rsa"} {
			if err := os.Chmod(filepath.Join(dir, name+"-issuer.key"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if servers[i], err = OpenDevelopment(t.Context(), dir, postgres.Schema("usbkey_ca"), time.Now); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = servers[i].Close() })
	}
	const each = 20
	issued := make([][]*x509.Certificate, len(servers))
	for i, d := range servers {
		for n := range each {
			c, err := d.Issue(t.Context(), Request{ID: fmt.Sprintf("U-%d%02d-g1", i, n), CSR: request(t, ecKey(t, elliptic.P256())), Profile: UserKey(1)})
			if err != nil {
				t.Fatal(err)
			}
			issued[i] = append(issued[i], c.Leaf)
		}
	}
	var work sync.WaitGroup
	for i, d := range servers {
		work.Go(func() {
			for _, leaf := range issued[i] {
				if err := d.Revoke(t.Context(), RevocationOf(leaf, Superseded)); err != nil {
					t.Error(err)
				}
				lists, err := d.CRLs(t.Context())
				if err != nil || !bytes.Contains(lists[0].DER, leaf.SerialNumber.Bytes()) {
					t.Errorf("a CRL without what was just revoked: %v", err)
				}
			}
		})
	}
	work.Wait()
	a, b := parsed(t, servers[0], "ecdsa"), parsed(t, servers[1], "ecdsa")
	if !bytes.Equal(a.Raw, b.Raw) || len(a.RevokedCertificateEntries) != len(servers)*each {
		t.Errorf("numbers %d and %d, with %d and %d entries", a.Number, b.Number, len(a.RevokedCertificateEntries), len(b.RevokedCertificateEntries))
	}
}

// TestCRLMadeBesideARevocation: a server that makes a CRL while another one revokes and
// makes its own never signs a later number with fewer revocations.
func TestCRLMadeBesideARevocation(t *testing.T) {
	postgres, err := database.ParsePostgres(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDevelopment(t.Context(), filepath.Join(t.TempDir(), "ca"), postgres.Schema("usbkey_ca"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	c, err := d.Issue(t.Context(), Request{ID: "U-001-g1", CSR: request(t, ecKey(t, elliptic.P256())), Profile: UserKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	first := parsed(t, d, "ecdsa")
	made := make(chan []byte, 1)
	// What the other server does, with the lists in hand so that this one waits for them.
	err = d.db.Transact(t.Context(), func(tx *database.Tx) error {
		if _, err := tx.ExecContext(t.Context(), `LOCK TABLE crls IN ACCESS EXCLUSIVE MODE`); err != nil {
			return err
		}
		go func() {
			l, err := d.crl(t.Context(), d.ecdsa)
			if err != nil {
				t.Error(err)
			}
			made <- l.DER
		}()
		untilOneWaits(t, d.db)
		_, err := tx.ExecContext(t.Context(), `INSERT INTO revocations (serial, reason, revoked_at) VALUES ($1, $2, $3)`,
			SerialText(c.Leaf.SerialNumber), Superseded, time.Now().UnixMilli())
		if err != nil {
			return err
		}
		_, err = d.ecdsa.presentCRL(t.Context(), tx, time.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := x509.ParseRevocationList(<-made)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.RevokedCertificateEntries) != 1 || got.Number.Int64() != first.Number.Int64()+1 {
		t.Errorf("number %d with %d revocations", got.Number, len(got.RevokedCertificateEntries))
	}
}

// untilOneWaits waits until some transaction waits for a lock.
func untilOneWaits(t *testing.T, db *database.DB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var waits bool
		err := db.Read.QueryRowContext(t.Context(),
			`SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("nobody waits for a lock: %v", err)
		}
		if waits {
			return
		}
	}
}
