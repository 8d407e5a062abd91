package console

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
)

// strip is a label printer beside bays: it waits for one label.
type strip struct {
	mu    sync.Mutex
	waits string
	asked []string
	done  func()
	// printed are the labels that were printed, empty one that is not.
	printed []string
	empty   string
}

func (s *strip) Print(_ context.Context, token, _ string) LabelAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if token == s.empty {
		return LabelNotSent
	}
	s.printed = append(s.printed, token)
	return LabelPrinted
}

func (s *strip) Confirm(token, _ string) LabelAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, token)
	if token != s.waits {
		return LabelWrong
	}
	s.done()
	return LabelStuck
}

// TestBrowserScansLabels: while a label waits to be scanned, what the scanner reads on any
// screen is that label, whole, or it is refused with a tone, red and a sentence; with no label
// waiting it is searched for.
func TestBrowserScansLabels(t *testing.T) {
	f := sampleFloor()
	f.bays = f.bays[:2]
	c, open := here(t, f)
	wait := func(state BayState) {
		f.arrange(func(f *floor) { f.bays[0].State, f.bays[0].Token, f.bays[0].Job = state, "T 0001", sampleJob(1) })
		c.Changed()
	}
	s := &strip{waits: "T 0001", done: func() { wait(BayEmpty) }}
	c.Labels = s
	b := consoletest.Start(t, "zh-CN")
	open(b)
	consoletest.Eval[bool](b, consoletest.Tones)
	red := func(want string) {
		t.Helper()
		b.Wait(want, fmt.Sprintf(`!document.getElementById('label-said').hidden && document.getElementById('label-said').innerText.includes(%q) &&
			document.querySelector('#label-said .sign').textContent === '✖' && getComputedStyle(document.getElementById('label-said')).backgroundColor === 'rgb(153, 27, 27)' && window.tones > 0`, want))
		consoletest.Eval[bool](b, "window.tones = 0, true")
		if faults, _ := b.Faults(); len(faults) > 0 {
			t.Error(faults)
		}
	}
	wait(BayLabel)
	b.Wait("that a label waits", "document.querySelector('header[data-label]')")
	b.Type("T0002\r")
	red("标签不对")
	b.Type("T 0")
	consoletest.Eval[bool](b, "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: ']', ctrlKey: true, bubbles: true, cancelable: true })), true")
	b.Type("001\r")
	red("不是完整的")
	consoletest.Eval[bool](b, "location.hash = '#/queue', true")
	b.Wait("another screen", "document.title === '任务队列' && document.getElementById('label-said').hidden")
	consoletest.Eval[bool](b, "document.getElementById('lock').focus(), true") // which the Enter must not press
	b.Type("T 0001\r")
	b.Wait("that it is stuck on", "document.getElementById('label-said').className === 'said good' && document.getElementById('label-said').innerText.includes('标签已贴好')")
	if faults, _ := b.Faults(); len(faults) > 0 {
		t.Error(faults)
	}
	b.Wait("that none waits", "!document.querySelector('header[data-label]')")
	consoletest.Eval[bool](b, "document.activeElement.blur(), true")
	b.Type("T 0001\r")
	b.Wait("the search", "location.hash === '#/search/T%200001' && document.getElementById('label-said').hidden")
	if n := consoletest.Eval[int](b, "window.tones"); n != 0 {
		t.Errorf("%d tones for what was right", n)
	}
	s.mu.Lock()
	asked := s.asked
	s.mu.Unlock()
	if want := []string{"T0002", "T 0001"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}

	// Those of an order are printed one after another, as far as it goes; but not where they
	// come one at a time.
	c.Books.(*shelf).arrange(func(s *shelf) {
		for i, token := range []string{"T 1", "T2", "T3"} {
			s.orders["P-1001"].Units[i].State, s.orders["P-1001"].Units[i].Token = "finished", token
		}
	})
	consoletest.Eval[bool](b, "location.hash = '#/order/P-1001', true")
	const all = "document.querySelector('[data-label=print]')"
	for last, says := range map[string]string{"T3": "3 / 3: 标签没有打印", "": "3 / 3: 标签已送到打印机", "T2": "2 / 3: 标签没有打印"} {
		s.mu.Lock()
		s.printed, s.empty = nil, last
		s.mu.Unlock()
		b.Wait("the button", all+" && !"+all+".disabled")
		consoletest.Eval[bool](b, all+".click(), true")
		b.Wait(says, fmt.Sprintf("document.querySelector('main .said')?.textContent.includes(%q) && !%s.disabled", says, all))
		want := []string{"T 1", "T2", "T3"}
		if i := slices.Index(want, last); i >= 0 {
			want = want[:i]
		}
		s.mu.Lock()
		if !slices.Equal(s.printed, want) {
			t.Errorf("printed %q, want %q", s.printed, want)
		}
		s.mu.Unlock()
	}
	if faults, _ := b.Faults(); len(faults) > 0 {
		t.Error(faults)
	}
	if zh, _ := looks(t, c, c.order("P-1001")); !strings.Contains(zh, "标签（3 张）") {
		t.Errorf("the order says\n%s", zh)
	}
	c.OneAtATime = true
	if zh, _ := looks(t, c, c.order("P-1001")); strings.Contains(zh, "data-label") {
		t.Errorf("labels come one at a time, and together:\n%s", zh)
	}
	if m := b.Messages(); len(m) > 0 {
		t.Errorf("the console says %s", strings.Join(m, "\n"))
	}
}

// TestLabelScanIsForWhoLabels: who may not confirm a label scans none.
func TestLabelScanIsForWhoLabels(t *testing.T) {
	f := sampleFloor()
	c, _ := newPage(t, f)
	for _, state := range bayStates() {
		f.arrange(func(f *floor) { f.bays = []Bay{{Name: "b", State: state}} })
		for _, role := range Roles() {
			want := (state == BayLabel || state == BayMixed) && (role == RoleWriter || role == RolePacker)
			if got := c.labelScan(Person{Roles: []Role{role}}) != ""; got != want {
				t.Errorf("%s, %s: %v", state, role, got)
			}
		}
	}
}
