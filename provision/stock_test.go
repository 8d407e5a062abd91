package provision

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/stock"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// supplied is a list of tokens of one lot and model; each row is "serial,casing".
func supplied(t *testing.T, lot, model string, rows ...string) *stock.List {
	t.Helper()
	text := "token_serial,casing_number,lot,model\n"
	for _, row := range rows {
		text += row + "," + lot + "," + model + "\n"
	}
	list, err := stock.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestTakeInIsAllOrNothing(t *testing.T) {
	j, _ := openTestJournal(t)
	first := supplied(t, "LOT-1", "sample", "A1,K1", "A2,K2")
	if err := j.TakeIn(first, "hand.1", time.Now()); err != nil {
		t.Fatal(err)
	}
	refused := []struct {
		name   string
		list   *stock.List
		line   int
		column int
	}{
		{"a serial that is in stock", supplied(t, "LOT-1", "sample", "A3,K3", "A2,K4"), 3, 1},
		{"a serial of another lot", supplied(t, "LOT-2", "sample", "A3,K3", "A1,K4"), 3, 1},
		{"a casing number that is in stock", supplied(t, "LOT-1", "sample", "A3,K3", "A4,K1"), 3, 2},
		{"a lot of another model", supplied(t, "LOT-1", "other", "A3,K3"), 2, 4},
	}
	for _, row := range refused {
		var where *stock.RowError
		if err := j.TakeIn(row.list, "hand.1", time.Now()); !errors.As(err, &where) || where.Line != row.line || where.Column != row.column || errors.Is(err, ErrJournal) {
			t.Errorf("%s: %v, want line %d, column %d", row.name, err, row.line, row.column)
		}
	}
	if err := j.TakeIn(first, "hand.2", time.Now()); !errors.Is(err, ErrTakenIn) || !strings.Contains(err.Error(), "hand.1") {
		t.Errorf("the same list again: %v", err)
	}
	tokens, err := j.Stock("")
	if err != nil || len(tokens) != 2 {
		t.Fatalf("in stock: %+v, %v", tokens, err)
	}
	if got := tokens[1]; got.Token != (stock.Token{Serial: "A2", Casing: "K2", Lot: "LOT-1", Model: "sample"}) || got.State != StockBlank || got.TakenBy != "hand.1" {
		t.Errorf("in stock: %+v", got)
	}
	// One act for what was taken in, none for what was not.
	all := acts(t, j)
	if len(all) != 1 || all[0].Kind != audit.KindIntake || all[0].IDs["by"] != "hand.1" || all[0].IDs["lot"] != "LOT-1" || all[0].IDs["tokens"] != "2" || all[0].Hashes["list"] != first.SHA256 {
		t.Errorf("on record: %+v", all)
	}
	// A second list of the lot.
	if err := j.TakeIn(supplied(t, "LOT-1", "sample", "A3,K3"), "hand.2", time.Now()); err != nil {
		t.Error(err)
	}
	if tokens, err := j.Stock("LOT-1"); err != nil || len(tokens) != 3 {
		t.Errorf("in stock: %+v, %v", tokens, err)
	}
	if tokens, err := j.Stock("LOT-2"); err != nil || len(tokens) != 0 {
		t.Errorf("of a lot that was refused: %+v, %v", tokens, err)
	}
}

func TestWhatBecameOfADeliveredToken(t *testing.T) {
	j, _ := openTestJournal(t)
	var rows []string
	for n := range 7 {
		rows = append(rows, fmt.Sprintf("A%d,K%d", n, n))
	}
	if err := j.TakeIn(supplied(t, "LOT", "sample", rows...), "hand.1", time.Now()); err != nil {
		t.Fatal(err)
	}
	want := []StockState{StockBlank, StockAtWork, StockWritten, StockQuarantined, StockBlank, StockRefused, StockWritten}
	ends := []State{"", StateRunning, StateFinished, StateQuarantined, StateFailed, StateFailed, StateFinished}
	job := func(n int, state State, facts Facts) {
		t.Helper()
		rec, err := j.Create(sampleJob(n+1), 1, token(fmt.Sprint("A", n)))
		if err != nil {
			t.Fatal(err)
		}
		facts.DeliveredAs = pkcs11.TokenSerial(fmt.Sprint("A", n))
		rec.State, rec.Facts = state, facts
		// Initialising may give a token another serial.
		rec.Token.Identity.Serial = pkcs11.TokenSerial(fmt.Sprint("B", n))
		if state.Final() {
			err = j.Finish(rec, nil)
		} else {
			err = j.Save(rec, "generate-key", "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for n, state := range ends {
		if state == "" {
			continue
		}
		if n == 6 { // its first unit was given back, the second is on it
			job(n, StateFailed, Facts{})
		}
		job(n, state, Facts{FactoryTried: n == 5})
	}
	tokens, err := j.Stock("LOT")
	if err != nil || len(tokens) != len(want) {
		t.Fatalf("%+v, %v", tokens, err)
	}
	for n, got := range tokens {
		if got.State != want[n] || (got.Unit == "") != (n == 0) {
			t.Errorf("%s is %s, unit %q, want %s", got.Serial, got.State, got.Unit, want[n])
		}
	}
	for serial, known := range map[pkcs11.TokenSerial]bool{"A2": true, "B2": true, "B0": false, "C1": false, "": false} {
		if got, err := j.KnowsToken(serial, "sample"); err != nil || got != known {
			t.Errorf("the token %q is known: %t, %v", serial, got, err)
		}
	}
}

// TestOnlyDeliveredTokensAreWritten runs a job on a real token that came initialised.
func TestOnlyDeliveredTokensAreWritten(t *testing.T) {
	const model = "SoftHSM v2"
	rows := []struct {
		name    string
		list    func(serial string) []string // of LOT, beside another token
		model   string
		only    bool
		refused bool
	}{
		{"on the list", func(serial string) []string { return []string{serial + ",K1"} }, model, true, false},
		{"not on the list", func(string) []string { return nil }, model, true, true},
		{"not on the list, where nobody minds", func(string) []string { return nil }, model, false, false},
		{"on the list as another model", func(serial string) []string { return []string{serial + ",K1"} }, "Card 3", true, true},
		{"on the list with its serial as casing number", func(serial string) []string { return []string{"A1," + serial} }, model, true, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStation(t)
			s.runner.DeliveredOnly = row.only
			s.runner.TokenProfile = func(pkcs11.TokenInfo) (TokenProfile, error) {
				return TokenProfile{
					Name: "factory", SOPIN: PINPolicy{Length: 16, Alphabet: "0123456789"}, WorstKeyGeneration: time.Minute,
					FactorySOPIN: pkcs11.NewSOPIN("87654321"),
				}, nil
			}
			m := s.module()
			rec := s.create(m, 1)
			s.factoryToken(t)
			serial := s.initialised(t).Serial
			rec.Token.Identity = pkcs11.Identity{Serial: serial}
			list := append([]string{"OTHER,K9"}, row.list(string(serial))...)
			if err := s.runner.Journal.TakeIn(supplied(t, "LOT", row.model, list...), "hand.1", time.Now()); err != nil {
				t.Fatal(err)
			}
			before := tokenFiles(t, s.bay.Dir)
			err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{})
			if !row.refused {
				if err != nil || rec.State != StateFinished {
					t.Fatalf("state %s: %v", rec.State, err)
				}
				s.checkToken(rec)
				if want := row.list(string(serial)) != nil; (rec.Facts.DeliveredAs == serial) != want {
					t.Errorf("delivered as %q", rec.Facts.DeliveredAs)
				}
				if got, err := s.runner.Journal.StockToken(string(serial)); err != nil || got != nil && got.State != StockWritten {
					t.Errorf("in stock: %+v, %v", got, err)
				}
				return
			}
			var why *StepError
			if !errors.Is(err, ErrNotDelivered) || !errors.As(err, &why) || why.Step != StepIdentify || why.Class != ClassTerminal || !strings.Contains(why.Hint, "usbkeyd stock import") {
				t.Errorf("got %v", err)
			}
			if rec.State != StateFailed || rec.Facts.Touched {
				t.Errorf("state %s, touched %t", rec.State, rec.Facts.Touched)
			}
			if after := tokenFiles(t, s.bay.Dir); after != before {
				t.Errorf("the token was changed:\n%s\nwas\n%s", after, before)
			}
		})
	}
}

// TestNoListNoToken: a list that cannot be read lets no token pass.
func TestNoListNoToken(t *testing.T) {
	j, _ := openTestJournal(t)
	if _, err := j.db.Exec("DROP TABLE stock"); err != nil {
		t.Fatal(err)
	}
	for _, only := range []bool{true, false} {
		if _, err := (&Runner{Journal: j, DeliveredOnly: only}).Delivered(pkcs11.TokenInfo{Serial: "A1"}); !errors.Is(err, ErrJournal) {
			t.Errorf("deliveredOnly %t: %v", only, err)
		}
	}
}

// tokenFiles tells all files of a folder with their SHA-256.
func tokenFiles(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintf(&out, "%s %s\n", path, sha256hex(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAnOlderJournalGetsAStock(t *testing.T) {
	j, path := openTestJournal(t)
	rec, err := j.Create(sampleJob(1), 1, token("A1"))
	if err != nil {
		t.Fatal(err)
	}
	backTo(t, j, 5)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if err := again.TakeIn(supplied(t, "LOT", "sample", "A1,K1"), "hand.1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if got, err := again.Job(rec.Job.ID); err != nil || got == nil {
		t.Errorf("its job: %+v, %v", got, err)
	}
	if got, err := again.StockToken("A1"); err != nil || got == nil || got.State != StockBlank {
		t.Errorf("its stock: %+v, %v", got, err)
	}
}
