package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestKill9 kills the daemon again and again in the middle of a batch of 16, and
// lets it finish at last. Every unit is INSTALLED on a token of its own, the CA
// issued once for each, no token has two keys, no PIN lies about in clear.
func TestKill9(t *testing.T) {
	const keys = 16
	s := newStation(t, keys, "ec-p256")
	s.central.Order(t, keys)
	log := filepath.Join(s.dir, "usbkeyd.log")
	kills := 0
	// A batch makes about 140 journal entries; kill when there are so many.
	for _, entries := range []int{3, 18, 30, 45, 60, 75, 90, 105} {
		daemon := s.start(t.Context(), log, "run", "--drain", "--log", "-", "--log-level", "debug")
		ended := make(chan error, 1)
		go func() { ended <- daemon.Wait() }()
		done := false
		eventually(t, "the journal to grow", func() bool {
			select {
			case <-ended:
				done = true
				return true
			default:
				return s.entries() >= entries
			}
		})
		if done {
			break
		}
		if err := daemon.Process.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
		<-ended
		kills++
	}
	if kills < 4 {
		t.Errorf("the daemon was killed %d times only, before it was done", kills)
	}
	last := s.start(t.Context(), log, "run", "--drain", "--log", "-", "--log-level", "debug", "--junit", filepath.Join(s.dir, "junit.xml"))
	if err := last.Wait(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("the last run: %v\n%s", err, text)
	}
	t.Logf("killed %d times", kills)
	s.checkBatch(keys)
	s.checkNoPIN()
}

// entries counts what the journal noted so far.
func (s *station) entries() int {
	path := journalPath(filepath.Join(s.dir, "state"))
	if _, err := os.Stat(path); err != nil {
		return 0
	}
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(1000)")
	if err != nil {
		return 0
	}
	defer func() { _ = db.Close() }()
	var n int
	if err := db.QueryRow("SELECT COUNT(*) FROM entry").Scan(&n); err != nil {
		return 0 // not made yet
	}
	return n
}

// checkBatch has pkcs11-tool count the keys of every token, with the PIN that openssl took from the envelope.
func (s *station) checkBatch(want int) {
	t := s.t
	t.Helper()
	serials, labels := map[string]bool{}, map[string]api.Unit{}
	for _, u := range s.central.Units(t) {
		if u.State != api.INSTALLED {
			t.Errorf("%s is %s", u.UnitId, u.State)
			continue
		}
		serials[*u.TokenSerial], labels[*u.TokenLabel] = true, u
	}
	if len(serials) != want {
		t.Errorf("%d token serials for %d units", len(serials), want)
	}
	issued, err := s.central.Admin.Certificates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	units, publicKeys := map[string]bool{}, map[string]bool{}
	for _, c := range issued {
		units[c.UnitId], publicKeys[c.PublicKeySha256] = true, true
	}
	if len(issued) != want || len(units) != want || len(publicKeys) != want {
		t.Errorf("the CA's record: %d certificates for %d units and %d keys, wanted %d of each", len(issued), len(units), len(publicKeys), want)
	}
	label := regexp.MustCompile(`token label\s*:\s*(\S+)`)
	for i, bay := range s.bays {
		slots := bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--list-slots")
		found := label.FindStringSubmatch(slots)
		if found == nil {
			t.Errorf("bay %d has no finished token", i+1)
			continue
		}
		u, ok := labels[found[1]]
		if !ok {
			t.Errorf("bay %d: no unit for token %q", i+1, found[1])
			continue
		}
		sealed, err := s.central.Admin.SealedPIN(t.Context(), u.UnitId)
		if err != nil {
			t.Fatal(err)
		}
		objects := bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--token-label", found[1], "--login", "--pin", s.central.OpenPIN(t, sealed), "--list-objects")
		if n := strings.Count(objects, "Private Key Object"); n != 1 {
			t.Errorf("bay %d: %d private keys on the token", i+1, n)
		}
		if n := strings.Count(objects, "Certificate Object"); n != 2 {
			t.Errorf("bay %d: %d certificates on the token, wanted the leaf and its issuer", i+1, n)
		}
	}
}

