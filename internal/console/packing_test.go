package console

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/internal/packing/packingtest"
)

// table is a packing table in memory: what decides is package packing, as at a station.
type table struct {
	t testing.TB

	mu     sync.Mutex
	desk   packing.Desk
	orders map[string][]packing.Unit
	acts   []packing.Act
	wish   *Insertion
	closed []Closed
	err    error
}

// newTable has orders of so many keys, whose token serials are the order's first letter and
// a number.
func newTable(t testing.TB, verify packing.Policy, quantities map[string]int) *table {
	t.Helper()
	g, err := packing.NewGrammar([]string{"SF[0-9]{12,13}"})
	if err != nil {
		t.Fatal(err)
	}
	out := &table{t: t, desk: packing.Desk{Grammar: g, Verify: verify}, orders: map[string][]packing.Unit{}}
	for order, n := range quantities {
		for i := range n {
			id := packing.UnitID(order, i+1)
			out.orders[order] = append(out.orders[order], packing.Unit{ID: id, Order: order, Sequence: i + 1, Of: n, Standing: packing.Ready, Job: id + "-g1-1", Token: fmt.Sprintf("%s%d", order[:1], i+1)})
		}
	}
	return out
}

func (t *table) means(code string) (m packing.Meaning) {
	_, m.Order = t.orders[code]
	for _, units := range t.orders {
		for _, u := range units {
			if u.Token == code {
				m.Units = append(m.Units, u)
			}
		}
	}
	return m
}

// Act implements Packing.
func (t *table) Act(act PackingAct, code, by string) (Answer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return Answer{}, t.err
	}
	var a packing.Act
	var err error
	switch act {
	case ActScan:
		a, err = t.desk.Scan(code, t.means(code), by)
	case ActUndo:
		a, err = t.desk.Undo(code)
	case ActLeaveOut:
		a, err = t.desk.LeaveOut(code)
	case ActClose:
		a, err = t.desk.Close(by)
	case ActVerify:
		var k packing.Key
		if k, err = t.desk.ToVerify(code); err == nil {
			t.wish = &Insertion{Token: k.Token, State: "wanted", Says: "Put it in.", Asked: noon.Add(time.Duration(len(t.acts)) * time.Second)}
			a, err = t.desk.Verified(k)
		}
	}
	var refusal *packing.Refusal
	if errors.As(err, &refusal) {
		return Answer{Said: refusal.Says, Stops: refusal.Reason.Stops() && act == ActScan}, nil
	}
	if err != nil {
		t.t.Errorf("%s %q: %v", act, code, err)
	}
	a.N, a.Parcel, a.By, a.At = int64(len(t.acts)+1), t.desk.Parcel.N, by, noon
	if a.Kind == packing.Opened {
		a.Parcel = a.N
	}
	t.acts = append(t.acts, a)
	t.desk.Parcel = packing.Replay(slices.DeleteFunc(slices.Clone(t.acts), func(b packing.Act) bool { return b.Parcel != a.Parcel }))
	t.desk.Units = t.orders[t.desk.Parcel.Order]
	return Answer{Said: t.desk.Done(a), Done: true}, nil
}

// Table implements Packing.
func (t *table) Table() (Table, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := Table{Shapes: packing.Shapes(), Closed: slices.Clone(t.closed)}
	if p := t.desk.Parcel; p.Open() {
		out.Parcel = &Parcel{Order: p.Order, Company: "示例客车配件有限公司", Waybill: p.Waybill, Insertion: t.wish}
		for _, u := range t.desk.Units {
			row := PackKey{Unit: u.ID, Token: u.Token, Sequence: u.Sequence, Of: u.Of, Standing: string(u.Standing), LeftOut: slices.Contains(p.LeftOut, u.ID), MayBeLeftOut: u.MayBeLeftOut()}
			for _, k := range p.Keys {
				if k.Unit == u.ID {
					row.ScannedBy, row.Verified, row.Insert = k.By, k.Verified, !k.Verified && t.desk.WantsInsertion()
				}
			}
			out.Parcel.Keys = append(out.Parcel.Keys, row)
		}
		for _, s := range t.desk.Left() {
			out.Parcel.Left = append(out.Parcel.Left, s)
		}
	}
	for order, units := range t.orders {
		if !t.desk.Parcel.Open() || t.desk.Parcel.Order != order {
			out.Orders = append(out.Orders, PackOrder{Order: order, Company: "示例客车配件有限公司", Due: noon, Ready: true, Standings: []Standing{{"ready", len(units)}}})
		}
	}
	slices.SortFunc(out.Orders, func(a, b PackOrder) int { return cmp.Compare(a.Order, b.Order) })
	return out, nil
}

