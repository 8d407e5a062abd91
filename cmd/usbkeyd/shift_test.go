package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// newShift is a working station with so many bays and a page for everything, of which the token
// in one bay is full when it should generate a key.
func newShift(t *testing.T, bays, faulty int) (r *parcelRoom, run func() (stop func())) {
	t.Helper()
	r = newRoom(t, bays, func(r *parcelRoom) string {
		r.cups.Label("labels")
		return fmt.Sprintf(`labels: {printer: labels, server: %s, size: 50x30}
packing: {verify: never} # TestParcelAndLetterAtThePage puts keys in
`, r.cups.Socket) + r.setting("writer", "packer", "mailer", "supervisor")
	})
	loaded := r.load()
	r.behindShim(loaded, faulty-1, "C_GenerateKeyPair return 0x31") // CKR_DEVICE_MEMORY
	return r, func() (stop func()) { return r.serve(loaded) }
}

// tabTo moves the focus to what has an id, by the Tab key alone.
func (r *parcelRoom) tabTo(id string) {
	r.t.Helper()
	r.browser.Wait(id, fmt.Sprintf("document.getElementById(%q)", id))
	for range 100 { // what is shown may change on the way
		far := consoletest.Eval[int](r.browser, fmt.Sprintf(`(() => {
			const all = [...document.querySelectorAll('a[href], button:not(:disabled), input, summary, main')].filter((e) => e.getClientRects().length && (e.tabIndex >= 0 || e === document.activeElement));
			const to = all.indexOf(document.getElementById(%q)), at = all.indexOf(document.activeElement);
			return document.activeElement.id === %[1]q ? 0 : to > at ? to - at : 1;
		})()`, id))
		if far == 0 {
			return
		}
		r.browser.Type(strings.Repeat("\t", far))
	}
	r.t.Fatalf("the Tab key does not lead to %s", id)
}

// key presses Enter on what has an id.
func (r *parcelRoom) key(id string) {
	r.t.Helper()
	r.tabTo(id)
	r.browser.Type("\r")
}

// handsDown waits until an Enter is a person's again, after a scan.
func (r *parcelRoom) handsDown() {
	r.t.Helper()
	consoletest.Eval[bool](r.browser, "new Promise((done) => setTimeout(() => done(true), 350))")
}

// goTo goes to a screen, and looks at it as one who sees badly or has no mouse.
func (r *parcelRoom) goTo(screen string) {
	r.t.Helper()
	r.key("screen-" + screen)
	r.browser.Wait(screen, fmt.Sprintf("location.hash === '#/%s' && document.getElementById('screen-%[1]s')?.getAttribute('aria-current') === 'page'", screen))
	r.look(screen)
}

func (r *parcelRoom) look(screen string) {
	r.t.Helper()
	if faults, seen := r.browser.Faults(); len(faults) > 0 || seen < 8 {
		r.t.Errorf("%s, of %d texts: %s", screen, seen, strings.Join(faults, "\n"))
	}
	if over := consoletest.Eval[int](r.browser, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
		r.t.Errorf("%s is %d px too wide", screen, over)
	}
}

