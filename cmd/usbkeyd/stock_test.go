package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/provision"
)

const stockModel = "SoftHSM v2"

// newStockRoom is a station that writes delivered tokens only, with two that came
// initialised by their factory, and their serials.
func newStockRoom(t *testing.T) (s *station, serials [2]string) {
	t.Helper()
	const factory = "87654321"
	more := `stock: {deliveredOnly: true}
tokenProfiles:
  - {name: softhsm2, match: {manufacturer: SoftHSM project, model: SoftHSM v2}, factorySoPinFile: so.pin}
`
	s = &station{stationtest.New(t, &centraltest.New(t, nil).Access, t.TempDir(), 2, "ec-p256", more), t}
	if err := os.WriteFile(filepath.Join(s.Dir, "so.pin"), []byte(factory), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, bay := range s.Bays {
		bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--slot-index", "0", "--init-token", "--label", "factory", "--so-pin", factory)
		_, serials[i] = s.Token(i)
	}
	return s, serials
}

// list writes a supplier's list; each row is "serial,casing".
func (s *station) list(name, model string, rows ...string) string {
	s.t.Helper()
	text := "token_serial,casing_number,lot,model\r\n"
	for _, row := range rows {
		text += row + ",LOT-2026-11," + model + "\r\n"
	}
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// bayFiles is the SHA-256 over all files of a bay's tokens.
func (s *station) bayFiles(bay int) string {
	s.t.Helper()
	sum := sha256.New()
	err := filepath.WalkDir(s.Bays[bay].Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		_, _ = fmt.Fprintf(sum, "%s %d %s", path, len(content), content)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// TestOnlyDeliveredTokensAreWritten: of two real tokens the one on the list is written,
// and the other stays as it came, byte for byte.
func TestOnlyDeliveredTokensAreWritten(t *testing.T) {
	s, serials := newStockRoom(t)
	s.Central.Order(t, 2)
	drain := []string{"run", "--drain", "--log", filepath.Join(s.Dir, "log")}
	before := [2]string{s.bayFiles(0), s.bayFiles(1)}

	// Nothing was taken in: no token is written, and no unit is claimed.
	s.want(exitOK, "No list of delivered tokens was taken in yet.", "stock", "list")
	s.want(exitFailure, "is not on the list of delivered tokens", "stock", "check", serials[0])
	s.want(exitOK, "not on the list of delivered tokens", "tokens", "list")
	s.want(exitOK, "The token in bay-02 is not written: the token is not on the list of delivered tokens: serial "+serials[1], drain...)
	for _, u := range s.Central.Units(t) {
		if u.State != api.READY || u.Attempts != 0 {
			t.Errorf("unit %s is %s after %d attempts", u.UnitId, u.State, u.Attempts)
		}
	}
	if got := [2]string{s.bayFiles(0), s.bayFiles(1)}; got != before {
		t.Fatal("a token that nobody delivered was changed")
	}

	// A list with a fault takes in nothing.
	bad := s.list("bad.csv", stockModel, serials[0]+",K-1", serials[1]+",K-1")
	s.want(exitFailure, "bad.csv, line 3, column 2 (casing_number): K-1 is in line 2 already: look at the casings. Nothing was taken in", "stock", "import", bad, "--by", "hand.1")
	s.want(exitFailure, "is not on the list", "stock", "check", serials[0])

	good := s.list("good.csv", stockModel, serials[0]+",K-1", "A0000001,K-2")
	s.want(exitUsage, "--by", "stock", "import", good)
	s.want(exitUsage, "--by", "stock", "import", good, "--by", "经办人甲")
	s.want(exitOK, "Taken in: lot LOT-2026-11, model SoftHSM v2, tokens: 2", "stock", "import", good, "--by", "hand.1")
	s.want(exitFailure, "taken in before, by hand.1", "stock", "import", good, "--by", "hand.2")
	s.want(exitFailure, "line 2, column 2 (casing_number): K-2 is in stock already, with token serial A0000001 of lot LOT-2026-11", "stock", "import", s.list("other.csv", stockModel, "A0000002,K-2"), "--by", "hand.1")

	out := s.want(exitOK, "", drain...)
	_, _, errOut := s.command(drain...)
	if !strings.Contains(errOut, "The token in bay-02 is not written") || strings.Contains(errOut, "bay-01") {
		t.Errorf("the second drain says:\n%s%s", out, errOut)
	}
	installed := 0
	for _, u := range s.Central.Units(t) {
		if u.State == api.INSTALLED {
			installed++
			s.CheckToken(0, u)
		} else if u.State != api.READY || u.Attempts != 0 {
			t.Errorf("unit %s is %s after %d attempts", u.UnitId, u.State, u.Attempts)
		}
	}
	if installed != 1 {
		t.Errorf("%d units are installed, want 1", installed)
	}
	if s.bayFiles(1) != before[1] {
		t.Error("the token that is not on the list was changed")
	}
	if s.bayFiles(0) == before[0] {
		t.Error("the token on the list was not changed")
	}

	var lots struct {
		Lots []provision.StockLot `json:"lots"`
	}
	if err := json.Unmarshal([]byte(s.want(exitOK, "", "stock", "list", "-o", "json")), &lots); err != nil || len(lots.Lots) != 1 {
		t.Fatalf("%+v, %v", lots, err)
	}
	if l := lots.Lots[0]; l.Delivered != 2 || l.States[provision.StockBlank] != 1 || l.States[provision.StockWritten] != 1 {
		t.Errorf("the lot: %+v", l)
	}
	var tokens struct {
		Tokens []provision.StockToken `json:"tokens"`
	}
	if err := json.Unmarshal([]byte(s.want(exitOK, "", "stock", "check", serials[0], "-o", "json")), &tokens); err != nil || len(tokens.Tokens) != 1 {
		t.Fatalf("%+v, %v", tokens, err)
	}
	if got := tokens.Tokens[0]; got.Casing != "K-1" || got.State != provision.StockWritten || got.Unit == "" || got.TakenBy != "hand.1" {
		t.Errorf("the token: %+v", got)
	}
	s.want(exitOK, "A0000001", "stock", "list", "--lot", "LOT-2026-11")
	s.want(exitOK, "No tokens of this lot", "stock", "list", "--lot", "LOT-1")
	s.want(exitOK, "intake", "audit", "show")
	s.want(exitOK, "", "audit", "verify")
}

// TestStockBesideTheDaemon takes a list in while the daemon waits with a token that is
// not on it.
func TestStockBesideTheDaemon(t *testing.T) {
	s, serials := newStockRoom(t)
	s.Central.Order(t, 1)
	log := filepath.Join(s.Dir, "log")
	daemon := s.start(t.Context(), log, "run")
	defer func() {
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = daemon.Wait() // its exit code says what waits
	}()
	says := func(text string) bool {
		out, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(out), text)
	}
	stationtest.Eventually(t, "the daemon says that the token is not written", func() bool {
		return says("token is not written") && says(serials[0]) && says(serials[1])
	})
	s.want(exitOK, "tokens: 1", "stock", "import", s.list("list.csv", stockModel, serials[0]+",K-1"), "--by", "hand.1")
	stationtest.Eventually(t, "the token is written", func() bool { return s.Central.Units(t)[0].State == api.INSTALLED })
	s.want(exitOK, "written", "stock", "check", serials[0])
}
