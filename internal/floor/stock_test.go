package floor

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/internal/stock"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestStockroom: lots are counted, a token is told with its casing, one that is on no list
// is remembered after it was taken out, and forgotten once its list is there.
func TestStockroom(t *testing.T) {
	j, err := provision.OpenJournal(filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	takeIn := func(lot, serial string) {
		t.Helper()
		list, err := stock.Parse(strings.NewReader("token_serial,casing_number,lot,model\n" + serial + ",K-" + serial + "," + lot + ",Card 3\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := j.TakeIn(list, "hand.1", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	slot := func(serial pkcs11.TokenSerial) agent.SlotView {
		return agent.SlotView{Description: "reader", Present: true, Serial: serial, Model: "Card 3"}
	}
	slots := []agent.SlotView{slot("A1"), slot("Z9"), {Description: "empty"}}
	r := &stockroom{journal: j, log: slog.New(slog.DiscardHandler), label: func(bay string) string { return bay }, view: func() agent.View {
		return agent.View{Modules: []agent.ModuleView{{Name: "hub", Slots: slots}, {Name: "bay-01", Tokens: 1, Slots: []agent.SlotView{slot("")}}}}
	}}
	if r.Stock().Read {
		t.Error("read before it was")
	}
	takeIn("LOT-1", "A1")
	if err := r.read(); err != nil {
		t.Fatal(err)
	}
	s := r.Stock()
	if !s.Read || len(s.Lots) != 1 || s.Lots[0].Name != "LOT-1" || s.Lots[0].Delivered != 1 || s.Lots[0].Blank != 1 {
		t.Errorf("%+v", s.Lots)
	}
	if len(s.Here) != 2 || s.Here[0].Casing != "K-A1" || s.Here[0].Lot != "LOT-1" || !s.Here[0].Listed || s.Here[0].Bay != "hub · reader" || s.Here[1].Listed {
		t.Errorf("%+v", s.Here)
	}
	slots = nil
	if err := r.read(); err != nil {
		t.Fatal(err)
	}
	if s := r.Stock(); len(s.Here) != 0 || len(s.Unlisted) != 1 || s.Unlisted[0].Token != "Z9" {
		t.Errorf("%+v", s)
	}
	takeIn("LOT-2", "Z9")
	if err := r.read(); err != nil {
		t.Fatal(err)
	}
	if s := r.Stock(); len(s.Unlisted) != 0 || len(s.Lots) != 2 {
		t.Errorf("%+v", s)
	}
}
