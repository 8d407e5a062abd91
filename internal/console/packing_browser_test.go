package console

import (
	"fmt"
	"os/user"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// TestBrowserScanner: a scanner types into whatever has the focus; what it reads is taken
// whole or not at all, what a person types stays what it is, and a wrong key is heard.
func TestBrowserScanner(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	f := sampleFloor()
	c, socket := served(t, f, map[Role]Accounts{RolePacker: {Users: []string{me.Username}}})
	on := newTable(t, packing.VerifySeveral, map[string]int{"ALPHA-1": 1, "BRAVO-1": 2})
	on.orders["ALPHA-1"][0].Token, on.orders["BRAVO-1"][0].Token, on.orders["BRAVO-1"][1].Token = "A001", "B001", "B 02"
	c.Packing = on
	b := consoletest.Start(t, "zh-CN")
	link, _, err := Ask(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	path, err := WriteLink(t.TempDir(), link)
	if err != nil {
		t.Fatal(err)
	}
	b.Open("file://" + path)
	b.Wait("a screen", "document.body.dataset.state === 'live'")
	if text := b.Text(); !strings.Contains(text, "装箱") || strings.Contains(text, "密码信封") {
		t.Errorf("the screens of a packer:\n%s", text)
	}
	consoletest.Eval[bool](b, consoletest.Tones)
	consoletest.Eval[bool](b, "location.hash = '#/packing', true")
	b.Wait("the table", "document.title === '装箱' && document.querySelector('.scanner')")
	keys := func() string { return fmt.Sprint(on.snapshot()) }
	said := func(what string) {
		t.Helper()
		b.Wait(what, fmt.Sprintf("document.querySelector('main').innerText.includes(%q)", what))
	}
	heard := func(want bool) {
		t.Helper()
		if got := consoletest.Eval[int](b, "window.tones") > 0; got != want {
			t.Errorf("a tone was asked for: %v, want %v", got, want)
		}
		consoletest.Eval[bool](b, "window.tones = 0, true")
	}
	reachable := func() {
		t.Helper()
		if faults, seen := b.Faults(); len(faults) > 0 || seen < 8 {
			t.Errorf("of %d texts: %s", seen, strings.Join(faults, "\n"))
		}
	}
	reachable()

	// With the focus nowhere, and on a button, which the Enter must not press.
	b.Type("BRAVO-1\r")
	said("订单 BRAVO-1 的包裹已打开")
	heard(false)
	consoletest.Eval[bool](b, "document.getElementById('undo-last').focus(), true")
	b.Type("B001\r")
	said("B001 已装入包裹（1 / 2 把）")
	b.Type("B 02\r")
	said("B 02 已装入包裹（2 / 2 把）")
	reachable()
	b.Wait("what was still to be done", "document.querySelectorAll('.parcel .in').length === 2")

	// A wrong key: a tone, red, a sign and a sentence, and nothing goes on.
	b.Type("A001\r")
	said("拿错了：A001 属于订单 ALPHA-1")
	b.Wait("the sign", "document.querySelector('.stop .sign').textContent.includes('✖') && getComputedStyle(document.querySelector('.stop')).backgroundColor === 'rgb(153, 27, 27)'")
	b.Wait("the focus", "document.activeElement.id === 'acknowledge'")
	heard(true)
	reachable()
	b.Type("A001\r") // the Enter of a scanner acknowledges nothing
	said("确认前又扫了 1 次")
	heard(true)
	if got := keys(); got != "[B001 B 02]open" {
		t.Errorf("in the parcel: %s", got)
	}
	pause := func() { consoletest.Eval[bool](b, "new Promise((done) => setTimeout(() => done(true), 400))") }
	pause() // after a code, an Enter is the scanner's for a moment
	consoletest.Eval[bool](b, "document.getElementById('acknowledge').focus(), true")
	b.Type("\r") // a person's
	b.Wait("the end of the stop", "!document.querySelector('.stop')")

	// What is no whole code is dropped, and said.
	// What such keys are to a page: GS from a scanner, an input method, another script.
	strange := []string{`key: ']', ctrlKey: true`, `key: 'Process', keyCode: 229`, `key: '钥'`, `key: 'ArrowLeft'`}
	for i, dirty := range []string{"B0", "B00", "B00", "B0", strings.Repeat("B", 65), "B001 "} {
		b.Type(dirty)
		if i < len(strange) {
			consoletest.Eval[bool](b, "document.body.dispatchEvent(new KeyboardEvent('keydown', { "+strange[i]+", bubbles: true, cancelable: true })), true")
			b.Type("1")
		}
		b.Type("\r")
		b.Wait("that it was not taken", "!document.getElementById('scan-illegible').hidden")
		heard(true)
		b.Type("B001\r") // which is there already
		b.Wait("the end of that", "document.getElementById('scan-illegible').hidden")
		said("由 " + me.Username + " 扫描")
	}
	if got := keys(); got != "[B001 B 02]open" {
		t.Errorf("in the parcel: %s", got)
	}

	// A person types into the field, slowly; what stands there stays when the scanner types
	// into it, or the screen changes.
	consoletest.Eval[bool](b, "document.getElementById('code').focus(), true")
	slowly := func(text string) {
		t.Helper()
		for _, r := range text {
			b.Type(string(r))
			consoletest.Eval[bool](b, "new Promise((done) => setTimeout(() => done(true), 90))")
		}
	}
	slowly("SF12")
	if got := consoletest.Eval[string](b, "document.getElementById('code').value"); got != "SF12" {
		t.Errorf("the field holds %q", got)
	}
	pause()
	// As fast as a scanner, however busy the machine is.
	scanned := func(text string, keys string) {
		t.Helper()
		consoletest.Eval[bool](b, fmt.Sprintf(`[...%q, %s].forEach((key) => {
			const at = document.activeElement;
			at.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
			if (at.matches('input') && key.length === 1) at.value += key;
		}) ?? true`, text, keys))
	}
	scanned("B001", "'Enter'")
	said("由 " + me.Username + " 扫描")
	on.arrange(func(t *table) { t.closed = []Closed{{Order: "ZULU-1", Waybill: "SF1", By: "p", At: noon, Keys: 1}} })
	c.Changed()
	said("ZULU-1")
	if got := consoletest.Eval[string](b, "document.getElementById('code').value + document.activeElement.id"); got != "SF12code" {
		t.Errorf("after a scan the field and the focus are %q", got)
	}
	slowly("3456789012\r")
	said("运单号 SF123456789012")
	heard(false)

	// A scanner without an Enter, and one that is silent.
	consoletest.Eval[bool](b, "document.activeElement.blur(), true")
	scanned("B001", "'Shift'")
	b.Wait("that no Enter came", "!document.getElementById('scan-unfinished').hidden")
	b.Type("B001\r")
	b.Wait("the end of that", "document.getElementById('scan-unfinished').hidden")
	consoletest.Eval[bool](b, "document.querySelector('.scanner').dataset.silent = 500, true")
	b.Wait("that the scanner is silent", "!document.getElementById('scan-silent').hidden")
	reachable()

	// By keyboard: put in to be verified, taken out, closed.
	press := func(id string) {
		t.Helper()
		b.Wait(id, "document.getElementById('"+id+"')")
		pause()
		consoletest.Eval[bool](b, "document.getElementById('"+id+"').focus(), true")
		b.Type("\r")
	}
	press("verify-BRAVO-1-001")
	said("已插入核对")
	press("verify-BRAVO-1-002")
	b.Wait("the end of what is left", "document.getElementById('close-parcel')")
	press("undo-BRAVO-1-002")
	b.Wait("that it is out", "!document.getElementById('close-parcel')")
	b.Type("B 02\r")
	press("verify-BRAVO-1-002")
	press("close-parcel")
	said("包裹已封箱")
	if got := keys(); got != "[B001 B 02]closed" {
		t.Errorf("in the end: %s", got)
	}
	consoletest.Eval[bool](b, "document.getElementById('language-en').focus(), true")
	b.Type("\r")
	b.Wait("English", "document.title === 'Packing'")
	said("The parcel is closed.")
	reachable()
	b.Size(1920, 1080)
	reachable()
	var complaints []string
	for _, m := range b.Messages() {
		if !strings.Contains(m, "409") { // what came while it was stopped
			complaints = append(complaints, m)
		}
	}
	if len(complaints) > 0 {
		t.Errorf("the console says %s", complaints)
	}
}

// snapshot is what is in the parcel.
func (t *table) snapshot() (tokens []string, state string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	state = "open"
	if !t.desk.Parcel.Open() {
		state = "closed"
	}
	return slices.Clone(t.desk.Parcel.Tokens()), state
}
