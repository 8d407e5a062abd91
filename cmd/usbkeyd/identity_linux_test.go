package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/identity/tpmtest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// skew is by how much a server's clock is wrong.
type skew struct{ atomic.Int64 }

func (s *skew) now() time.Time             { return time.Now().Add(time.Duration(s.Load())) }
func (s *skew) days(n int)                 { s.Store(int64(time.Duration(n) * 24 * time.Hour)) }
func (s *skew) of(c *central.Config)       { c.Clock = s.now }
func (s *tpmStation) file(n string) string { return filepath.Join(s.Dir, n) }

// tpmStation is a station whose key is to be in its TPM.
type tpmStation struct {
	*station
	soft *tpmtest.TPM
}

// newTPMStation configures one beside a central server; more is more of identity.
func newTPMStation(t *testing.T, at *centraltest.Central, soft *tpmtest.TPM, more string) *tpmStation {
	t.Helper()
	s := &tpmStation{newStationAt(t, at, 1, "ec-p256"), soft}
	s.rewrite(func(text string) string {
		text = strings.Replace(text, "station: sample-station", "station: tpm-station", 1)
		text = strings.Replace(text, at.StationDir+"/station.crt, key: "+at.StationDir+"/station.key", s.file("station.crt"), 1)
		return strings.Replace(text, "{tier: file}", fmt.Sprintf("{device: %q%s}", soft.Device, more), 1)
	})
	return s
}

func (s *tpmStation) rewrite(change func(string) string) {
	s.t.Helper()
	text, err := os.ReadFile(s.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.Config, []byte(change(string(text))), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// ok runs a command that must go well.
func (s *tpmStation) ok(args ...string) string {
	s.t.Helper()
	code, out, errOut := s.command(args...)
	if code != exitOK {
		s.t.Fatalf("%v: exit code %d\n%s%s", args, code, out, errOut)
	}
	return out
}

// fails runs a command that must end so, and say so.
func (s *tpmStation) fails(code int, say string, args ...string) {
	s.t.Helper()
	got, out, errOut := s.command(args...)
	if got != code || !strings.Contains(errOut, say) {
		s.t.Errorf("%v: exit code %d, want %d and %q\n%s%s", args, got, code, say, out, errOut)
	}
}

func (s *tpmStation) invite(i adminclient.Invitation) (token string) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), "carry")
	i.Valid = time.Hour
	if _, err := s.Central.Admin.InviteStation(s.t.Context(), "tpm-station", dir, i); err != nil {
		s.t.Fatal(err)
	}
	return filepath.Join(dir, adminclient.JoinToken)
}

// endorsementKey is what identity show says before there is a certificate.
func (s *tpmStation) endorsementKey() string {
	s.t.Helper()
	_, out, errOut := s.command("identity", "show", "-o", "json")
	var shown shownIdentity
	if err := json.Unmarshal([]byte(out), &shown); err != nil || len(shown.EKSHA256) != 64 {
		s.t.Fatalf("%v: %s%s", err, out, errOut)
	}
	return shown.EKSHA256
}

func (s *tpmStation) certificate() *x509.Certificate {
	s.t.Helper()
	certs, err := readCertificates("test", s.file("station.crt"))
	if err != nil {
		s.t.Fatal(err)
	}
	renewed, err := readCertificates("test", filepath.Join(s.State(), "station.crt"))
	if err == nil && renewed[0].NotAfter.After(certs[0].NotAfter) {
		return renewed[0]
	}
	return certs[0]
}

// makesOne submits an order of one key and makes it.
func (s *tpmStation) makesOne() {
	s.t.Helper()
	s.Central.Order(s.t, 1)
	s.ok("run", "--drain", "--log", s.file("log"))
	if u := s.Central.Units(s.t); len(u) != 1 || u[0].State != api.INSTALLED {
		s.t.Errorf("%+v", u)
	}
}

func certified(soft *tpmtest.TPM) func(*central.Config) {
	return func(c *central.Config) { c.TPMMakers = soft.Makers }
}

