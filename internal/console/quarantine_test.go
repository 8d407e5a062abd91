package console

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
)

// apart is a quarantine that a test arranges.
type apart struct {
	mu   sync.Mutex
	all  []Isolated
	done []string
}

// sampleQuarantine has a token with a key, one that is blank and one that is not here.
func sampleQuarantine() *apart {
	q := &apart{}
	for n := range 3 {
		job := *sampleJob(n + 1)
		job.Running, job.Hint, job.Reason = false, "Put the token aside for inspection.", "read-back: <b>x</b>"
		q.all = append(q.all, Isolated{
			Job: job, Token: fmt.Sprintf("T%04d", n+1), Casing: fmt.Sprintf("K-%04d", n+1), Model: "Card 3", Since: noon, Bay: job.Bay, HoldsKey: true, NoRelease: NotBlank,
		})
	}
	q.all[1].HoldsKey, q.all[1].Emptied, q.all[1].Blank, q.all[1].NoWipe, q.all[1].NoRelease = false, true, true, NoWipeTwice, ""
	q.all[2].Bay, q.all[2].NoWipe = "", NoToken
	return q
}

func (q *apart) Isolated() []Isolated {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.all)
}

func (q *apart) Wipe(_ context.Context, job, by, second string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.done = append(q.done, fmt.Sprintf("wipe %s by %s and %s", job, by, second))
	for i := range q.all {
		if q.all[i].Job.ID == job {
			q.all[i].HoldsKey, q.all[i].Emptied, q.all[i].Blank, q.all[i].NoWipe, q.all[i].NoRelease = false, true, true, NoWipeTwice, ""
		}
	}
	return nil
}

func (q *apart) Release(_ context.Context, job, by string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.done = append(q.done, fmt.Sprintf("release %s by %s", job, by))
	q.all = slices.DeleteFunc(q.all, func(i Isolated) bool { return i.Job.ID == job })
	return nil
}

func (q *apart) log() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return strings.Join(q.done, "\n")
}

