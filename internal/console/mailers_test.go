package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// post is a postroom that a test arranges; it notes what it was asked.
type post struct {
	mu      sync.Mutex
	letters []Letter
	answer  Answer
	asked   []string
	hold    chan struct{} // print waits for it, if there is one
	stops   string        // the unit of whose letter nothing is known
}

func (p *post) Letters() ([]Letter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.letters), nil
}

func (p *post) note(what, unit, by string) (Answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, what+" "+unit+" "+by)
	answer := p.answer
	answer.Done = answer.Done && unit != p.stops
	return answer, nil
}

func (p *post) Print(_ context.Context, unit, by string) (Answer, error) {
	if p.hold != nil {
		<-p.hold
	}
	return p.note("print", unit, by)
}

func (p *post) Reprint(_ context.Context, unit, by string) (Answer, error) {
	return p.note("reprint", unit, by)
}
func (p *post) Confirm(unit, by string) (Answer, error) { return p.note("confirm", unit, by) }

// TestMailersScreen: letters in every state, order by order, with what may be done next; one
// is printed at a time.
func TestMailersScreen(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	p := &post{hold: make(chan struct{})}
	c.Mailers = p
	for i, s := range letterStates() {
		p.letters = append(p.letters, Letter{
			Unit: "P-1001-" + string(s), Order: []string{"P-1001", "P-1002"}[i%2], Company: "示例客车配件有限公司", Bay: "bay-01", Token: "T1",
			Sequence: i + 1, Of: 6, State: s, Sheets: 1, PrintedBy: "mailer.c", Outcome: map[LetterState]string{LetterUnknown: "no-paper", LetterPrinted: "completed"}[s],
			Says: "CUPS says <so>.", Sheet: []string{"经办人甲 收"},
		})
	}
	slices.SortStableFunc(p.letters, func(a, b Letter) int { return strings.Compare(a.Order, b.Order) })
	for i, w := range c.words {
		text := frameOf(t, c.mailers, w, RoleMailer)
		for _, both := range [][2]string{
			{"等待中心服务器", "Waits for the central server"}, {"待打印", "To be printed"}, {"打印结果未知", "Outcome unknown"}, {"已打印，待确认", "Printed, to be confirmed"}, {"已完成", "Done"}, {"请重印", "print anew"},
			{"打印机缺纸", "out of paper"}, {"••••••••", "••••••••"}, {"经办人甲 收", "经办人甲 收"}, {"CUPS says &lt;so&gt;.", "CUPS says &lt;so&gt;."}, {"已确认 1 / 3 封", "1 of 3 letters confirmed"},
		} {
			if !strings.Contains(text, both[i]) {
				t.Errorf("%s does not say %q:\n%s", w.name, both[i], text)
			}
		}
		for what, units := range map[string][]LetterState{
			"print": {LetterReady}, "confirm": {LetterUnknown, LetterPrinted}, "reprint": {LetterUnknown, LetterPrinted, LetterConfirmed, LetterSetting},
		} {
			for _, s := range letterStates() {
				if got := strings.Contains(text, `id="`+what+"-P-1001-"+string(s)+`"`); got != slices.Contains(units, s) {
					t.Errorf("a letter that is %s may be told to %s: %v", s, what, got)
				}
			}
		}
	}
	if text := frameOf(t, c.mailers, c.words[0], RoleAuditor); strings.Contains(text, "data-act") {
		t.Error("who only looks can print")
	}
	v := signIn(t, c, "mailer.c", RoleMailer)
	p.answer = Answer{Said: Say("The printer is stopped or takes no sheets; nothing was printed. Look at the printer (paper, cover, jam), then have it enabled again."), Cause: "it is stopped"}
	done := make(chan error, 1)
	code := v.wants(t, "print", "P-1001-ready")
	second := v.wants(t, "reprint", "P-1001-printed")
	go func() { done <- give(c.acts, code, mailerC(), false) }()
	for c.busyWith() == "" {
		runtime.Gosched()
	}
	if text := frameOf(t, c.mailers, c.words[0], RoleMailer); !strings.Contains(text, "正在打印 P-1001-ready") || strings.Contains(text, "data-act") {
		t.Error("while a letter is printed, that is not said, or something else may be done")
	}
	if err := give(c.acts, second, mailerC(), false); err != nil || c.failureOf(second) != PrinterBusy {
		t.Errorf("two letters at once: %v, %v", err, c.failureOf(second))
	}
	close(p.hold)
	if err := <-done; err != nil || c.failureOf(code) != LetterStopped {
		t.Errorf("print: %v, %v", err, c.failureOf(code))
	}
	for i, want := range []string{"打印机已停止", "The printer is stopped"} {
		if text := frameOf(t, c.mailers, c.words[i], RoleMailer); !strings.Contains(text, want) || !strings.Contains(text, "it is stopped") {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if err := give(c.acts, v.wants(t, "reprint", "P-1001-printed"), mailerC(), false); err != nil {
		t.Error(err)
	}
	v.act("/mailers", "confirm", "P-1001-printed")
	if want := []string{"print P-1001-ready mailer.c", "reprint P-1001-printed mailer.c", "confirm P-1001-printed mailer.c"}; !slices.Equal(p.asked, want) {
		t.Errorf("asked %v", p.asked)
	}
	for _, wrong := range [][2]string{{"/mailers", "print"}, {"/mailers/print", "confirm"}, {"/mailers", ""}} {
		if status := v.act(wrong[0], wrong[1], "P-1001-ready"); status != http.StatusBadRequest {
			t.Errorf("%v: %d", wrong, status)
		}
	}
	for _, not := range [][2]string{{"print", "P-1001-early"}, {"print", "P-1001-printed"}, {"reprint", "P-1001-ready"}, {"print", "P-1001"}, {"print-order", "P-1001-ready"}} {
		if status := v.act("/mailers/print", not[0], not[1]); status != http.StatusConflict {
			t.Errorf("%v: %d", not, status)
		}
	}
	if len(p.asked) != 3 {
		t.Errorf("asked %v", p.asked)
	}
}

func mailerC() Person { return Person{UID: 1000, ID: "mailer.c", Roles: []Role{RoleMailer}} }

// wants asks for letters at the page, and returns the code.
func (v *visitor) wants(t *testing.T, what, of string) string {
	t.Helper()
	if status := v.act("/mailers/print", what, of); status != http.StatusAccepted {
		t.Fatalf("%s %s: %d", what, of, status)
	}
	return v.c.acts.mine(mailerC())[0].code
}

// failureOf is why an act failed.
func (c *Console) failureOf(code string) error {
	for _, p := range c.acts.mine(mailerC()) {
		if p.code == code {
			return p.failure
		}
	}
	return nil
}

// TestLettersOfAnOrder: nothing is printed before it is confirmed; then those of the order
// that could be printed when it was asked for are, in their order, and no others, up to the
// first that is not known to be done.
func TestLettersOfAnOrder(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	p := &post{answer: Answer{Said: Say("The sheet of %s was handed to the printer. With it in your hand, whole and readable, confirm it; otherwise print it anew with another PIN.", "x"), Done: true}}
	c.Mailers = p
	letter := func(order string, n int, s LetterState) Letter {
		return Letter{Unit: fmt.Sprintf("%s-%03d", order, n), Order: order, Sequence: n, Of: 5, State: s}
	}
	arrange := func(letters ...Letter) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.letters, p.asked, p.stops = letters, nil, ""
	}
	three := func(more ...Letter) []Letter {
		return append([]Letter{letter("P-1", 3, LetterReady), letter("P-1", 1, LetterReady), letter("P-1", 4, LetterEarly), letter("P-1", 2, LetterReady), letter("P-2", 1, LetterReady)}, more...)
	}
	v := signIn(t, c, "mailer.c", RoleMailer)
	asked := func(want ...string) {
		t.Helper()
		for i, u := range want {
			want[i] = "print " + u + " mailer.c"
		}
		if !slices.Equal(p.asked, want) {
			t.Errorf("printed %q, want %q", p.asked, want)
		}
	}

	arrange(three()...)
	if text := frameOf(t, c.mailers, c.words[0], RoleMailer); !strings.Contains(text, `id="print-order-P-1"`) || !strings.Contains(text, "（3 封）") {
		t.Errorf("the screen does not offer it:\n%s", text)
	}
	code := v.wants(t, "print-order", "P-1")
	asked()
	if act, err := c.acts.see(code, mailerC()); err != nil || act.What != "print-order" || act.Of != "P-1" || !strings.Contains(act.Exactly, "P-1-003 ") || strings.Contains(act.Exactly, "P-1-004") || strings.Contains(act.Exactly, "P-2") {
		t.Errorf("it is shown as %q, %v", act.Exactly, err)
	}
	other := mailerC()
	other.UID, other.ID = 1001, "mailer.d"
	if err := give(c.acts, code, other, false); err == nil {
		t.Error("another person confirmed it")
	}
	asked()
	p.letters[2].State = LetterReady // in between
	p.letters = append(p.letters, letter("P-1", 5, LetterReady))
	if err := give(c.acts, code, mailerC(), false); err != nil || c.failureOf(code) != nil {
		t.Errorf("%v, %v", err, c.failureOf(code))
	}
	asked("P-1-003", "P-1-001", "P-1-002")
	for i, want := range []string{"已打印 3 / 3 封：", "3 of 3 letters printed:"} {
		if text := frameOf(t, c.mailers, c.words[i], RoleMailer); !strings.Contains(text, want+" P-1-003, P-1-001, P-1-002") {
			t.Errorf("the screen does not say %q:\n%s", want, text)
		}
	}
	if err := give(c.acts, code, mailerC(), false); err == nil {
		t.Error("confirmed twice")
	}
	asked("P-1-003", "P-1-001", "P-1-002")

	arrange(three()...)
	code = v.wants(t, "print-order", "P-1")
	p.letters[1].State = LetterUnknown
	if err := give(c.acts, code, mailerC(), false); !errors.Is(err, errChanged) {
		t.Errorf("one of them was printed meanwhile: %v", err)
	}
	asked()

	arrange(three()...)
	code = v.wants(t, "print-order", "P-1")
	p.stops = "P-1-001"
	if err := give(c.acts, code, mailerC(), false); err != nil || c.failureOf(code) != LetterStopped {
		t.Errorf("%v, %v", err, c.failureOf(code))
	}
	asked("P-1-003", "P-1-001")
	if text := frameOf(t, c.mailers, c.words[1], RoleMailer); !strings.Contains(text, "1 of 3 letters printed: P-1-003<") {
		t.Errorf("the screen does not say which were printed:\n%s", text)
	}
	for _, no := range []No{NoLetter, PrinterBusy, LetterStopped} {
		for _, w := range c.words {
			if _, err := w.say("no." + string(no)); err != nil {
				t.Error(err)
			}
		}
	}
}

func (c *Console) busyWith() string {
	c.slot.mu.Lock()
	defer c.slot.mu.Unlock()
	return c.slot.busy
}
