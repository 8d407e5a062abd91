package main

import (
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/canary"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cupstest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/provision"
)

const mailerFont = "/usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf"

func TestNewMailers(t *testing.T) {
	notFont := filepath.Join(t.TempDir(), "sample.ttf")
	if err := os.WriteFile(notFont, []byte("sample"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := func() error { return nil }
	elsewhere := func() error { return errors.New("not on this system") }
	rows := []struct {
		name      string
		delivery  string
		font      string
		supported func() error
		field     string
		none      bool
	}{
		{"sealed needs nothing", config.DeliverSealed, notFont, elsewhere, "", true},
		{"mailers", config.DeliverMailer, mailerFont, here, "", false},
		{"mailers where none are printed", config.DeliverMailer, mailerFont, elsewhere, "mailer", true},
		{"a font that is none", config.DeliverMailer, notFont, here, "mailer.font", true},
		{"no font", config.DeliverMailer, notFont + "x", here, "mailer.font", true},
	}
	for _, row := range rows {
		s := &config.Station{Products: []config.Product{{UserPIN: config.UserPIN{Delivery: row.delivery}}}, Mailer: config.Mailer{Font: row.font}}
		m, err := newMailers(s, row.supported)
		var field *config.FieldError
		if got := errors.As(err, &field); got != (row.field != "") || got && field.Field != row.field || (m == nil) != row.none {
			t.Errorf("%s: %v, %v", row.name, m, err)
		}
	}
}

// TestLanguages: what may be configured is what letters are written in.
func TestLanguages(t *testing.T) {
	var have []string
	for _, l := range mailer.Languages() {
		have = append(have, string(l))
	}
	if !slices.Equal(have, config.Languages()) {
		t.Errorf("letters are in %s, settings take %s", strings.Join(have, ", "), strings.Join(config.Languages(), ", "))
	}
}

// mailRoom is a station whose product is delivered by mailer, with a real CUPS.
type mailRoom struct {
	*station
	cups *cupstest.Server
	// sheet is what the printer printed last.
	sheet string
}

func newMailRoom(t *testing.T) *mailRoom {
	t.Helper()
	m := &mailRoom{cups: cupstest.Start(t, true)}
	m.sheet = m.cups.Paper("letters", cupstest.PDF)
	m.cups.Jam("jam")
	more := "mailer: {printer: letters, server: " + m.cups.Socket + ", spool: " + m.cups.Spool + "}\n"
	m.station = &station{stationtest.New(t, &centraltest.New(t, nil).Access, t.TempDir(), 1, "ec-p256", more), t}
	m.Watch(m.cups.Dir())
	m.byMailer()
	return m
}

// byMailer has the product delivered by mailer. A station that seals no user PIN needs
// nobody to seal it to.
func (m *mailRoom) byMailer() {
	m.rewrite(func(text string) string {
		text = strings.Replace(text, "userPin: {length: 12}", "userPin: {delivery: mailer}", 1)
		return regexp.MustCompile(`userPin: \["[0-9a-f]+"\], `).ReplaceAllString(text, "")
	})
}

// want runs a command that must end with a code and say something.
func (m *station) want(code int, says string, args ...string) string {
	m.t.Helper()
	got, out, errOut := m.command(args...)
	if got != code || !strings.Contains(out+errOut, says) {
		m.t.Fatalf("%v: exit code %d, want %d and %q:\n%s%s", args, got, code, says, out, errOut)
	}
	return out
}

func (m *station) drain(code int) {
	m.t.Helper()
	m.want(code, "", "run", "--drain", "--log", filepath.Join(m.Dir, "log"))
}

// printed is the PIN on the last sheet.
func (m *mailRoom) printed() string {
	m.t.Helper()
	out, err := exec.Command("pdftotext", "-layout", m.sheet, "-").CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	pin := regexp.MustCompile(`\n\s*((?:\d\s+){8})\n`).FindSubmatch(out)
	if pin == nil {
		m.t.Fatalf("no PIN on the sheet:\n%s", out)
	}
	return strings.Join(strings.Fields(string(pin[1])), "")
}

// opens asks pkcs11-tool, which shares no code with us, whether a PIN opens the token.
func (m *mailRoom) opens(pin string) bool {
	m.t.Helper()
	return m.opensAt(jobRow{Module: "bay-01", UnitID: m.unit()}, pin)
}

// opensAt asks it of a job's token.
func (m *mailRoom) opensAt(k jobRow, pin string) bool {
	m.t.Helper()
	var n int
	if _, err := fmt.Sscanf(k.Module, "bay-%02d", &n); err != nil {
		m.t.Fatal(err)
	}
	bay := m.Bays[n-1]
	cmd := exec.Command("pkcs11-tool", "--module", bay.Path, "--login", "--pin", pin, "--token-label", k.UnitID, "--list-objects")
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+bay.Env["SOFTHSM2_CONF"])
	out, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "CKR_PIN_INCORRECT") {
		m.t.Fatalf("%v: %s", err, out)
	}
	return err == nil
}

