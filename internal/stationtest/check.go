package stationtest

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/canary"
	"github.com/usbkeyd/usbkeyd/provision"
)

// CheckBatch: so many units are INSTALLED, each on a token of its own; the CA's record
// has one certificate for each; on every token there is one private key and the
// certificates that belong to it, the user PIN is the one that was sealed and the SO
// PIN the one that is in escrow. pkcs11-tool says so, with PINs that openssl took from
// their envelopes.
func (s *Station) CheckBatch(want int) {
	t := s.t
	t.Helper()
	units := map[string]api.Unit{} // by token serial
	for _, u := range s.Central.Units(t) {
		if u.State != api.INSTALLED {
			t.Errorf("%s is %s", u.UnitId, u.State)
			continue
		}
		units[*u.TokenSerial] = u
	}
	if len(units) != want {
		t.Errorf("%d token serials for %d units", len(units), want)
	}
	s.checkIssued(want)
	for i := range s.Bays {
		label, serial := s.Token(i)
		u, ok := units[serial]
		if !ok {
			t.Errorf("bay %d: no unit for token %q, serial %q", i+1, label, serial)
			continue
		}
		s.CheckToken(i, u)
	}
}

func (s *Station) checkIssued(want int) {
	t := s.t
	t.Helper()
	issued, err := s.Central.Admin.Certificates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	units, keys := map[string]bool{}, map[string]bool{}
	for _, c := range issued {
		units[c.UnitId], keys[c.PublicKeySha256] = true, true
	}
	if len(issued) != want || len(units) != want || len(keys) != want {
		t.Errorf("the CA's record: %d certificates for %d units and %d keys, wanted %d of each", len(issued), len(units), len(keys), want)
	}
}

// Token is what pkcs11-tool says of the initialised token in a bay; "" without one.
func (s *Station) Token(bay int) (label, serial string) {
	s.t.Helper()
	slots := s.Bays[bay].Tool(s.t, "pkcs11-tool", "--module", s.Bays[bay].Path, "--list-slots")
	found := regexp.MustCompile(`token label\s*:\s*(\S+)[\s\S]*?serial num\s*:\s*(\S+)`).FindStringSubmatch(slots)
	if found == nil {
		return "", ""
	}
	return found[1], found[2]
}

// CheckToken is the part of CheckBatch about one token: that in a bay is the unit's.
func (s *Station) CheckToken(i int, u api.Unit) {
	t, bay := s.t, s.Bays[i]
	t.Helper()
	label, _ := s.Token(i)
	sealed, err := s.Central.Admin.SealedPIN(t.Context(), u.UnitId)
	if err != nil {
		t.Fatal(err)
	}
	objects := bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--token-label", label, "--login", "--pin", s.Central.OpenPIN(t, sealed), "--list-objects")
	if n := strings.Count(objects, "Private Key Object"); n != 1 {
		t.Errorf("bay %d: %d private keys on the token", i+1, n)
	}
	if n := strings.Count(objects, "Certificate Object"); n != 2 {
		t.Errorf("bay %d: %d certificates on the token, wanted the leaf and its issuer", i+1, n)
	}
	if !s.Escrowed(i, "WHERE token_serial = $1", *u.TokenSerial) {
		t.Errorf("bay %d: the SO PIN in escrow does not open token %s", i+1, *u.TokenSerial)
	}
}

// Escrowed reports whether an SO PIN in the central server's database, of the escrows
// that the condition selects, opens the token in a bay.
func (s *Station) Escrowed(bay int, where string, args ...any) bool {
	t := s.t
	t.Helper()
	label, _ := s.Token(bay)
	for _, envelope := range s.escrows(where, args...) {
		if s.OpensAsSO(bay, label, s.Central.OpenPIN(t, envelope)) {
			return true
		}
	}
	return false
}

func (s *Station) escrows(where string, args ...any) (sealed [][]byte) {
	t := s.t
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Central.DataDir, "central.db")+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), "SELECT sealed FROM escrows "+where, args...)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var one []byte
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, one)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	return sealed
}

// OpensAsSO reports whether an SO PIN opens the token with the label in a bay.
func (s *Station) OpensAsSO(bay int, label, pin string) bool {
	s.t.Helper()
	_, err := s.Bays[bay].Try(s.t, "pkcs11-tool", "--module", s.Bays[bay].Path, "--token-label", label,
		"--session-rw", "--login", "--login-type", "so", "--so-pin", pin, "--list-objects")
	return err == nil
}

// Records are the journal's jobs.
func (s *Station) Records() []*provision.Record {
	t := s.t
	t.Helper()
	j, err := provision.ReadJournal(s.Journal())
	if err != nil {
		t.Fatal(err)
	}
	records, err := j.All()
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	return records
}

// tally names a file to which CheckNoPIN adds a line of what it has looked through, for
// scripts/canary.
const tally = "CANARY_TALLY"

// CheckNoPIN looks through everything that the run left behind, but the tokens
// themselves, for every PIN that was drawn and every secret of LookFor; and, for scripts/canary, through what the
// processes have shown of themselves.
func (s *Station) CheckNoPIN() {
	t := s.t
	t.Helper()
	pins, want := map[string]string{}, 0
	for _, r := range s.Records() {
		if len(r.Facts.SOPINEnvelope) == 0 {
			continue // it ended before any was drawn
		}
		want += 2
		pins[s.Central.OpenPIN(t, r.Facts.UserPINEnvelope)] = "user PIN of " + r.Job.UnitID()
		pins[s.Central.OpenPIN(t, r.Facts.SOPINEnvelope)] = "SO PIN of " + r.Job.UnitID()
	}
	if len(pins) != want {
		t.Errorf("%d different PINs, wanted %d", len(pins), want)
	}
	var search canary.Search
	for pin, whose := range pins {
		search.Add(whose, pin)
	}
	s.Search(&search)
}

// Search looks through everything that the run left behind, but the tokens themselves, and
// what was looked through before; an error for each secret that is found.
func (s *Station) Search(search *canary.Search) {
	t := s.t
	t.Helper()
	for whose, value := range s.secrets {
		search.Add(whose, value)
	}
	for _, root := range []string{s.Dir, s.Central.DataDir} {
		if err := search.Folder(root); err != nil {
			t.Fatal(err)
		}
	}
	if s.shown != nil {
		s.shown.End(search)
		s.shown = nil
		if search.Processes == 0 {
			t.Error("no process was seen")
		}
	}
	for _, what := range search.Found {
		t.Error(what)
	}
	if search.Files < 8 {
		t.Errorf("only %d files were looked through", search.Files)
	}
	t.Logf("%d secrets looked for in %d files and %d processes", search.Secrets(), search.Files, search.Processes)
	s.count(*search)
}

// count adds a line to the tally, if one is kept.
func (s *Station) count(search canary.Search) {
	path := os.Getenv(tally)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = fmt.Fprintln(f, search.Secrets(), search.Files, search.Bytes, search.Processes, len(search.Found), search.Forms())
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		s.t.Error(err)
	}
}
