// Package stationtest sets a station up beside a central server, for tests of whole
// programs, and checks afterwards what must hold of the tokens, of the CA's record and
// of the files that were left behind; pkcs11-tool and openssl are its witnesses. It
// runs programs for tests, and must not know how usbkeyd and usbkey-central are called.
package stationtest

import (
	"crypto/sha256"
	"crypto/x509"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/canary"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// Station is a configured station beside a central server.
type Station struct {
	t       testing.TB
	Central *centraltest.Access
	// Bays are module instances with one blank token each.
	Bays []pkcs11test.Bay
	// Dir holds the configuration, the state folder and whatever a test adds.
	Dir string
	// Config is the path of the configuration.
	Config string
	// shown is what the station's processes show of themselves, when that is watched.
	shown *canary.Processes
	// secrets are looked for beside the PINs.
	secrets map[string]string
}

// LookFor has CheckNoPIN look for another secret; whose says what it is.
func (s *Station) LookFor(whose, value string) { s.secrets[whose] = value }

// Watch has scripts/canary look at processes, too, that show a mark.
func (s *Station) Watch(mark string) {
	if s.shown != nil {
		s.shown.Also(mark)
	}
}

// New configures a station of the given server in dir, with so many bays. more is
// added to the configuration as it is, such as token profiles.
func New(t testing.TB, at *centraltest.Access, dir string, bays int, algorithm, more string) *Station {
	t.Helper()
	s := &Station{t: t, Central: at, Dir: dir, secrets: map[string]string{}}
	for range bays {
		s.Bays = append(s.Bays, pkcs11test.NewBay(t))
	}
	fingerprint := func(c *x509.Certificate) string { return fmt.Sprintf("%x", sha256.Sum256(c.Raw)) }
	var b strings.Builder
	fmt.Fprintf(&b, `station: sample-station
stateDir: %s
central: {urls: [%q], trust: %s/central-root.pem, certificate: %[3]s/station.crt, key: %[3]s/station.key}
identity: {tier: file}
recipients: {userPin: [%[4]q], soPin: [%[4]q, %[5]q]}
certificateTrust: %[3]s/trust.pem
modules:
`, s.State(), s.Central.URL, s.Central.StationDir, fingerprint(at.Recipient), fingerprint(at.SecondOfficer))
	for i, bay := range s.Bays {
		fmt.Fprintf(&b, "  - {name: bay-%02d, path: %q, env: {SOFTHSM2_CONF: %q}}\n", i+1, bay.Path, bay.Env["SOFTHSM2_CONF"])
	}
	fmt.Fprintf(&b, `products:
  - code: CERT272353
    key: {algorithm: %s}
    userPin: {length: 12} # long enough to be looked for as packed digits
    certificate:
      subject:
        - {type: C, value: CN}
        - {type: O, value: "{{.Company.Name}}"}
        - {type: organizationIdentifier, value: "NTRCN-{{.Company.USCC}}"}
        - {type: CN, value: "{{.UnitID}}"}
      keyUsage: [digitalSignature, contentCommitment]
      extKeyUsage: [clientAuth, emailProtection]
`, algorithm)
	b.WriteString(more)
	s.Config = filepath.Join(s.Dir, "station.yaml")
	if err := os.WriteFile(s.Config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(tally) != "" {
		marks := []string{s.Dir, s.Central.DataDir}
		for _, b := range s.Bays {
			marks = append(marks, b.Env["SOFTHSM2_CONF"])
		}
		s.shown = canary.Watch(100*time.Millisecond, "pkcs11-tool", marks...)
		t.Cleanup(func() { // of a test that ended before it looked
			if s.shown != nil {
				s.shown.End(&canary.Search{})
			}
		})
	}
	return s
}

// State is the state folder, which the daemon makes.
func (s *Station) State() string { return filepath.Join(s.Dir, "state") }

// Journal is the path of the journal.
func (s *Station) Journal() string { return filepath.Join(s.State(), "journal.db") }

// Entries counts what the journal noted so far.
func (s *Station) Entries() int { return Count(s.Journal(), "SELECT COUNT(*) FROM entry") }

// Count asks a SQLite file, beside the program that works on it, for a number; 0 when
// there is no such file or table yet.
func Count(path, query string, args ...any) int {
	if _, err := os.Stat(path); err != nil {
		return 0
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(1000)")
	if err != nil {
		return 0
	}
	defer func() { _ = db.Close() }()
	var n int
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		return 0
	}
	return n
}

// Eventually waits, bounded, until something holds that happens elsewhere.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !Look(3*time.Millisecond, holds); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// Look tells whether something holds and, where it does not yet, lets the time go by until it is
// worth another look: no less than pause, and no less than four times what this look took, for
// what is waited for needs the processor too.
func Look(pause time.Duration, holds func() bool) bool {
	begun := time.Now()
	if holds() {
		return true
	}
	time.Sleep(max(pause, 4*time.Since(begun)))
	return false
}