// TestShift is a whole shift at the page, by keyboard and scanner alone: sixteen tokens and two
// orders, one token that fails, labels, letters, parcels, and what is said of the day.
func TestShift(t *testing.T) {
	const bays, small, large, faulty = 16, 4, 11, 9
	r, run := newShift(t, bays, faulty)
	t.Setenv("XDG_RUNTIME_DIR", r.dir)
	stop := run()
	defer func() { stop() }()
	r.browser = consoletest.Start(t, "zh-CN")
	b := r.browser
	b.Size(1366, 768)

	// In the morning all bays are blank.
	r.open()
	consoletest.Eval[bool](b, consoletest.Tones)
	b.Wait("blank tokens", fmt.Sprintf("document.querySelectorAll('.bay.blank').length === %d", bays))
	r.look("bays")

	// Two orders come, one after the other, and fill the bays in their order.
	first, _ := centraltest.SampleOrder(t, small)
	r.Central.Order(t, small)
	b.Wait("the first order in the bays", fmt.Sprintf("document.querySelectorAll('.bay:not(.blank)').length === %d", small))
	_, more := centraltest.SampleOrder(t, large)
	second := strings.Replace(first, "0001", "0002", 1)
	if _, _, err := r.Central.Admin.PutOrder(t.Context(), second, []byte(strings.ReplaceAll(string(more), first, second))); err != nil {
		t.Fatal(err)
	}
	b.Wait("all keys and the one that failed", fmt.Sprintf("document.querySelectorAll('.bay.done').length === %d && document.querySelectorAll('.bay.quarantined').length === 1", small+large))
	r.look("bays")
	keys := (&packRoom{r.station}).keys()
	failed := slices.DeleteFunc(slices.Clone(keys), func(k jobRow) bool { return k.State == "finished" })
	keys = slices.DeleteFunc(keys, func(k jobRow) bool { return k.State != "finished" })
	slices.SortFunc(keys, func(a, b jobRow) int {
		return cmp.Or(cmp.Compare(a.OrderID, b.OrderID), cmp.Compare(a.Sequence, b.Sequence))
	})
	if len(keys) != small+large || len(failed) != 1 {
		t.Fatalf("%d keys, %+v", len(keys), failed)
	}
	for i, k := range keys {
		want := fmt.Sprintf("bay-%02d", i+1)
		if k.UnitID == failed[0].UnitID { // once more, on the token that was left
			want = fmt.Sprintf("bay-%02d", bays)
		}
		if k.Module != want {
			t.Errorf("unit %s is in %s, want %s", k.UnitID, k.Module, want)
		}
	}
	mine, theirs := keys[small:], keys[:small] // to be packed at the page

	// The token that failed is in quarantine, with what is to be done next.
	r.goTo("quarantine")
	if text := b.Text(); !strings.Contains(text, failed[0].TokenSerial) || !strings.Contains(text, fmt.Sprintf("bay-%02d", faulty)) || !strings.Contains(text, "下一步") {
		t.Errorf("the quarantine says:\n%s", text)
	}

	// Labels of both orders, at the page.
	for order, n := range map[string]int{first: small, second: large} {
		r.goTo("queue")
		b.Type("/" + order + "\r")
		b.Wait("the order", fmt.Sprintf("document.querySelector('main h2')?.textContent.includes(%q) && document.querySelector('[data-label=print]')", order))
		r.key(consoletest.Eval[string](b, "document.querySelector('[data-label=print]').id"))
		r.said(fmt.Sprintf("%d / %[1]d: 标签已送到打印机", n))
		r.look("order")
	}

	// Letters of the first order, at the page: one confirmation, then each sheet in the hand.
	r.goTo("mailers")
	r.key("print-order-" + first)
	r.said("等待确认")
	r.look("mailers")
	if _, err := os.Stat(r.sheet); err == nil {
		t.Error("a letter was printed before that was confirmed")
	}
	r.sure(exitOK)
	r.said(fmt.Sprintf("已打印 %d / %[1]d 封：", small))
	for _, k := range theirs {
		r.key("confirm-" + k.UnitID)
		b.Wait("that it is confirmed", fmt.Sprintf("!document.getElementById('confirm-%s')", k.UnitID))
	}
	r.said(fmt.Sprintf("已确认 %d / %[1]d 封", small))
	r.look("mailers")
	// A colleague has those of the second.
	for _, k := range mine {
		r.want(exitOK, "", "mailers", "print", k.UnitID, "--by", "mailer-b")
		r.want(exitOK, "", "mailers", "confirm", k.UnitID, "--by", "mailer-b")
	}

	if pin := r.printed(); !r.opensAt(mine[large-1], pin) {
		t.Error("the PIN on paper does not open its token")
	}

	// A break.
	r.key("lock")
	b.Wait("the lock", "document.body.dataset.state === 'locked'")
	r.open()
	consoletest.Eval[bool](b, consoletest.Tones)

	// The parcel of the second order, with a key of the other one in between.
	r.goTo("packing")
	b.Type(second + "\r")
	r.said("订单 " + second + " 的包裹已打开")
	for i, k := range mine {
		if i == 2 {
			b.Type(theirs[0].TokenSerial + "\r")
			r.said("拿错了：" + theirs[0].TokenSerial)
			b.Wait("red, a sign and a tone", "getComputedStyle(document.querySelector('.stop')).backgroundColor === 'rgb(153, 27, 27)' && document.querySelector('.stop').innerText.includes('✖') && window.tones > 0")
			r.look("packing")
			r.handsDown()
			r.key("acknowledge")
			b.Wait("the end of the stop", "!document.querySelector('.stop')")
		}
		b.Type(k.TokenSerial + "\r")
		b.Wait("that it is in", fmt.Sprintf("document.querySelectorAll('.parcel .in').length === %d", i+1))
	}
	b.Type(sampleWaybill + "\r")
	r.said("顺丰到付")
	r.look("packing")
	r.handsDown()
	r.key("close-parcel")
	r.said("包裹已封箱")
	b.Wait("the server's answer", "!document.querySelector('#closed')")
	// A colleague packs the first, of which this person had the letters.
	for _, code := range append([]string{first}, serials(theirs)...) {
		r.want(exitOK, "", "pack", "scan", code, "--by", "packer-b")
	}
	r.want(exitOK, "", "pack", "scan", "SF123456789013", "--by", "packer-b")
	r.want(exitOK, "", "pack", "close", "--by", "packer-b")
	stationtest.Eventually(t, "both orders shipped", func() bool {
		shipped := 0
		for _, u := range r.Central.Units(t) {
			if u.State == api.SHIPPED {
				shipped++
			}
		}
		return shipped == small+large
	})
	r.goTo("today")
	r.said(fmt.Sprintf("已完成 %d 把", small+large))
	r.said("隔离 1 把")
	b.Wait("that nothing is left", "/已完成但未发出\\s+0\\s/.test(document.querySelector('main').innerText)")

	// All of it again for who reads English, and on a larger screen.
	every := []string{"bays", "queue", "today", "packing", "mailers", "quarantine", "stock", "station"}
	for _, at := range []struct {
		language      string
		width, height int64
	}{{"zh-CN", 1920, 1080}, {"en", 1366, 768}, {"en", 1920, 1080}} {
		b.Size(at.width, at.height)
		if consoletest.Eval[string](b, "document.documentElement.lang") != at.language {
			r.key("language-" + at.language)
			b.Wait(at.language, fmt.Sprintf("document.documentElement.lang === %q", at.language))
		}
		for _, screen := range every {
			r.goTo(screen)
		}
	}
	for _, m := range b.Messages() {
		if !strings.Contains(m, "401") { // locked
			t.Errorf("the console says %s", m)
		}
	}
}

// serials are those of the keys' tokens.
func serials(keys []jobRow) (out []string) {
	for _, k := range keys {
		out = append(out, k.TokenSerial)
	}
	return out
}