// checkNoPIN looks through everything that the run left behind, but the tokens
// themselves, for every PIN that was set.
func (s *station) checkNoPIN() {
	t := s.t
	t.Helper()
	j, err := provision.ReadJournal(journalPath(filepath.Join(s.dir, "state")))
	if err != nil {
		t.Fatal(err)
	}
	records, err := j.All()
	if err := errors.Join(err, j.Close()); err != nil {
		t.Fatal(err)
	}
	pins := map[string]string{}
	for _, r := range records {
		pins[s.central.OpenPIN(t, r.Facts.UserPINEnvelope)] = "user PIN of " + r.Job.UnitID()
		pins[s.central.OpenPIN(t, r.Facts.SOPINEnvelope)] = "SO PIN of " + r.Job.UnitID()
	}
	if len(pins) != 2*len(records) {
		t.Errorf("%d different PINs for %d tokens", len(pins), len(records))
	}
	files := 0
	for _, root := range []string{s.dir, s.central.DataDir} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			for pin, whose := range pins {
				for form, text := range spellings(pin) {
					if bytes.Contains(data, text) {
						t.Errorf("%s holds the %s (%s)", path, whose, form)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 8 {
		t.Errorf("only %d files were looked through", files)
	}
	t.Logf("%d PINs looked for in %d files", len(pins), files)
}

// spellings are the ways in which a PIN might be written.
func spellings(pin string) map[string][]byte {
	wide := []byte{}
	for _, u := range utf16.Encode([]rune(pin)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	out := map[string][]byte{
		"plain": []byte(pin), "UTF-16": wide, "hexadecimal": []byte(hex.EncodeToString([]byte(pin))),
	}
	// Base64 of a text that holds the PIN at each of the three places.
	for lead := range 3 {
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, lead), pin...))
		out["base64 "+string(rune('0'+lead))] = []byte(encoded)[(lead*8+5)/6 : len(encoded)-4]
	}
	return out
}

// TestSpellingsAreFound shows that the search above can find what it looks for.
func TestSpellingsAreFound(t *testing.T) {
	const pin = "92750384"
	for _, hay := range []string{
		"pin=" + pin, base64.StdEncoding.EncodeToString([]byte("the pin is " + pin + " here")),
		base64.StdEncoding.EncodeToString([]byte("pin " + pin + " here")), base64.StdEncoding.EncodeToString([]byte("pins " + pin + " here")),
		hex.EncodeToString([]byte(pin)), "9\x002\x007\x005\x000\x003\x008\x004\x00",
	} {
		found := false
		for _, text := range spellings(pin) {
			found = found || strings.Contains(hay, string(text))
		}
		if !found {
			t.Errorf("not found in %q", hay)
		}
	}
}

// TestTerminateStopsCleanly: SIGTERM in the middle ends with exit code 0 and leaves no job at work.
func TestTerminateStopsCleanly(t *testing.T) {
	const keys = 6
	s := newStation(t, keys, "rsa2048")
	s.central.Order(t, keys)
	log := filepath.Join(s.dir, "usbkeyd.log")
	daemon := s.start(t.Context(), log, "run", "--log", "-")
	eventually(t, "work to begin", func() bool { return s.entries() >= keys })
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		text, _ := os.ReadFile(log)
		t.Fatalf("after SIGTERM: %v\n%s", err, text)
	}
	_, out, _ := s.command("jobs", "list", "-o", "json")
	if strings.Contains(out, `"state": "running"`) || strings.Contains(out, `"state": "quarantined"`) {
		t.Errorf("jobs after the stop: %s", out)
	}
	if code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.dir, "drain.log")); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	s.checkBatch(keys)
}

// TestChildrenEndWithTheDaemon: no process is left of a daemon that was killed.
func TestChildrenEndWithTheDaemon(t *testing.T) {
	s := newStation(t, 3, "rsa2048")
	s.central.Order(t, 3)
	daemon := s.start(t.Context(), filepath.Join(s.dir, "log"), "run")
	eventually(t, "children", func() bool { return len(children(t, daemon.Process.Pid)) >= 3 })
	all := children(t, daemon.Process.Pid)
	if err := daemon.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = daemon.Wait() // killed
	eventually(t, "the children to end", func() bool {
		return !slices.ContainsFunc(all, func(pid string) bool {
			_, err := os.Stat("/proc/" + pid)
			return err == nil
		})
	})
}

func children(t testing.TB, pid int) []string {
	t.Helper()
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), "ps", "-o", "pid=", "--ppid", strconv.Itoa(pid)).Output()
	if err != nil {
		return nil // none
	}
	return strings.Fields(string(out))
}
