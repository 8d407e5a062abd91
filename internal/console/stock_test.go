package console

import (
	"strings"
	"testing"
)

// sampleStock is a stock with two lots.
type sampleStock struct{}

func (sampleStock) Stock() Stock {
	stranger := Found{Bay: "bay-03", Token: "Z9", Model: "Card 3"}
	return Stock{
		Read: true, DeliveredOnly: true,
		Lots: []Lot{
			{Name: "LOT-2026-10", Model: "Card 3", Delivered: 200, Written: 198, Quarantined: 2},
			{Name: "LOT-2026-11", Model: "Card 3", Delivered: 1000, Blank: 990, AtWork: 4, Written: 5, Refused: 1},
		},
		Here:     []Found{{Bay: "bay-01", Token: "A0000001", Model: "Card 3", Casing: "K-000001", Lot: "LOT-2026-11", Listed: true}, stranger},
		Unlisted: []Found{stranger},
	}
}

// emptyStock has nothing yet.
type emptyStock struct{ read bool }

func (e emptyStock) Stock() Stock { return Stock{Read: e.read} }

// TestStock: lots with their sums, which token is in which casing, and those on no list.
func TestStock(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	text := func(w *words) string {
		t.Helper()
		f, err := c.stock(w, Person{ID: "auditor.a", Roles: []Role{RoleAuditor}})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, p := range f.Parts {
			b.WriteString(p[1])
		}
		return b.String()
	}
	for i, rows := range [][]string{
		{"只写到货清单", "令牌：1 个", "Z9", "空白", "LOT-2026-10", "LOT-2026-11", "合计", ">1,200<", "<strong>990</strong>", ">203<", "K-000001", "不在到货清单上"},
		{"delivered tokens only", "1 token was seen", "Z9", "Blank", "LOT-2026-10", "LOT-2026-11", "Altogether", ">1,200<", "<strong>990</strong>", ">203<", "K-000001", "On no list"},
	} {
		rest := text(c.words[i])
		for _, want := range rows {
			_, after, ok := strings.Cut(rest, want)
			if !ok {
				t.Fatalf("%q does not follow in\n%s", want, rest)
			}
			rest = after
		}
	}
	c.Stockroom = emptyStock{}
	if got := text(c.words[1]); !strings.Contains(got, "being read") || strings.Contains(got, "Altogether") {
		t.Errorf("before it was read: %s", got)
	}
	c.Stockroom = emptyStock{true}
	if got := text(c.words[1]); !strings.Contains(got, "No list of delivered tokens was taken in yet") || !strings.Contains(got, "also writes") || strings.Contains(got, "Altogether") {
		t.Errorf("nothing delivered: %s", got)
	}
}
