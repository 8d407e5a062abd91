package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cupstest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// parcelRoom is a working station with a page, three tokens that can be pulled, a printer and a browser.
type parcelRoom struct {
	*mailRoom
	shims   []pkcs11test.Shim
	browser *consoletest.Browser
	pageAt
}

func newParcelRoom(t *testing.T) *parcelRoom {
	t.Helper()
	return newRoom(t, 3, func(r *parcelRoom) string { return r.setting("packer", "mailer") })
}

// newRoom is a station with so many bays, a printer for letters, and a page as more has it.
func newRoom(t *testing.T, bays int, more func(*parcelRoom) string) *parcelRoom {
	t.Helper()
	r := &parcelRoom{mailRoom: &mailRoom{cups: cupstest.Start(t, true)}, pageAt: newPageAt(t)}
	r.sheet = r.cups.Paper("letters", cupstest.PDF)
	mailer := fmt.Sprintf("mailer: {printer: letters, server: %s, spool: %s}\n", r.cups.Socket, r.cups.Spool)
	r.station = &station{stationtest.New(t, &centraltest.New(t, nil).Access, t.TempDir(), bays, "ec-p256", mailer+more(r)), t}
	r.Watch(r.cups.Dir())
	r.byMailer()
	return r
}

// run runs the daemon with tokens that can be pulled.
func (r *parcelRoom) run() (stop func()) {
	r.t.Helper()
	loaded := r.load()
	for i := range r.Bays {
		r.shims = append(r.shims, r.behindShim(loaded, i))
	}
	return r.serve(loaded)
}

// open opens the page in the browser.
func (r *parcelRoom) open() {
	r.t.Helper()
	r.pageAt.open(r.station, r.browser)
}

// said waits until the page says something.
func (r *parcelRoom) said(what string) {
	r.t.Helper()
	r.browser.Wait(what, fmt.Sprintf("document.querySelector('main').innerText.includes(%q)", what))
}

// press presses a button by its id.
func (r *parcelRoom) press(id string) {
	r.t.Helper()
	r.browser.Wait(id, fmt.Sprintf("document.getElementById(%q)", id))
	consoletest.Eval[bool](r.browser, fmt.Sprintf("document.getElementById(%q).click(), true", id))
}

// sure confirms what was asked for at the page, under this account; what it comes to ends the
// command with a code.
func (r *parcelRoom) sure(want int) {
	r.t.Helper()
	r.browser.Wait("a code", "document.querySelector('.act.open code')")
	command := strings.Fields(consoletest.Eval[string](r.browser, "document.querySelector('.act.open code').textContent"))
	if code, out, errOut := r.command(append(command[1:], "--yes", "--socket", r.socket)...); command[0] != "usbkeyd" || code != want {
		r.t.Fatalf("%q: exit code %d: %s%s", command, code, out, errOut)
	}
}