func (t *table) arrange(change func(*table)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change(t)
}

// do does an act at the page, and returns the status.
func (v *visitor) act(path, name, code string) int {
	body, err := json.Marshal(map[string]string{"act": name, "code": code})
	if err != nil {
		return 0
	}
	return v.do(http.MethodPost, path, string(body), nil).Code
}

// TestNoOrderOfScansAtThePage has a packer scan every order of two orders' serials, one of
// them twice, and the waybill, with an undo somewhere, closing being tried after each; the
// page is compared with a careful person. Whoever has the wrong key in the hand scans nothing
// else before that is acknowledged.
func TestNoOrderOfScansAtThePage(t *testing.T) {
	const undoing, closing = "(undo)", "(close)"
	runs, closed, stops := 0, 0, 0
	packingtest.Permute([]string{"A1", "A2", "B1", "B2", "A1", "SF123456789012"}, func(codes []string) {
		c, _ := newPage(t, sampleFloor())
		on := newTable(t, packing.VerifyNever, map[string]int{"ALPHA-1": 2, "BRAVO-1": 2})
		c.Packing = on
		v := signIn(t, c, "packer.b", RolePacker)
		if status := v.act("/packing", "scan", "ALPHA-1"); status != http.StatusNoContent || !on.desk.Parcel.Open() {
			t.Fatalf("open: %d", status)
		}
		box := &packingtest.Box{Want: []string{"A1", "A2"}}
		var steps []string
		for i, code := range codes {
			if i == runs%(len(codes)+1) {
				steps = append(steps, undoing)
			}
			steps = append(steps, code, closing)
		}
		for i, s := range steps {
			before := on.desk.Parcel.Tokens()
			switch s {
			case undoing:
				if box.Bare() {
					continue // it would drop the parcel
				}
				v.act("/packing", "undo", "")
				box.TakeBack()
			case closing:
				v.act("/packing", "close", "")
				box.Close()
			default:
				v.act("/packing", "scan", s)
				belongs := box.Put(s)
				if foreign := strings.HasPrefix(s, "B") && !box.Shut; foreign != c.counter.Stops {
					t.Fatalf("%v, step %d: %s stops: %v", steps, i, s, c.counter.Stops)
				} else if foreign {
					stops++
					for _, next := range append([]string{"A1", "A2"}, codes...) { // the key is still in the hand
						if status := v.act("/packing", "scan", next); status != http.StatusConflict || belongs || !slices.Equal(on.desk.Parcel.Tokens(), before) {
							t.Fatalf("%v, step %d: %s is taken (%d) before %s was acknowledged", steps, i, next, status, s)
						}
					}
					if status := v.act("/packing", "close", ""); status != http.StatusConflict {
						t.Fatalf("closing is not stopped: %d", status)
					}
					v.act("/packing", "acknowledge", "")
				}
			}
			p := on.desk.Parcel
			if !slices.Equal(p.Tokens(), box.Keys) || (p.Waybill != "") != box.Waybill || p.Open() == box.Shut {
				t.Fatalf("%v, step %d: parcel %v with waybill %q, open %v; want %+v", steps, i, p.Tokens(), p.Waybill, p.Open(), box)
			}
		}
		if runs++; box.Shut {
			closed++
		}
	})
	if runs != 720 || closed < 50 || stops < 1000 {
		t.Errorf("%d orders of scans, %d closed, %d stopped", runs, closed, stops)
	}
}

