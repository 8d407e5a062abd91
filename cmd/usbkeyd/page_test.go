package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestPageOfAWorkingStation: while four tokens are written, of which one has a device error
// and one is slow, an operator whose account the kernel vouches for sees each of them in a
// browser as it is; and after a restart the finished ones are still finished.
func TestPageOfAWorkingStation(t *testing.T) {
	at := newPageAt(t)
	s := &station{stationtest.New(t, &centraltest.New(t, nil).Access, t.TempDir(), 4, "ec-p256", at.setting("writer")), t}
	loaded := s.load()
	s.behindShim(loaded, 1, "C_GenerateKeyPair return 0x30") // CKR_DEVICE_ERROR
	s.behindShim(loaded, 2, "C_GenerateKeyPair wait 4000")
	run := func() (stop func()) { return s.serve(loaded) }
	b := consoletest.Start(t, "zh-CN")
	open := func() {
		t.Helper()
		t.Setenv("XDG_RUNTIME_DIR", at.dir)
		if said := at.open(s, b); !strings.Contains(said, filepath.Join(at.dir, "usbkeyd", "console.html")) || !strings.Contains(said, at.me) {
			t.Fatal(said)
		}
	}
	bay := func(i int, state string) string {
		return fmt.Sprintf(`[...document.querySelectorAll('.bay')].find((b) => b.querySelector('h2').textContent === 'bay-%02d')?.classList.contains('%s')`, i, state)
	}
	stop := run()
	open()
	for i := 1; i <= 4; i++ {
		b.Wait("a blank token", bay(i, "blank"))
	}
	s.Central.Order(t, 4)
	b.Wait("the slow one at work", bay(3, "working"))
	b.Wait("its step", `document.querySelector('.bay.working .step')?.textContent.includes('生成密钥对')`)
	b.Wait("the first finished", bay(1, "done"))
	b.Wait("the fourth finished", bay(4, "done"))
	b.Wait("the faulty one waiting", bay(2, "waiting"))
	b.Wait("the slow one finished", bay(3, "done"))
	// It tries again by itself now and then, and says meanwhile what it does.
	b.Wait("what to do with the faulty one", `document.querySelector('.bay.waiting')?.textContent.includes('请拔出令牌再插回')`)
	text := b.Text()
	for _, want := range []string{"已完成 3", "把 / 共 4 把", "令牌 "} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "Take the token out") {
		t.Error("the next action is in English")
	}
	consoletest.Eval[bool](b, "location.hash = '#/queue', true")
	b.Wait("the queue", "document.title === '任务队列'")
	if text := b.Text(); !strings.Contains(text, "已完成 3 / 4 把") || !strings.Contains(text, "bay-02") || strings.Contains(text, "bay-01") {
		t.Errorf("the queue says:\n%s", text)
	}
	// The command line says the same.
	queue, bays := printed[[]queueRow](s, "queue", "--socket", at.socket), printed[[]bayRow](s, "bays", "--socket", at.socket)
	if len(queue) != 1 || queue[0].Done != 3 || len(queue[0].Keys) != 1 || queue[0].Keys[0].Bay != "bay-02" || !queue[0].Idle {
		t.Errorf("queue: %+v", queue)
	}
	if len(bays) != 4 || bays[0].State != "done" || bays[1].State != "waiting" || bays[1].Job == nil || bays[1].Job.Hint == "" || bays[0].Token == "" {
		t.Errorf("bays: %+v", bays)
	}
	s.want(exitOK, "Take the token out", "queue", "--socket", at.socket)
	s.want(exitOK, bays[0].Token, "bays", "--socket", at.socket)
	// A token that is scanned leads to its order.
	consoletest.Eval[bool](b, "document.getElementById('search').focus(), true")
	b.Type(bays[0].Token + "\r")
	b.Wait("the order of the token", "document.title === '查找' && document.querySelector('.key.found')")
	if text := b.Text(); !strings.Contains(text, "查到 1 项") || !strings.Contains(text, "证书主题") || !strings.Contains(text, "已领取") || strings.Count(text, "公钥摘要") != 3 {
		t.Errorf("the search says:\n%s", text)
	}
	consoletest.Eval[bool](b, "location.hash = '#/today', true")
	b.Wait("today", "document.title === '今日'")
	if text := b.Text(); !strings.Contains(text, "1 把，1 个订单") {
		t.Errorf("today says:\n%s", text)
	}
	consoletest.Eval[bool](b, "location.hash = '#/station', true")
	b.Wait("the station", "document.title === '工作站'")
	if text := b.Text(); !strings.Contains(text, "sample-station") || !strings.Contains(text, "与服务器一致") || !strings.Contains(text, s.Central.URL) {
		t.Errorf("the station says:\n%s", text)
	}
	stop()
	b.Wait("that it is out of date", "!document.getElementById('stale').hidden")

	stop = run()
	defer func() { stop() }()
	b.Wait("the lock", "document.body.dataset.state === 'locked'")
	open()
	consoletest.Eval[bool](b, "location.hash = '#/bays', true")
	b.Wait("the first, finished before", bay(1, "done"))
	b.Wait("the faulty one", bay(2, "waiting")+" || "+bay(2, "working"))

	// Where no daemon is, that is said.
	if code, _, errOut := s.command("console", "--socket", filepath.Join(at.dir, "none.sock")); code != exitFailure || !strings.Contains(errOut, "no usbkeyd with an operator's page answers at ") {
		t.Errorf("%d: %s", code, errOut)
	}
	for _, m := range b.Messages() {
		if !strings.Contains(m, "ERR_") && !strings.Contains(m, "401") { // the daemon was away
			t.Errorf("the console says %s", m)
		}
	}
	if leaked, err := os.ReadFile(filepath.Join(s.Dir, "log")); err != nil || bytes.Contains(leaked, []byte("#link=")) {
		t.Errorf("a link is in the log: %v", err)
	}
}