func (m *station) unit() string { return string(m.Central.Units(m.t)[0].UnitId) }

// letterRow is what mailers list says of a unit.
func (m *mailRoom) letterRow(unit string) mailerRow {
	m.t.Helper()
	var rows []mailerRow
	if err := json.Unmarshal([]byte(m.want(exitOK, "", "mailers", "list", "-o", "json")), &rows); err != nil {
		m.t.Fatal(err)
	}
	i := slices.IndexFunc(rows, func(r mailerRow) bool { return r.UnitID == unit })
	if i < 0 {
		m.t.Fatalf("no letter of %s: %+v", unit, rows)
	}
	return rows[i]
}

func (m *mailRoom) row() mailerRow {
	m.t.Helper()
	var rows []mailerRow
	if err := json.Unmarshal([]byte(m.want(exitOK, "", "mailers", "list", "-o", "json")), &rows); err != nil || len(rows) != 1 {
		m.t.Fatalf("%+v (%v)", rows, err)
	}
	return rows[0]
}

// CheckNoPIN looks for PINs that were printed, in every form, in all that station, server and
// CUPS have left behind.
func (m *mailRoom) CheckNoPIN(pins ...string) {
	m.t.Helper()
	var search canary.Search
	for i, pin := range pins {
		search.Add(fmt.Sprintf("PIN on sheet %d", i+1), pin)
	}
	m.cups.Search(&search)
	m.Search(&search)
}

// TestMailers is the way of a letter: looked at, printed once, reprinted with another PIN,
// confirmed by a person, told to the central server.
func TestMailers(t *testing.T) {
	m := newMailRoom(t)
	m.want(exitOK, "No units", "mailers", "list")
	m.want(exitFailure, "no journal yet", "mailers", "print", "X-001", "--by", "p1")
	m.Central.Order(t, 1)
	m.drain(exitOK)
	unit := m.unit()
	if r := m.row(); r.State != "ready" || r.Sheets != 0 {
		t.Errorf("before: %+v", r)
	}
	if page := m.want(exitOK, "••••••••", "mailers", "preview", unit); !strings.Contains(page, unit) || !strings.Contains(page, "收") {
		t.Errorf("preview:\n%s", page)
	}
	m.want(exitUsage, "--by", "mailers", "print", unit)
	m.want(exitUsage, "--by", "mailers", "print", unit, "--by", "经办人甲")
	m.want(exitFailure, "nothing was printed yet", "mailers", "confirm", unit, "--by", "p1")
	m.want(exitFailure, "nothing was printed yet: usbkeyd mailers print "+unit, "mailers", "reprint", unit, "--by", "p1")
	m.want(exitFailure, "not delivered by a mailer", "mailers", "print", "NOWHERE-001", "--by", "p1")

	m.want(exitOK, "mailers confirm "+unit, "mailers", "print", unit, "--by", "p1")
	first := m.printed()
	if !m.opens(first) {
		t.Error("the PIN on the sheet does not open the token")
	}
	if r := m.row(); r.State != "unknown" || r.By != "p1" || r.Sheets != 1 || !strings.Contains(r.Says, "is completed") {
		t.Errorf("printed: %+v", r)
	}
	m.want(exitFailure, "may be on paper already", "mailers", "print", unit, "--by", "p1")

	m.want(exitOK, "has another PIN", "mailers", "reprint", unit, "--by", "p2")
	second := m.printed()
	if second == first || !m.opens(second) || m.opens(first) {
		t.Errorf("the second PIN is the first one: %v; opens: second %v, first %v", second == first, m.opens(second), m.opens(first))
	}
	m.want(exitOK, "must not pack", "mailers", "confirm", unit, "--by", "p3")
	m.drain(exitOK)
	if r := m.row(); r.State != "confirmed" || r.ConfirmedBy != "p3" || r.Sheets != 2 || r.Refused != "" {
		t.Errorf("confirmed: %+v", r)
	}
	if status := m.ship(unit, "p3"); status != http.StatusConflict {
		t.Errorf("who confirmed the letter packs: %d", status)
	}
	if status := m.ship(unit, "p4"); status != http.StatusOK {
		t.Errorf("somebody else packs: %d", status)
	}
	m.want(exitOK, "has another PIN", "mailers", "reprint", unit, "--by", "p2")
	m.want(exitOK, "", "mailers", "confirm", unit, "--by", "p4")
	m.drain(exitUnfinished)
	if r := m.row(); !strings.Contains(r.Refused, "p4 packed the token") {
		t.Errorf("confirmed by who packed: %+v", r)
	}
	m.CheckNoPIN(first, second, m.printed())
}