// TestWhatToDoWithIt: each token has one next action, and what cannot be done cannot be
// asked for.
func TestWhatToDoWithIt(t *testing.T) {
	for _, row := range []struct {
		is          Isolated
		next, holds string
	}{
		{Isolated{HoldsKey: true, NoRelease: NotBlank}, "wipe", "key"},
		{Isolated{NoRelease: NotBlank}, "wipe", "nothing"},
		{Isolated{HoldsKey: true, NoRelease: NotBlank, NoWipe: NoToken}, "insert", "key"},
		{Isolated{Emptied: true, Blank: true, NoWipe: NoWipeTwice}, "release", "blank"},
		{Isolated{Emptied: true, Blank: true, NoWipe: NoWipeTwice, NoRelease: NoToken}, "insert", "blank"},
		{Isolated{Emptied: true, NoRelease: NotBlank}, "keep", "emptied"},
		{Isolated{HoldsKey: true, NoRelease: NotBlank, NoWipe: NoSerial}, "keep", "key"},
	} {
		if row.is.Next() != row.next || row.is.Holds() != row.holds {
			t.Errorf("%+v: %s, %s", row.is, row.is.Next(), row.is.Holds())
		}
	}
	c, _ := newPage(t, sampleFloor())
	for _, of := range []string{"T0002", "P-1001-3-g1-1", "", "T9999"} {
		if _, err := c.acts.ask(asker(), c.wipeAct(of)); err == nil {
			t.Errorf("%q may be wiped", of)
		}
	}
	for _, of := range []string{"T0001", "T0003", "", "T9999"} {
		if _, err := c.acts.ask(asker(), c.releaseAct(of)); err == nil {
			t.Errorf("%q may be released", of)
		}
	}
	if act, err := c.wipeAct("T0001")(); err != nil || len(act.Second) == 0 {
		t.Errorf("a token with a key is wiped by one person: %v", err)
	}
	c.Quarantine.(*apart).all[0].HoldsKey = false
	if act, err := c.wipeAct("T0001")(); err != nil || len(act.Second) > 0 {
		t.Errorf("a token without a key needs two: %v", err)
	}
	for _, no := range []No{NoSuch, NoToken, NoSerial, NoModel, NoSOPIN, NoWipeTwice, NotBlank, Replaced} {
		for _, w := range c.words {
			if _, err := w.say("no." + string(no)); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestBrowserDecides: a supervisor asks for a wipe in a browser, confirms it, a second one
// approves under another account, the page follows, and the token is released.
func TestBrowserDecides(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	second, uid := me, os.Getuid()
	if uid == 0 {
		if second, err = user.Lookup("nobody"); err != nil {
			t.Fatal(err)
		}
		if uid, err = strconv.Atoi(second.Uid); err != nil {
			t.Fatal(err)
		}
	}
	c, socket := served(t, sampleFloor(), map[Role]Accounts{RoleSupervisor: {Users: []string{me.Username, second.Username}}})
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	q := c.Quarantine.(*apart)
	b := consoletest.Start(t, "zh-CN")
	link, _, err := Ask(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	b.Open(link)
	b.Wait("the bays", "document.body.dataset.state === 'live'")
	b.Open("http://" + c.hosts[0] + "/#/quarantine")
	b.Wait("the quarantine", "document.title === '隔离' && document.querySelectorAll('.isolated').length === 3")
	press := func(what string) {
		t.Helper()
		consoletest.Eval[bool](b, fmt.Sprintf(`[...document.querySelectorAll('button')].find((b) => b.textContent === %q).focus(), true`, what))
		b.Type("\r")
	}
	shown := func(state string) string {
		t.Helper()
		b.Wait("an act that is "+state, fmt.Sprintf("document.querySelector('.act.%s')", state))
		if faults, _ := b.Faults(); len(faults) > 0 {
			t.Errorf("%s: %s", state, strings.Join(faults, "\n"))
		}
		return consoletest.Eval[string](b, "document.querySelector('.act code')?.textContent.split(' ').pop() || ''")
	}
	if n := consoletest.Eval[int](b, "document.querySelectorAll('main button').length"); n != 2 {
		t.Errorf("%d buttons: one token may be wiped and one released", n)
	}
	press("擦除")
	code := shown("open")
	for _, want := range []string{"擦除令牌 T0001", "usbkeyd confirm " + code, "usbkeyd approve " + code, "尚未执行", "两人"} {
		if text := b.Text(); !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if got := q.log(); got != "" {
		t.Fatalf("done on a click: %s", got)
	}
	press("取消")
	shown("cancelled")
	press("擦除")
	code = shown("open")
	act, err := SeeAct(t.Context(), socket, code)
	if err != nil || !strings.Contains(act.Exactly, "T0001") || act.Says["zh-CN"] != "擦除令牌 T0001" {
		t.Fatalf("%+v, %v", act, err)
	}
	if _, err := Respond(t.Context(), socket, act, false); err != nil {
		t.Fatal(err)
	}
	b.Wait("only the second is missing", "document.querySelectorAll('.act.open code').length === 1")
	if second != me {
		as(t, uid, func() {
			if act, err = SeeAct(t.Context(), socket, code); err == nil {
				act, err = Respond(t.Context(), socket, act, true)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		shown("done")
		if got := q.log(); got != "wipe P-1001-1-g1-1 by "+me.Username+" and "+second.Username {
			t.Errorf("done: %s", got)
		}
		b.Wait("two may be released", "document.querySelectorAll('.isolated button').length === 2")
	}
	all, err := AskIsolated(t.Context(), socket)
	if err != nil || len(all) != 3 || all[1].Token != "T0002" {
		t.Fatalf("%+v, %v", all, err)
	}
	act, err = AskRelease(t.Context(), socket, "T0002")
	if err != nil || act.Confirmed || act.NeedsSecond {
		t.Fatalf("%+v, %v", act, err)
	}
	if act, err = Respond(t.Context(), socket, act, false); err == nil {
		act, err = Await(t.Context(), socket, act)
	}
	if err != nil || !act.Done {
		t.Fatalf("%+v, %v", act, err)
	}
	b.Wait("it is gone", "document.querySelectorAll('.isolated').length === 2")
	if _, err := AskWipe(t.Context(), socket, "T0003"); err == nil || !strings.Contains(err.Error(), "not plugged in") {
		t.Errorf("a token that is not here: %v", err)
	}
	b.Wait("the page says why not", "document.querySelector('.act.failed')?.textContent.includes('没有插在本站')")
	for _, size := range [][2]int64{{1366, 768}, {1920, 1080}} {
		b.Size(size[0], size[1])
		if over := consoletest.Eval[int](b, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
			t.Errorf("at %dx%d the page is %d px too wide", size[0], size[1], over)
		}
	}
	consoletest.Eval[bool](b, "document.getElementById('language-en').click(), true")
	b.Wait("English", "document.documentElement.lang === 'en'")
	if text := b.Text(); !strings.Contains(text, "2 tokens in quarantine") || strings.Contains(text, "令牌") {
		t.Errorf("in English:\n%s", text)
	}
	if faults, _ := b.Faults(); len(faults) > 0 {
		t.Error(strings.Join(faults, "\n"))
	}
	if m := b.Messages(); len(m) > 0 {
		t.Errorf("the console says %v", m)
	}
	if w := signIn(t, c, "writer.a", RoleWriter).do(http.MethodPost, "/quarantine/wipe", `{"job":"P-1001-1-g1-1"}`, nil); w.Code != http.StatusForbidden {
		t.Errorf("a writer: %d", w.Code)
	}
}
