package console

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
)

// lesson is a teacher that a test arranges.
type lesson struct {
	mu  sync.Mutex
	is  Teaching
	did []TeachAct
}

func (l *lesson) Teaching() Teaching {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.is
}

func (l *lesson) Teach(do TeachAct) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.did = append(l.did, do)
	l.is.Going = do != TeachCancel && do != TeachFinish
	l.is.Next = 3
	l.is.Bays, l.is.Ports = []string{"hub · one", ""}, []string{"1-2.3", ""}
	return nil
}

func (l *lesson) arrange(fault string, at int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.is.Fault, l.is.At = fault, at
}

// TestBrowserTeaches: by keyboard, in both languages; a wrong token has its sentence, and
// what is not a teacher's act changes nothing.
func TestBrowserTeaches(t *testing.T) {
	c, open := here(t, sampleFloor())
	l := c.Teacher.(*lesson)
	b := consoletest.Start(t, "zh-CN")
	open(b)
	b.Open("http://" + c.hosts[0] + "/#/teach")
	b.Wait("the screen", "document.title === '槽位编号' && document.querySelector('main button')")
	says := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if text := b.Text(); !strings.Contains(text, w) {
				t.Errorf("the page does not say %q:\n%s", w, text)
			}
		}
		if faults, _ := b.Faults(); len(faults) > 0 {
			t.Error(strings.Join(faults, "\n"))
		}
	}
	consoletest.Eval[bool](b, "document.querySelector('main button').focus(), true")
	b.Type("\r")
	b.Wait("the number", "document.querySelector('h2.big')?.textContent === '请把令牌插入 3 号槽'")
	says("hub · one · USB 口 1-2.3", "跳过", "不领取新任务")
	l.arrange("model", 0)
	c.Changed()
	b.Wait("the wrong model", "document.querySelector('[role=alert]')?.textContent.includes('型号不对')")
	l.arrange("twice", 1)
	c.Changed()
	b.Wait("the slot that has a number", "document.querySelector('[role=alert]')?.textContent.includes('已经是 1 号')")
	consoletest.Eval[bool](b, "document.getElementById('language-en').click(), true")
	b.Wait("English", "document.documentElement.lang === 'en'")
	says("Put a token into bay 3", "That slot is bay 1 already", "left out", "Undo the last")
	consoletest.Eval[bool](b, "[...document.querySelectorAll('button')].find((b) => b.textContent === 'Finish').click(), true")
	b.Wait("the end", "!document.querySelector('h2.big')")
	if len(l.did) != 2 || l.did[0] != TeachBegin || l.did[1] != TeachFinish {
		t.Errorf("done: %v", l.did)
	}
	v := signIn(t, c, "writer.a", RoleWriter)
	for _, body := range []string{`{"do":"x"}`, `{}`, `{"do":""}`} {
		if w := v.do(http.MethodPost, "/teach", body, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", body, w.Code)
		}
	}
	if a := c.lesson(Person{Roles: []Role{RolePacker}}, TeachBegin); a.Refused == "" || len(l.did) != 2 {
		t.Errorf("a packer teaches: %+v", a)
	}
	if a := c.lesson(Person{Roles: []Role{RolePacker}}, ""); a.Teaching == nil || a.Teaching.Next != 3 {
		t.Errorf("%+v", a)
	}
}