// ship reports a parcel as another program at the packing table does.
func (m *station) ship(unit, by string) int {
	m.t.Helper()
	file := func(name string) string { return filepath.Join(m.Central.StationDir, name) }
	credential, err := tls.LoadX509KeyPair(file("station.crt"), file("station.key"))
	if err != nil {
		m.t.Fatal(err)
	}
	pem, err := os.ReadFile(file("central-root.pem"))
	if err != nil {
		m.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	over := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{credential}, RootCAs: roots}, DisableKeepAlives: true}}
	c, err := api.NewClient(strings.TrimSuffix(m.Central.URL, "/v1")+"/v1", api.WithHTTPClient(over))
	if err != nil {
		m.t.Fatal(err)
	}
	resp, err := c.PutShipment(m.t.Context(), unit, api.ShipmentRequest{
		Generation: 1, Waybill: "SF0000000001", Scans: []api.TokenSerial{*m.Central.Units(m.t)[0].TokenSerial}, PackedBy: by,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		m.t.Fatal(err)
	}
	return resp.StatusCode
}

// asNotSent has the journal say what it says when the printer could not be reached.
func (m *mailRoom) asNotSent() {
	m.t.Helper()
	db, err := sql.Open("sqlite", m.Journal())
	if err != nil {
		m.t.Fatal(err)
	}
	_, err = db.Exec("UPDATE job SET facts = json_set(facts, '$.Letters[#-1].State', $1)", provision.LetterReady)
	if err := errors.Join(err, db.Close()); err != nil {
		m.t.Fatal(err)
	}
}

// TestMailersGoWrong: what is found before the sheet leaves costs no PIN; a jam costs one.
func TestMailersGoWrong(t *testing.T) {
	m := newMailRoom(t)
	m.Central.Order(t, 1)
	m.drain(exitOK)
	unit := m.unit()
	mailerAs := func(from, to string) {
		t.Helper()
		m.rewrite(func(text string) string {
			if !strings.Contains(text, from) {
				t.Fatalf("%q is not in the configuration", from)
			}
			return strings.Replace(text, from, to, 1)
		})
	}
	mailerAs("printer: letters", "printer: none")
	m.want(exitFailure, "nothing was printed", "mailers", "print", unit, "--by", "p1")
	mailerAs("printer: none", "printer: jam")
	if r := m.row(); r.State != "ready" || r.Sheets != 0 {
		t.Errorf("after nothing was printed: %+v", r)
	}
	m.want(exitOK, "CUPS gave up job", "mailers", "print", unit, "--by", "p1")
	mailerAs("printer: jam", "printer: none")
	m.want(exitFailure, "nothing was printed", "mailers", "reprint", unit, "--by", "p1")
	if r := m.row(); r.State != "unknown" || r.Sheets != 1 || !strings.Contains(r.Says, "paper jam") {
		t.Errorf("after a jam: %+v", r)
	}
	mailerAs("printer: none", "printer: letters")

	// The token has another PIN, and its sheet was never handed on: it costs no third PIN.
	m.want(exitOK, "has another PIN", "mailers", "reprint", unit, "--by", "p1")
	second := m.printed()
	m.asNotSent()
	if out := m.want(exitOK, "mailers confirm", "mailers", "reprint", unit, "--by", "p1"); strings.Contains(out, "another PIN") || m.printed() != second || !m.opens(second) {
		t.Errorf("the sheet after one that was not sent:\n%s", out)
	}
	if r := m.row(); r.State != "unknown" || r.Sheets != 2 {
		t.Errorf("then: %+v", r)
	}

	// The daemon has the tokens: a letter may be printed beside it, a PIN not replaced.
	daemon := m.start(t.Context(), filepath.Join(m.Dir, "daemon.log"), "run")
	stationtest.Eventually(t, "the daemon to be at work", func() bool {
		lock, err := filelock.Exclusive(filepath.Join(m.State(), tokensLock))
		if err == nil {
			err = lock.Close()
		}
		return errors.Is(err, filelock.ErrHeld)
	})
	m.want(exitFailure, "stop it first", "mailers", "reprint", unit, "--by", "p1")
	m.want(exitOK, "must not pack", "mailers", "confirm", unit, "--by", "p1")
	stationtest.Eventually(t, "the daemon to tell who confirmed", func() bool {
		return stationtest.Count(m.Journal(), "SELECT COUNT(*) FROM report WHERE answer = 'INSTALLED'") == 2
	})
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Fatal(err)
	}

	lock, err := filelock.Exclusive(filepath.Join(m.State(), mailersLock))
	if err != nil {
		t.Fatal(err)
	}
	m.want(exitFailure, "wait for it", "mailers", "reprint", unit, "--by", "p1")
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	mailerAs("{delivery: mailer}", `{delivery: change-at-first-use, firstPin: "000000"}`)
	m.want(exitFailure, "no product of this station is delivered by mailer", "mailers", "print", unit, "--by", "p1")
	m.CheckNoPIN(second)
}
