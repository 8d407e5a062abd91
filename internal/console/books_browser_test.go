package console

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
)

// TestBrowserFinds: by keyboard and by scanner, from any screen, a number leads to its key; by
// link an order is reached from bays and queue; what is typed outlives what changes meanwhile.
func TestBrowserFinds(t *testing.T) {
	f := sampleFloor()
	urgent := *sampleJob(20)
	urgent.Order, urgent.Urgent, urgent.Running, urgent.Waiting = "P-0999", true, false, "person"
	f.jobs = append(f.jobs, urgent)
	for i := range f.bays { // no label waits, which a scan would be taken for
		if s := f.bays[i].State; s == BayLabel || s == BayMixed {
			f.bays[i].State = BayEmpty
		}
	}
	c, open := here(t, f)
	b := consoletest.Start(t, "zh-CN")
	open(b)
	says := func(want ...string) {
		t.Helper()
		text := b.Text()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("the page does not say %q:\n%s", w, text)
			}
		}
	}
	reachable := func() {
		t.Helper()
		if faults, seen := b.Faults(); len(faults) > 0 || seen < 8 {
			t.Errorf("of %d texts: %s", seen, strings.Join(faults, "\n"))
		}
		if over := consoletest.Eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
			t.Errorf("the page is %d px too wide", over)
		}
	}
	const focused = "document.activeElement.id"

	// The key / leads to the field; what is typed stays while bays come and go. chromedp sends
	// the character apart from the key, so it is typed here as no keyboard would.
	prevented := `(window.prevented = [], addEventListener('keydown', (e) => { if (e.defaultPrevented) prevented.push(e.key); }), true)`
	consoletest.Eval[bool](b, prevented)
	b.Type("/")
	if keys := consoletest.Eval[[]string](b, "document.getElementById('search').value = '', prevented"); !slices.Equal(keys, []string{"/"}) {
		t.Errorf("%q were not typed", keys)
	}
	b.Type("A1B2")
	f.arrange(func(f *floor) { f.bays = f.bays[1:] })
	c.Changed()
	b.Wait("a bay less", fmt.Sprintf("document.querySelectorAll('.bay').length === %d", len(bayStates())-1))
	if id := consoletest.Eval[string](b, focused); id != "search" {
		t.Errorf("the focus is at %q", id)
	}
	b.Type("C3D4\r")
	b.Wait("what was found", "document.title === '查找' && document.querySelector('.key.found')")
	says("查到 1 项", "查到的是这一把", "A1B2C3D4", "KX-0001", "0a1b2c", "2026年11月26日 至 2027年11月26日", "SF123456789012", "中心服务器已签名", "不在本站")
	if left := consoletest.Eval[string](b, "document.getElementById('search').value"); left != "" {
		t.Errorf("the field still has %q", left)
	}
	reachable()

	// A scanner types fast, wherever the focus is, and its Enter presses nothing.
	consoletest.Eval[bool](b, `document.querySelector('nav a').focus(), true`)
	scan := func(code string) {
		t.Helper()
		consoletest.Eval[bool](b, `(() => { for (const key of [...'`+code+`', 'Enter'])
			if (document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true })) && key === 'Enter') document.activeElement.click();
			return true; })()`)
	}
	scan("SF12")
	b.Wait("too many", "document.body.innerText.includes('只列出 50 项')")
	reachable()
	scan("P-404/x")
	b.Wait("nothing", "document.body.innerText.includes('没有查到')")
	says("查找：P-404/x")
	reachable()
	// A blank of a scan presses no button, wherever in it; one by hand does.
	consoletest.Eval[bool](b, `(window.clicks = 0, window.gaps = [], window.last = 0,
		addEventListener('click', (e) => { if (e.target.id === 'lock') { clicks++; e.stopPropagation(); } }, true),
		addEventListener('keydown', () => { const now = performance.now(); gaps.push(now - last); last = now; }, true), true)`)
	for _, code := range []string{" A 1B2", "A1B2 C", "A1B2 "} {
		for tries := 0; ; tries++ { // what a busy machine types slowly was typed by hand
			time.Sleep(100 * time.Millisecond)
			consoletest.Eval[bool](b, `document.getElementById('lock').focus(), clicks = 0, gaps = [], true`)
			b.Type(code + "\r")
			if slow := consoletest.Eval[bool](b, "Math.max(...gaps.slice(1)) > 40"); !slow || tries == 20 {
				break
			}
		}
		b.Wait("the search for "+code, "location.hash === '#/search/"+strings.ReplaceAll(strings.TrimSpace(code), " ", "%20")+"'")
		if clicks := consoletest.Eval[int](b, "new Promise((done) => setTimeout(() => done(clicks), 100))"); clicks != 0 {
			t.Errorf("%q pressed the button %d times", code, clicks)
		}
	}
	consoletest.Eval[bool](b, `document.getElementById('lock').focus(), clicks = 0, true`)
	b.Type(" ")
	b.Wait("the press of a blank", "clicks === 1")
	consoletest.Eval[bool](b, "location.hash = '#/search/P-404%2Fx', true")
	b.Wait("the search before", "document.body.innerText.includes('P-404/x')")
	consoletest.Eval[bool](b, `document.querySelector('nav a').focus(), true`)
	// Hands are slower, and their keys are no code.
	at := consoletest.Eval[string](b, "location.hash")
	for _, key := range "KX-0009" {
		b.Type(string(key))
		time.Sleep(80 * time.Millisecond)
	}
	b.Type("\r") // on the link that has the focus
	b.Wait("the bays, by hand", "document.title === '槽位'")
	if at != "#/search/P-404%2Fx" {
		t.Errorf("the search is at %s", at)
	}

	// From a bay and from the queue to the order.
	consoletest.Eval[bool](b, "document.querySelector('.bay .order a').focus(), true")
	b.Type("\r")
	b.Wait("the order", "document.title === '订单' && document.querySelector('.key')")
	says("订单 P-1001", "已完成 1 / 3 把", "请把令牌插回", "封箱", "packer.b", "已上报发货")
	reachable()
	consoletest.Eval[bool](b, "location.hash = '#/queue', true")
	b.Wait("the queue", "document.title === '任务队列'")
	says("▲ 加急", "◆ 等待人工处理", "◐ 全部在等待")
	order := consoletest.Eval[[]string](b, "[...document.querySelectorAll('.queue h2 a')].map((a) => a.textContent)")
	if !slices.Equal(order, []string{"订单 P-0999", "订单 P-1001"}) {
		t.Errorf("the queue is %q", order)
	}
	reachable()
	consoletest.Eval[bool](b, "document.querySelectorAll('.queue h2 a')[1].focus(), true")
	b.Type("\r")
	b.Wait("the order again", "document.title === '订单'")
	b.Open("http://" + c.hosts[0] + "/#/order/P-9")
	b.Wait("no such order", "document.body.innerText.includes('没有做过订单 P-9')")

	// Today: its bars are as long as its numbers say, and nobody needs them.
	c.Books.(*shelf).arrange(func(s *shelf) {
		from, _ := DayAt(time.Now(), c.Zone)
		s.day.Ends = nil
		for i, state := range []string{"finished", "finished", "quarantined", "finished"} {
			s.day.Ends = append(s.day.Ends, End{At: from.Add(time.Duration(i/3) * time.Hour), State: state, Bay: []string{"bay-01", "bay-02"}[i%2], Busy: time.Duration(1+i) * time.Second})
		}
	})
	consoletest.Eval[bool](b, "document.getElementById('screen-today').focus(), true")
	b.Type("\r")
	b.Wait("today", "document.title === '今日' && document.querySelector('table.hours')")
	says("已完成 3 把", "隔离 1 把", "7 把，2 个订单", "▼ 最慢")
	widths := consoletest.Eval[[]float64](b, "[...document.querySelectorAll('.hours rect')].map((r) => r.getBoundingClientRect().width)")
	if !slices.Equal(widths, []float64{160, 80, 80, 0}) {
		t.Errorf("the bars are %v", widths)
	}
	if n := consoletest.Eval[int](b, "document.querySelectorAll('.hours svg:not([aria-hidden=true])').length"); n != 0 {
		t.Errorf("%d bars are read out", n)
	}
	reachable()

	// In English, at both sizes.
	consoletest.Eval[bool](b, "document.getElementById('language-en').focus(), true")
	b.Type("\r")
	b.Wait("English", "document.documentElement.lang === 'en'")
	for _, hash := range []string{"#/order/P-1001", "#/today", "#/search/SF12", "#/search/KX-0009", "#/search/none", "#/order/P-9", "#/queue"} {
		consoletest.Eval[bool](b, "document.title = '', location.hash = '"+hash+"', true")
		b.Wait("the screen "+hash, "document.title && document.querySelector('main').children.length > 0")
		for _, size := range [][2]int64{{1920, 1080}, {1366, 768}} {
			b.Size(size[0], size[1])
			reachable()
		}
		if text := b.Text(); strings.ContainsAny(strings.ReplaceAll(strings.ReplaceAll(text, "中文", ""), "示例客车配件有限公司", ""), "单元令牌证书槽位") {
			t.Errorf("%s: Chinese is left:\n%s", hash, text)
		}
	}
	if messages := b.Messages(); len(messages) > 0 {
		t.Errorf("the console says:\n%s", strings.Join(messages, "\n"))
	}
}
