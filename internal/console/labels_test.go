package console

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// printer is a label printer that a test arranges.
type printer struct {
	answer LabelAnswer
	asked  []string
}

func (p *printer) Print(_ context.Context, token, by string) LabelAnswer {
	p.asked = append(p.asked, "print "+token+" "+by)
	return p.answer
}

func (p *printer) Confirm(token, by string) LabelAnswer {
	p.asked = append(p.asked, "confirm "+token+" "+by)
	return p.answer
}

// TestLabelsByPage: whoever writes or packs has a label printed or confirmed, under their own
// name, and reads in their language what became of it; nobody else has.
func TestLabelsByPage(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	p := &printer{}
	ask := func(v *visitor, path, language string) (status int, done bool, says string) {
		t.Helper()
		w := v.do(http.MethodPost, path, `{"token":"A 1"}`, func(r *http.Request) { r.Header.Set("Accept-Language", language) })
		var out struct {
			Done   bool
			Answer LabelAnswer
			Says   string
		}
		if w.Code == http.StatusOK {
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out.Answer != p.answer {
				t.Errorf("%s (%v)", w.Body, err)
			}
		}
		return w.Code, out.Done, out.Says
	}
	p.answer = LabelNoPrinter
	writer, packer := signIn(t, c, "writer.a", RoleWriter), signIn(t, c, "packer.b", RolePacker)
	if status, done, says := ask(writer, "/labels/print", "en"); status != http.StatusOK || done || says != "This station has no label printer." {
		t.Errorf("without a printer: %d %v %q", status, done, says)
	}
	c.Labels = p
	for _, a := range LabelAnswers() {
		p.answer, p.asked = a, nil
		_, done, english := ask(writer, "/labels/print", "en")
		_, _, chinese := ask(packer, "/labels/confirm", "zh-CN")
		if good := a == LabelPrinted || a == LabelStuck; done != good || english == "" || english == chinese || strings.ContainsFunc(english, func(r rune) bool { return r > 0x2e80 }) {
			t.Errorf("%s: %v %q %q", a, done, english, chinese)
		}
		if !slices.Equal(p.asked, []string{"print A 1 writer.a", "confirm A 1 packer.b"}) {
			t.Errorf("%s: asked %q", a, p.asked)
		}
	}
	p.asked = nil
	for _, role := range []Role{RoleMailer, RoleSupervisor, RoleAuditor} {
		for _, path := range []string{"/labels/print", "/labels/confirm"} {
			if status, _, _ := ask(signIn(t, c, "other.c", role), path, "en"); status != http.StatusForbidden {
				t.Errorf("%s %s: %d", role, path, status)
			}
		}
	}
	for _, token := range []string{``, ` A1`, `A1\n`, `A\u0001`, `A1 `, `令牌`, strings.Repeat("x", 65)} {
		if w := writer.do(http.MethodPost, "/labels/confirm", `{"token":"`+token+`"}`, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%q: %d", token, w.Code)
		}
	}
	if len(p.asked) > 0 {
		t.Errorf("asked all the same: %q", p.asked)
	}
}

// TestLabelTiles: a token that was taken out is shown where it was, with what to do next, and
// with buttons for whoever may.
func TestLabelTiles(t *testing.T) {
	f := sampleFloor()
	f.arrange(func(f *floor) {
		f.bays = nil
		for _, s := range []BayState{BayLabelling, BayLabel, BayMixed} {
			f.bays = append(f.bays, Bay{Name: string(s), State: s, Token: "T-" + string(s), Job: sampleJob(1)})
		}
	})
	c, _ := newPage(t, f)
	for _, row := range []struct {
		role    Role
		buttons int
	}{{RoleWriter, 2}, {RolePacker, 2}, {RoleAuditor, 0}} {
		for _, w := range c.words {
			frame, err := c.bays(w, Person{ID: "a", Roles: []Role{row.role}})
			if err != nil {
				t.Fatal(err)
			}
			all := ""
			for _, p := range frame.Parts {
				all += p[1]
			}
			if n := strings.Count(all, "data-label="); n != row.buttons || n > 0 && strings.Count(all, `data-token="T-label"`) != 2 {
				t.Errorf("%s %s: %d buttons", row.role, w.name, n)
			}
			for _, key := range []string{"todo.labelling", "todo.label", "todo.mixed", "bay.mixed"} {
				if say, err := w.say(key); err != nil || !strings.Contains(all, say) {
					t.Errorf("%s: %q is not shown (%v)", w.name, say, err)
				}
			}
		}
	}
}

// TestBaySigns: every state of a bay is told by a sign and a word, for colour is never alone.
func TestBaySigns(t *testing.T) {
	signs := map[BayState]string{
		BayEmpty: "○", BayBlank: "●", BayWorking: "▶", BayWaiting: "◐", BayDone: "✔", BayFailed: "✖", BayQuarantined: "✖",
		BayLabelling: "▤", BayLabel: "▤", BayMixed: "✖", BayUnread: "■", BayUsed: "■", BayRefused: "■", BayUnknown: "■", BayUnlisted: "■",
	}
	f := sampleFloor()
	c, _ := newPage(t, f)
	for _, state := range bayStates() {
		f.arrange(func(f *floor) { f.bays = []Bay{{Name: "b", State: state}} })
		for _, w := range c.words {
			word, err := w.say("bay." + string(state))
			if text := frameOf(t, c.bays, w, RoleAuditor); err != nil || signs[state] == "" || !strings.Contains(text, `<span aria-hidden="true">`+signs[state]+`</span> `+word) {
				t.Errorf("%s %s: no sign %q and word %q (%v)", w.name, state, signs[state], word, err)
			}
		}
	}
}