// frameOf is a screen as a person sees it, as text.
func frameOf(t *testing.T, look screen, w *words, roles ...Role) string {
	t.Helper()
	f, err := look(w, Person{ID: "packer.b", Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, p := range f.Parts {
		out.WriteString(p[1])
	}
	return out.String()
}

// TestPackingScreen: what the table holds is there in both languages, and who may only look
// has nothing to press.
func TestPackingScreen(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	on := newTable(t, packing.VerifySeveral, map[string]int{"ALPHA-1": 2, "BRAVO-1": 1})
	c.Packing = on
	v := signIn(t, c, "packer.b", RolePacker)
	says := func(want ...string) {
		t.Helper()
		for i, w := range c.words {
			text := frameOf(t, c.packing, w, RolePacker)
			for _, both := range want {
				zh, en, _ := strings.Cut(both, "|")
				if one := []string{zh, cmp.Or(en, zh)}[i]; !strings.Contains(text, one) {
					t.Errorf("%s does not say %q:\n%s", w.name, one, text)
				}
			}
		}
	}
	says("ALPHA-1", "BRAVO-1", "可以装箱|ready to be packed", "可装 2 把|2 ready", "打开包裹|to open its parcel")
	for _, code := range []string{"ALPHA-1", "A1"} {
		v.act("/packing", "scan", code)
	}
	says("A1 已装入包裹（1 / 2 把）|A1 is in the parcel (1 of 2 keys).", "顺丰到付|collect", "已装入（packer.b 扫描）|scanned by packer.b", "待插入核对|to be inserted and verified", "尚未扫描|not scanned yet",
		"第 2 把 / 共 2 把（ALPHA-1-002）尚未扫描|Key 2 of 2 (ALPHA-1-002) is not scanned yet", "尚未录入运单号|The waybill is not entered")
	if text := frameOf(t, c.packing, c.words[0], RolePacker); strings.Contains(text, "close-parcel") {
		t.Error("a parcel that is not whole can be closed")
	}
	if text := frameOf(t, c.packing, c.words[0], RoleAuditor); strings.Contains(text, "data-act") || strings.Contains(text, `id="code"`) || !strings.Contains(text, "只能查看") {
		t.Errorf("who only looks sees\n%s", text)
	}
	v.act("/packing", "scan", "B1")
	says(`class="stop"`, "拿错了：B1 属于订单 BRAVO-1|Wrong key: B1 belongs to order BRAVO-1", "已放到一边|put aside", `data-tone="0"`)
	v.act("/packing", "scan", "A2")
	says("又扫了 1 次|Scanned 1 time since", `data-tone="1"`)
	v.act("/packing", "acknowledge", "")
	v.act("/packing", "scan", "A2")
	v.act("/packing", "verify", "A2")
	says("请现在插入令牌 A2|Insert the key A2 now", "已插入核对|verified at the chip")
	on.arrange(func(t *table) { t.wish.State, t.wish.Stops = "wrong-key", true })
	says(`class="stop"`, "标签贴错了|the labels are wrong", "Put it in.")
	if status := v.act("/packing", "scan", "SF123456789012"); status != http.StatusConflict {
		t.Errorf("after a wrong key was put in: %d", status)
	}
	v.act("/packing", "acknowledge", "")
	v.act("/packing", "scan", "SF123456789012")
	v.act("/packing", "verify", "A1")
	says("运单号 SF123456789012|waybill SF123456789012", "close-parcel")
	v.act("/packing", "close", "")
	on.arrange(func(t *table) {
		t.closed = []Closed{{Order: "ALPHA-1", Waybill: "SF123456789012", By: "packer.b", At: noon, Keys: 2, Refused: []string{"ALPHA-1-001: same-person"}}}
	})
	says("包裹已封箱|The parcel is closed.", "服务器拒绝|The server refuses it", "ALPHA-1-001: same-person")
	on.err = errors.New("the disk is full")
	if status := v.act("/packing", "undo", ""); status != http.StatusInternalServerError {
		t.Errorf("the station cannot do it: %d", status)
	}
	if status := v.act("/packing", "burn", ""); status != http.StatusBadRequest {
		t.Errorf("an act that does not exist: %d", status)
	}
}

// TestEveryStandingHasWords: whatever a unit is to the table.
func TestEveryStandingHasWords(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	for _, s := range packing.Standings() {
		for _, key := range []string{"standing." + string(s), "count." + string(s)} {
			if !c.words[0].keys[key] {
				t.Errorf("there is no text %q", key)
			}
		}
	}
}
