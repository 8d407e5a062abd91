package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// runMain makes the test binary be usbkeyd itself, for tests that need a process.
const runMain = "USBKEYD_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" || len(os.Args) > 0 && !strings.HasSuffix(filepath.Base(os.Args[0]), ".test") {
		main() // enters a module's process, too
		return
	}
	worker.ServeIfChild(cryptoki.Open)
	envelope.ChooseAES256()
	os.Exit(m.Run())
}

// station is a configured station beside a real central server.
type station struct {
	t       testing.TB
	central *centraltest.Central
	bays    []pkcs11test.Bay
	dir     string
	config  string
}

func newStation(t testing.TB, bays int, algorithm string) *station {
	t.Helper()
	return newStationAt(t, centraltest.New(t, nil), bays, algorithm)
}

// newStationAt is a station of the given central server.
func newStationAt(t testing.TB, at *centraltest.Central, bays int, algorithm string) *station {
	t.Helper()
	s := &station{t: t, central: at, dir: t.TempDir()}
	for range bays {
		s.bays = append(s.bays, pkcs11test.NewBay(t))
	}
	fingerprint := fmt.Sprintf("%x", sha256.Sum256(s.central.Recipient.Raw))
	var b strings.Builder
	fmt.Fprintf(&b, `station: sample-station
stateDir: %s
central: {urls: [%q], trust: %s/central-root.pem, certificate: %[3]s/station.crt, key: %[3]s/station.key}
recipients: {userPin: [%[4]q], soPin: [%[4]q]}
certificateTrust: %[3]s/trust.pem
modules:
`, filepath.Join(s.dir, "state"), s.central.StationURL(), s.central.StationDir, fingerprint)
	for i, bay := range s.bays {
		fmt.Fprintf(&b, "  - {name: bay-%02d, path: %q, env: {SOFTHSM2_CONF: %q}}\n", i+1, bay.Path, bay.Env["SOFTHSM2_CONF"])
	}
	fmt.Fprintf(&b, `products:
  - code: CERT272353
    key: {algorithm: %s}
    certificate:
      subject:
        - {type: C, value: CN}
        - {type: O, value: "{{.Company.Name}}"}
        - {type: organizationIdentifier, value: "NTRCN-{{.Company.USCC}}"}
        - {type: CN, value: "{{.UnitID}}"}
      keyUsage: [digitalSignature, contentCommitment]
      extKeyUsage: [clientAuth, emailProtection]
`, algorithm)
	s.config = filepath.Join(s.dir, "station.yaml")
	if err := os.WriteFile(s.config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// notShutIn is for commands that run in the tests' own process.
func notShutIn() error { return nil }

// command runs usbkeyd in this process and returns its exit code and output.
func (s *station) command(args ...string) (code int, out, errOut string) {
	s.t.Helper()
	var o, e bytes.Buffer
	code = execute(append([]string{"--config", s.config}, args...), strings.NewReader(""), &o, &e, notShutIn)
	return code, o.String(), e.String()
}

// start runs usbkeyd in a process of its own.
func (s *station) start(ctx context.Context, log string, args ...string) *exec.Cmd {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	return s.startProgram(ctx, self, log, args...)
}

func (s *station) startProgram(ctx context.Context, program, log string, args ...string) *exec.Cmd {
	s.t.Helper()
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	cmd := exec.CommandContext(ctx, program, append([]string{"--config", s.config}, args...)...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd
}

// eventually waits, bounded, until something holds that happens elsewhere.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(3 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
