// Package centraltest runs a real central server in a test's own process, with an
// enrolled station, recipients of PINs and sample orders.
//
// It owns what the tests of a station need from the other side. It must not know
// the station's code.
package centraltest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

// Central is a server that runs in the test's process.
type Central struct {
	*central.Server
	Access
}

// Access is what a test has of a server, wherever that runs.
type Access struct {
	// URL is where stations find the contract's operations.
	URL   string
	Admin *adminclient.Client
	// DataDir is the server's, StationDir holds what was issued to the station.
	DataDir, StationDir string
	// Recipient may open both kinds of PIN with RecipientKey.
	Recipient    *x509.Certificate
	RecipientKey *rsa.PrivateKey
	// SecondOfficer may open SO PINs too, with a key that no test has.
	SecondOfficer *x509.Certificate
}

// New starts a server and enrols the station "sample-station"; it is closed when
// the test ends. change, if not nil, changes the configuration before.
func New(t testing.TB, change func(*central.Config)) *Central {
	t.Helper()
	dir := t.TempDir()
	c := &Central{Access: NewAccess(t, dir)}
	LayCA(t, filepath.Join(c.DataDir, "ca"))
	LayStore(t, c.DataDir)
	cfg := central.Config{
		DataDir: c.DataDir, SweepInterval: 50 * time.Millisecond,
		UserPINRecipients: []*x509.Certificate{c.Recipient}, SOPINRecipients: c.Officers(),
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if c.Server, err = central.New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Server.Close(); err != nil {
			t.Error(err)
		}
	})
	c.Start()
	c.URL = c.StationURL()
	if c.Admin, err = adminclient.New(c.AdminURL(), c.AdminToken()); err != nil {
		t.Fatal(err)
	}
	if err := c.Admin.AddStation(t.Context(), "sample-station", c.StationDir); err != nil {
		t.Fatal(err)
	}
	return c
}

// NewAccess is of a server that is about to be started with a data directory in dir.
func NewAccess(t testing.TB, dir string) Access {
	t.Helper()
	a := Access{DataDir: filepath.Join(dir, "central"), StationDir: filepath.Join(dir, "station")}
	first, second := recipientKeys(t)
	a.Recipient, a.RecipientKey, a.SecondOfficer = recipient(t, 1, first), first, recipient(t, 2, second)
	return a
}

// Officers are those who may open SO PINs.
func (a Access) Officers() []*x509.Certificate {
	return []*x509.Certificate{a.Recipient, a.SecondOfficer}
}

func recipient(t testing.TB, serial int64, key *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: fmt.Sprint("sample recipient ", serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func recipientKeys(t testing.TB) (first, second *rsa.PrivateKey) {
	t.Helper()
	first, err := firstKey()
	second, err2 := secondKey()
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return first, second
}

// The keys are made once for all tests of a binary, for that takes a while.
var (
	firstKey  = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	secondKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
)

// SampleOrder is the sample order docs/examples/orders/sample-2026-0001.json with
// n keys.
func SampleOrder(t testing.TB, n int) (id string, document []byte) {
	t.Helper()
	root := "." // tests run in the folder of their package
	for _, err := os.Stat("go.mod"); err != nil && len(root) < 20; _, err = os.Stat(filepath.Join(root, "go.mod")) {
		root = filepath.Join("..", root)
	}
	data, err := os.ReadFile(filepath.Join(root, "docs/examples/orders/sample-2026-0001.json"))
	if err != nil {
		t.Fatal(err)
	}
	var order map[string]any
	if err := json.Unmarshal(data, &order); err != nil {
		t.Fatal(err)
	}
	order["quantity"] = n
	if data, err = json.Marshal(order); err != nil {
		t.Fatal(err)
	}
	id, _ = order["orderId"].(string)
	return id, data
}

// Order submits the sample order with n keys.
func (c *Access) Order(t testing.TB, n int) {
	t.Helper()
	id, document := SampleOrder(t, n)
	if _, _, err := c.Admin.PutOrder(t.Context(), id, document); err != nil {
		t.Fatal(err)
	}
}

// Units are all units.
func (c *Access) Units(t testing.TB) []api.Unit {
	t.Helper()
	units, err := c.Admin.Units(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return units
}

// OpenPIN opens an envelope with openssl, a witness that shares no code with us.
func (c *Access) OpenPIN(t testing.TB, envelope []byte) string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.RecipientKey)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "key.der")
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "cms", "-decrypt", "-inform", "DER", "-inkey", keyFile, "-keyform", "DER")
	cmd.Stdin = bytes.NewReader(envelope)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl cms -decrypt (apt-get install openssl): %v", err)
	}
	return string(out)
}