// TestTPMStation enrols a station by its TPM, makes a key, copies the whole disk to
// another machine, where it is worth nothing, and has all kinds of trouble with the TPM.
func TestTPMStation(t *testing.T) {
	soft, other := tpmtest.NewCertified(t), tpmtest.New(t)
	at := centraltest.New(t, certified(soft))
	s := newTPMStation(t, at, soft, "")
	s.fails(exitConfig, "central.certificate", "identity", "show")
	token := s.invite(adminclient.Invitation{})
	if out := s.ok("enroll", "--join-token-file", token); !strings.Contains(out, "endorsement key (SHA-256)") || !strings.Contains(out, "tpm-station is enrolled until") {
		t.Error(out)
	}
	s.fails(exitFailure, "has a certificate already", "enroll", "--join-token-file", token)
	s.makesOne()
	statement := s.file("key.p7s")
	s.ok("evidence", "export", s.Central.Units(t)[0].UnitId, "--out", statement)
	if out := s.ok("evidence", "verify", statement, "--trust", filepath.Join(at.StationDir, adminclient.CentralRoot)); !strings.Contains(out, "The statement holds.") {
		t.Error(out)
	}
	if out := s.ok("identity", "show"); !strings.Contains(out, "in the TPM") || !strings.Contains(out, "certificate until") {
		t.Error(out)
	}
	if out := s.ok("audit", "verify"); strings.Contains(out, "before") {
		t.Error(out)
	}
	stations, err := at.Admin.Stations(t.Context())
	if err != nil || len(stations) != 2 || stations[1].Identity != api.Tpm || stations[0].Identity != api.File {
		t.Errorf("%+v, %v", stations, err)
	}
	for _, name := range []string{"journal.key", "station.key"} {
		if _, err := os.Stat(filepath.Join(s.State(), name)); err == nil {
			t.Errorf("%s is on the disk", name)
		}
	}

	// The disk of another machine with a TPM of its own.
	stolen := &tpmStation{&station{&stationtest.Station{}, t}, other}
	*stolen.Station = *s.Station
	stolen.Dir = t.TempDir()
	copyDir(t, s.Dir, stolen.Dir)
	stolen.Config = filepath.Join(stolen.Dir, "station.yaml")
	stolen.rewrite(func(text string) string {
		return strings.ReplaceAll(strings.ReplaceAll(text, s.Dir, stolen.Dir), soft.Device, other.Device)
	})
	stolen.fails(exitFailure, "this TPM did not make the key", "run", "--drain", "--log", "-")
	stolen.fails(exitFailure, "this TPM did not make the key", "identity", "show")
	stolen.fails(exitFailure, "this TPM did not make the key", "jobs", "abandon", "x")
	// And without a TPM, with a key and a certificate in files.
	for _, name := range []string{adminclient.StationKey, adminclient.StationCertificate} {
		data, err := os.ReadFile(filepath.Join(at.StationDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(stolen.file(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stolen.rewrite(func(text string) string {
		return strings.Replace(text, fmt.Sprintf("{device: %q}", other.Device), "{tier: file}", 1)
	})
	stolen.fails(exitFailure, "sealed to the TPM", "jobs", "abandon", "x")

	// A certificate of another station in this one's place.
	own, err := os.ReadFile(s.file("station.crt"))
	if err != nil {
		t.Fatal(err)
	}
	swapped, err := os.ReadFile(filepath.Join(at.StationDir, adminclient.StationCertificate))
	if err != nil {
		t.Fatal(err)
	}
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(s.file("station.crt"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(swapped)
	s.fails(exitConfig, "it is over another key than the one in this station's TPM", "run", "--drain", "--log", "-")
	write(own)

	// The TPM is gone, and comes back.
	soft.Kill(t)
	s.fails(exitFailure, "there is no TPM that can be opened", "run", "--drain", "--log", "-")
	soft.Start(t)
	s.ok("run", "--drain", "--log", s.file("log"))

	// It was cleared: the station is enrolled again, by an invitation that says so.
	soft.Clear(t)
	s.fails(exitFailure, "or it was cleared since", "run", "--drain", "--log", "-")
	s.fails(exitFailure, "--new-key", "enroll", "--join-token-file", token)
	s.fails(exitCentral, "The join token was used", "enroll", "--new-key", "--join-token-file", token)
	s.ok("enroll", "--new-key", "--join-token-file", s.invite(adminclient.Invitation{Replace: true}))
	s.ok("identity", "show")
	if out := s.ok("audit", "verify"); !strings.Contains(out, "with a key that it had before") {
		t.Error(out)
	}

	// Revoked, it is told so.
	if _, err := at.Admin.RevokeStation(t.Context(), "tpm-station"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.State() + "/journal.sealed"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.Journal()); err != nil {
		t.Fatal(err)
	}
	s.fails(exitCentral, "revoked", "run", "--drain", "--log", "-")
}

func copyDir(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEnrolByAPerson: enroll waits until somebody approves, and goes on where it was
// when it was interrupted.
func TestEnrolByAPerson(t *testing.T) {
	soft := tpmtest.New(t)
	at := centraltest.New(t, nil)
	s := newTPMStation(t, at, soft, "")
	token := s.invite(adminclient.Invitation{})
	waits := func(times int) string {
		t.Helper()
		var ek string
		stationtest.Eventually(t, "the station to wait for approval", func() bool {
			pending, err := at.Admin.Enrollments(t.Context())
			if err != nil || len(pending) != 1 || pending[0].State != api.Proved {
				return false
			}
			ek = *pending[0].EndorsementKeySha256
			log, err := os.ReadFile(s.file("log"))
			return err == nil && strings.Count(string(log), ek) == times // its own word, and the server's
		})
		return ek
	}
	first := s.start(t.Context(), s.file("log"), "enroll", "--join-token-file", token)
	waits(2)
	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed
	second := s.start(t.Context(), s.file("log"), "enroll", "--join-token-file", token)
	ek := waits(4)
	if _, err := at.Admin.ApproveStation(t.Context(), "tpm-station", ek, "p1"); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		log, _ := os.ReadFile(s.file("log"))
		t.Fatalf("%v\n%s", err, log)
	}
	s.makesOne()
}

// TestOtherFirmware: the journal is bound to the measured start, and a recovery officer
// opens it again after that has changed.
func TestOtherFirmware(t *testing.T) {
	soft := tpmtest.NewCertified(t)
	at := centraltest.New(t, certified(soft))
	s := newTPMStation(t, at, soft, `, pcrs: [16], recovery: [officer.pem]`)
	officer := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: at.Recipient.Raw})
	if err := os.WriteFile(s.file("officer.pem"), officer, 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("enroll", "--join-token-file", s.invite(adminclient.Invitation{}))
	s.makesOne()
	soft.Measure(t, 16)
	s.fails(exitFailure, "usbkeyd state reseal", "run", "--drain", "--log", "-")

	envelope, err := os.ReadFile(filepath.Join(s.State(), "journal.recovery.p7m"))
	if err != nil {
		t.Fatal(err)
	}
	recovered := s.file("recovered")
	for content, want := range map[string]string{"": "32 bytes are wanted", strings.Repeat("x", 32): "not the journal's key", strings.Repeat("x", 33): "32 bytes are wanted"} {
		if err := os.WriteFile(recovered, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s.fails(exitFailure, want, "state", "reseal", "--recovery-key", recovered)
	}
	s.fails(exitUsage, "--recovery-key", "state", "reseal")
	if err := os.WriteFile(recovered, []byte(at.OpenPIN(t, envelope)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("state", "reseal", "--recovery-key", recovered)
	s.ok("run", "--drain", "--log", s.file("log"))
	if jobs := s.ok("jobs", "list"); !strings.Contains(jobs, "finished") {
		t.Errorf("the journal is another one:\n%s", jobs)
	}
	// Without registers it is sealed anew, and opens after any start.
	s.rewrite(func(text string) string { return strings.Replace(text, "pcrs: [16], ", "", 1) })
	s.ok("run", "--drain", "--log", s.file("log"))
	soft.Measure(t, 16)
	s.ok("run", "--drain", "--log", s.file("log"))
}

// TestRenewal: a certificate past half its life, and one that expired while the station
// was off, are renewed by themselves.
func TestRenewal(t *testing.T) {
	soft := tpmtest.New(t)
	var clock skew
	clock.days(-60) // the server's own keys are older than the station's
	at := centraltest.New(t, clock.of)
	s := newTPMStation(t, at, soft, "")
	ek := s.endorsementKey()
	clock.days(-14)
	s.ok("enroll", "--join-token-file", s.invite(adminclient.Invitation{EKSHA256: ek}))
	clock.days(0)
	first := s.certificate()
	s.makesOne()
	if !s.certificate().Equal(first) {
		t.Error("renewed after 14 days of 30")
	}
	for _, days := range []int{-16, -40} {
		clock.days(days)
		s.ok("enroll", "--new-key", "--join-token-file", s.invite(adminclient.Invitation{EKSHA256: ek, Replace: true}))
		clock.days(0)
		old := s.certificate()
		s.ok("run", "--drain", "--log", s.file("log"))
		fresh := s.certificate()
		if fresh.Equal(old) || time.Until(fresh.NotAfter) < 29*24*time.Hour {
			t.Errorf("%d days: until %s, before %s", days, fresh.NotAfter, old.NotAfter)
		}
	}
}

// TestExpiryWithoutRestart: the certificate of a daemon at work expires, and it goes on.
func TestExpiryWithoutRestart(t *testing.T) {
	soft := tpmtest.New(t)
	var clock skew
	clock.days(-60) // the server's own keys are older than the station's
	at := centraltest.New(t, clock.of)
	s := newTPMStation(t, at, soft, "")
	ek := s.endorsementKey()
	clock.days(-40)
	s.ok("enroll", "--join-token-file", s.invite(adminclient.Invitation{EKSHA256: ek}))
	old := s.certificate()
	daemon := s.start(t.Context(), s.file("log"), "run", "--log", "-")
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(s.file("log"))
			t.Logf("%s", log)
		}
	})
	stationtest.Eventually(t, "the session", func() bool {
		stations, err := at.Admin.Stations(t.Context())
		return err == nil && len(stations) == 2 && stations[1].LastSeenAt != nil
	})
	clock.days(0)
	s.Central.Order(t, 1)
	stationtest.Eventually(t, "the key to be made", func() bool { return s.Central.Units(t)[0].State == api.INSTALLED })
	if s.certificate().Equal(old) {
		t.Error("it was made with an expired certificate")
	}
	if err := daemon.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		log, _ := os.ReadFile(s.file("log"))
		t.Errorf("%v\n%s", err, log)
	}
}