// TestParcelAndLetterAtThePage: a working station with two orders. One wrong scan stops with
// a tone, red, a sign and a sentence; keys are put in to be verified; a parcel is undone and
// made, closed, and told to the central server. A letter is printed on paper and confirmed. One person
// does not send both of one unit.
func TestParcelAndLetterAtThePage(t *testing.T) {
	r := newParcelRoom(t)
	t.Setenv("XDG_RUNTIME_DIR", r.dir)
	stop := r.run()
	defer func() { stop() }()
	r.browser = consoletest.Start(t, "zh-CN")
	r.open()
	r.Central.Order(t, 2)
	id, document := centraltest.SampleOrder(t, 1)
	other := strings.Replace(id, "0001", "0002", 1)
	if _, _, err := r.Central.Admin.PutOrder(t.Context(), other, []byte(strings.ReplaceAll(string(document), id, other))); err != nil {
		t.Fatal(err)
	}
	b := r.browser
	consoletest.Eval[bool](b, consoletest.Tones)
	consoletest.Eval[bool](b, "location.hash = '#/packing', true")
	b.Wait("both orders ready", "document.title === '装箱' && document.querySelector('main').innerText.split('可以装箱').length === 3")
	keys := (&packRoom{r.station}).keys()
	mine := slices.DeleteFunc(slices.Clone(keys), func(k jobRow) bool { return k.OrderID != id })
	theirs := slices.DeleteFunc(slices.Clone(keys), func(k jobRow) bool { return k.OrderID != other })[0]

	// The letter of the other order first: who has it in the hand does not pack its key.
	consoletest.Eval[bool](b, "location.hash = '#/mailers', true")
	b.Wait("the letters", "document.title === '密码信封' && document.querySelectorAll('.letters tr.ready').length === 3")
	r.press("print-" + theirs.UnitID)
	r.said("等待确认")
	if _, err := os.Stat(r.sheet); err == nil {
		t.Error("a letter was printed before that was confirmed")
	}
	r.sure(exitOK)
	r.said("已打印，待确认")
	r.said("密码信封已送到打印机")
	first := r.printed()
	if page := consoletest.Eval[string](b, "document.documentElement.outerHTML"); strings.Contains(page, first) || !strings.Contains(page, "••••••••") || !strings.Contains(page, "收") {
		t.Errorf("the page has the PIN %s, or no preview:\n%s", first, page)
	}
	r.press("reprint-" + theirs.UnitID) // beside the daemon
	r.sure(exitOK)
	r.said("第 2 张")
	b.Wait("that it is printed", "document.querySelectorAll('.letters tr.printed').length === 1 && !document.querySelector('#desk .what')")
	second := r.printed()
	if second == first || !r.opensAt(theirs, second) || r.opensAt(theirs, first) {
		t.Error("the second sheet has not the token's new PIN")
	}
	r.press("confirm-" + theirs.UnitID)
	r.said("已确认 1 / 1 封")
	if row := r.letterRow(theirs.UnitID); row.State != "confirmed" || row.ConfirmedBy != r.me || row.Sheets != 2 {
		t.Errorf("the letter: %+v", row)
	}

	consoletest.Eval[bool](b, "location.hash = '#/packing', true")
	b.Wait("the table", "document.title === '装箱' && document.querySelector('.scanner')")
	b.Type(id + "\r")
	r.said("订单 " + id + " 的包裹已打开")
	for i, k := range mine {
		if i == 1 { // out of the wrong box
			b.Type(theirs.TokenSerial + "\r")
			r.said("拿错了：" + theirs.TokenSerial)
			b.Wait("red, a sign and a tone", "getComputedStyle(document.querySelector('.stop')).backgroundColor === 'rgb(153, 27, 27)' && document.querySelector('.stop').innerText.includes('✖') && window.tones > 0")
			b.Type(k.TokenSerial + "\r")
			r.said("确认前又扫了 1 次")
			r.press("acknowledge")
			b.Wait("the end of the stop", "!document.querySelector('.stop')")
		}
		var bay int
		if _, err := fmt.Sscanf(k.Module, "bay-%02d", &bay); err != nil {
			t.Fatal(err)
		}
		shim := r.shims[bay-1]
		shim.Rules(t, pkcs11test.Removed(pkcs11.TokenSerial(k.TokenSerial)))
		b.Type(k.TokenSerial + "\r")
		r.said("请现在插入令牌 " + k.TokenSerial)
		shim.Rules(t)
		r.said("令牌 " + k.TokenSerial + " 核对无误")
		b.Wait("that it is verified", fmt.Sprintf("document.querySelectorAll('.parcel .in').length === %d && !document.getElementById('verify-%s')", i+1, k.UnitID))
	}
	b.Type(sampleWaybill + "\r")
	r.said("运单号是 " + sampleWaybill)
	r.press("undo-last")
	r.said("已撤销：" + sampleWaybill)
	b.Type(sampleWaybill + "\r")
	r.said("顺丰到付")
	r.press("close-parcel")
	r.said("包裹已封箱")
	b.Wait("the server's answer", "!document.querySelector('#closed')")
	for _, u := range r.Central.Units(t) {
		if shipped := u.State == "SHIPPED"; shipped != (string(u.OrderId) == id) {
			t.Errorf("unit %s is %s", u.UnitId, u.State)
		}
	}

	// One person, one unit: neither the parcel after the letter nor the letter after the parcel.
	b.Type(other + "\r")
	r.said("订单 " + other + " 的包裹已打开")
	b.Type(theirs.TokenSerial + "\r")
	r.said(r.me + " 经手过")
	r.press("acknowledge")
	b.Wait("the end of the stop", "!document.querySelector('.stop')")
	consoletest.Eval[bool](b, "location.hash = '#/mailers', true")
	r.press("print-" + mine[0].UnitID)
	r.sure(exitFailure)
	r.said(r.me + " 为 " + mine[0].UnitID + " 装过箱")
	if row := r.letterRow(mine[0].UnitID); row.State != "ready" {
		t.Errorf("its letter: %+v", row)
	}
	r.CheckNoPIN(first, second)
	for _, m := range b.Messages() {
		if !strings.Contains(m, "409") {
			t.Errorf("the console says %s", m)
		}
	}
}
