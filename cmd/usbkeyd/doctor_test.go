package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/canary"
	"github.com/usbkeyd/usbkeyd/internal/doctor"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// examined runs the doctor, and gives its findings as "check code".
func (s *station) examined(code int, args ...string) []string {
	s.t.Helper()
	got, out, errOut := s.command(append([]string{"doctor", "-o", "json"}, args...)...)
	var found []doctor.Finding
	if err := json.Unmarshal([]byte(out), &found); err != nil || got != code {
		s.t.Fatalf("exit code %d, wanted %d (%v)\n%s%s", got, code, err, out, errOut)
	}
	var all []string
	for _, f := range found {
		if f.Found == "" || f.State == doctor.Wrong && f.Mend == "" {
			s.t.Errorf("%+v says too little", f)
		}
		for _, text := range []string{f.Check, f.Found, f.Mend} {
			if own := chinese().Told(text); english(own) {
				s.t.Errorf("%s is told as %s", text, own)
			}
		}
		if f.Check != "core dumps" { // the tests' own process does not shut itself in
			all = append(all, f.Check+" "+f.Code)
		}
	}
	return all
}

// TestDoctor: each thing that is broken is found, and nothing else.
func TestDoctor(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	s.Central.Order(t, 1)
	if code, out, errOut := s.command("run", "--drain"); code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	well := []string{"configuration good", "identity good", "central server good", "recipients of user PINs ends-soon", "recipients of SO PINs ends-soon", // those of tests are short
		"module good", "state folder good", "disk space good", "journal good"}
	core := exitOK // whether the core limit is 0 is the tests' environment's
	if doctor.CoreDumps().State == doctor.Wrong {
		core = exitUnfinished
	}
	if got := s.examined(core); !slices.Equal(got, well) {
		t.Errorf("a station that is well: %q", got)
	}
	config, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(old, new string) {
		t.Helper()
		text := strings.Replace(string(config), old, new, 1)
		if text == string(config) {
			t.Fatalf("%q is not in the configuration", old)
		}
		if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := func(what string, code int, want string) {
		t.Helper()
		got := s.examined(code)
		if !slices.Contains(got, want) {
			t.Errorf("%s: %q is not in %q", what, want, got)
		}
		if err := os.WriteFile(s.Config, config, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("tier: file", "tier: none")
	broken("another tier", exitConfig, "configuration wrong")
	rewrite(s.Central.URL, "https://127.0.0.1:1")
	broken("no server", exitUnfinished, "central server unreachable")
	rewrite(`path: "`+s.Bays[0].Path, `path: "`+s.Config)
	broken("no module", exitUnfinished, "module unusable")
	if err := os.Chmod(s.Journal(), 0o640); err != nil {
		t.Fatal(err)
	}
	broken("an open journal", exitUnfinished, "state folder open-to-others")
	if err := os.Chmod(s.Journal(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(s.Journal(), 5000); err != nil {
		t.Fatal(err)
	}
	broken("half a journal", exitUnfinished, "journal unreadable")
}

// TestBundleTellsNothing: in a bundle there is no PIN, and nothing of the order, the station,
// its tokens and its files.
func TestBundleTellsNothing(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	s.Central.Order(t, 1)
	if code, out, errOut := s.command("run", "--drain"); code != exitOK {
		t.Fatalf("exit code %d\n%s%s", code, out, errOut)
	}
	const joinToken = "c3VjaCBhIHRva2VuIGlzIG9uY2Ugb25seQ"
	if err := os.WriteFile(filepath.Join(s.State(), "join.token"), []byte(joinToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir, "bundle.zip")
	s.command("doctor", "--bundle", file)
	bundle, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"check": "journal"`, `"state": "finished"`, `"ec-p256"`} {
		if !strings.Contains(string(bundle), want) {
			t.Errorf("%s is not in the bundle", want)
		}
	}
	var search canary.Search
	record := s.Records()[0]
	search.Add("user PIN", s.Central.OpenPIN(t, record.Facts.UserPINEnvelope))
	search.Add("SO PIN", s.Central.OpenPIN(t, record.Facts.SOPINEnvelope))
	subject := record.Job.Subject
	for whose, value := range map[string]string{
		"order": subject.OrderID, "unit": record.Job.UnitID(), "company": subject.Company.Name, "company's number": subject.Company.USCC,
		"recipient": record.Job.Recipient.Name, "phone": record.Job.Recipient.Phone, "address": record.Job.Recipient.Address,
		"join token": joinToken, "handler": subject.Handler.Name, "handler's address": subject.Handler.Email,
		"station": "sample-station", "folder": s.Dir, "server": s.Central.URL, "module": s.Bays[0].Path,
		"token": string(record.Token.Identity.Serial), "key": record.Facts.KeyID.String(), "certificate": record.Facts.CertificateSerial,
	} {
		if value == "" {
			t.Errorf("there is no %s to look for", whose)
			continue
		}
		search.Add(whose, value)
	}
	search.In("the bundle", bundle)
	for _, found := range search.Found {
		t.Error(found)
	}
	if code, _, errOut := s.command("doctor", "--bundle", file); code != exitFailure || !strings.Contains(errOut, "exists") {
		t.Errorf("a bundle over another: exit code %d, %s", code, errOut)
	}
}

// TestDoctorBesideTheDaemon: a daemon that runs is not disturbed, and a station that has not
// run yet is told so.
func TestDoctorBesideTheDaemon(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	_, out, _ := s.command("doctor")
	for _, want := range []string{"It is made when the daemon starts for the first time.", "there is none yet"} {
		if !strings.Contains(out, want) {
			t.Errorf("before the first start %q is not said:\n%s", want, out)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := s.start(ctx, filepath.Join(s.Dir, "usbkeyd.log"), "run")
	stationtest.Eventually(t, "the session", func() bool {
		log, err := os.ReadFile(filepath.Join(s.Dir, "usbkeyd.log"))
		return err == nil && strings.Contains(string(log), "session opened")
	})
	_, out, _ = s.command("doctor", "-o", "json", "--bundle", filepath.Join(s.Dir, "bundle.zip"))
	var found []doctor.Finding
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found) < 9 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, f := range found {
		if f.State == doctor.Wrong && f.Check != "core dumps" {
			t.Errorf("beside the daemon: %+v", f)
		}
	}
	s.Central.Order(t, 1)
	stationtest.Eventually(t, "the unit", func() bool { return s.Central.Units(t)[0].State == api.INSTALLED })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the daemon: %v", err)
	}
}

// TestRecipientsThatEnd: too few, soon too few, enough for long.
func TestRecipientsThatEnd(t *testing.T) {
	begins := time.Now().Truncate(time.Second)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(days int) []byte {
		t.Helper()
		c := &x509.Certificate{
			SerialNumber: big.NewInt(int64(days)), Subject: pkix.Name{CommonName: "sample"}, KeyUsage: x509.KeyUsageKeyEncipherment,
			NotBefore: begins, NotAfter: begins.AddDate(0, 0, days),
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	long, longer, longest := certificate(90), certificate(100), certificate(400)
	listed := []string{hexSHA256(long), hexSHA256(longer)}
	day := func(n int) time.Time { return begins.AddDate(0, 0, n) }
	for name, row := range map[string]struct {
		offered [][]byte
		at      time.Time
		code    string
		days    int64
	}{
		"one of two":             {[][]byte{long}, day(1), "too-few", 0},
		"one that is not ours":   {[][]byte{long, longest}, day(1), "too-few", 0},
		"one has ended":          {[][]byte{long, longer}, day(91), "too-few", 0},
		"the first ends soon":    {[][]byte{longer, long}, day(61), "ends-soon", 29},
		"both are good for long": {[][]byte{long, longer}, day(10), "good", 80},
	} {
		f := checkRecipients("x", row.offered, listed, 2, row.at)
		if f.Code != row.code || row.days != 0 && (f.Number == nil || *f.Number != row.days) {
			t.Errorf("%s: %+v, wanted %s, %d days", name, f, row.code, row.days)
		}
	}
}
