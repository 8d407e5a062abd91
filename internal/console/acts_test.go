package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// People of these tests.
func asker() Person    { return Person{UID: 1000, ID: "supervisor.a", Roles: []Role{RoleSupervisor}} }
func approver() Person { return Person{UID: 1001, ID: "supervisor.b", Roles: []Role{RoleSupervisor}} }

// deed is an act that a test can look at.
type deed struct {
	exactly    string
	second     []Role
	no         error
	fails      error
	by, helper string
	times      int
}

func (d *deed) prepare() (Act, error) {
	return Act{
		What: "release", Of: "T0001", Exactly: d.exactly, First: []Role{RoleSupervisor}, Second: d.second,
		Do: func(_ context.Context, by, second string) error {
			d.by, d.helper, d.times = by, second, d.times+1
			return d.fails
		},
	}, d.no
}

// give gives a person's word as the commands do: what is seen is answered.
func give(a *acts, code string, who Person, approve bool) error {
	seen, err := a.see(code, who)
	if err != nil {
		return err
	}
	_, do, err := a.answer(code, who, approve, seen.digest())
	if do != nil {
		do(context.Background())
	}
	return err
}

// TestAnActIsDoneOnce: on the word of all whom it needs, in any order, and never before or
// again; whoever gave it is told.
func TestAnActIsDoneOnce(t *testing.T) {
	now := noon
	a := newActs(func() time.Time { return now })
	d := &deed{exactly: "x"}
	p, err := a.ask(asker(), d.prepare)
	if err != nil || d.times != 0 || len(p.code) != 9 {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := give(a, strings.ToLower(strings.ReplaceAll(p.code, "-", " ")), asker(), false); err != nil || d.times != 1 || d.by != "supervisor.a" || d.helper != "" {
		t.Errorf("%+v, %v", d, err)
	}
	if err := give(a, p.code, asker(), false); !errors.Is(err, errOver) || d.times != 1 {
		t.Errorf("replayed: %v, %d times", err, d.times)
	}
	for _, order := range [][]bool{{false, true}, {true, false}} {
		d := &deed{second: []Role{RoleSupervisor}}
		p, err := a.ask(asker(), d.prepare)
		if err != nil {
			t.Fatal(err)
		}
		for i, approve := range order {
			if d.times != 0 {
				t.Errorf("done on one word")
			}
			who := asker()
			if approve {
				who = approver()
			}
			if err := give(a, p.code, who, approve); err != nil {
				t.Errorf("word %d: %v", i, err)
			}
		}
		if d.times != 1 || d.by != "supervisor.a" || d.helper != "supervisor.b" {
			t.Errorf("%+v", d)
		}
	}
	d = &deed{fails: errors.New("no disk")}
	p, _ = a.ask(asker(), d.prepare)
	_ = give(a, p.code, asker(), false)
	if got, err := a.see(p.code, asker()); err != nil || got.state != actFailed || got.failure != d.fails {
		t.Errorf("%+v, %v", got, err)
	}
	now = now.Add(actShown)
	if _, err := a.see(p.code, asker()); !errors.Is(err, errNoCode) {
		t.Errorf("what ended long ago: %v", err)
	}
}

// TestAnswersThatDoNotCount: each leaves the act undone.
func TestAnswersThatDoNotCount(t *testing.T) {
	role := func(p Person, r ...Role) Person { p.Roles = r; return p }
	one, two := []Role(nil), []Role{RoleSupervisor}
	rows := []struct {
		name    string
		second  []Role
		who     Person
		approve bool
		before  func(a *acts, d *deed, p *pending, now *time.Time)
		want    error
	}{
		{"expired", one, asker(), false, func(_ *acts, _ *deed, _ *pending, now *time.Time) { *now = now.Add(actLife) }, errExpired},
		{"another confirms", one, approver(), false, nil, errWrongRole},
		{"an approver confirms", two, approver(), false, nil, errOtherPerson},
		{"same person approves", two, asker(), true, nil, errSamePerson},
		{"same name, other uid", two, Person{UID: 7, ID: asker().ID, Roles: two}, true, nil, errSamePerson},
		{"same uid, other name", two, Person{UID: asker().UID, ID: "x", Roles: two}, true, nil, errSamePerson},
		{"approver without the role", two, role(approver(), RolePacker), true, nil, errWrongRole},
		{"asker lost the role", one, role(asker(), RolePacker), false, nil, errWrongRole},
		{"nobody else is needed", one, asker(), true, nil, errNobodyElse},
		{"changed since", one, asker(), false, func(_ *acts, d *deed, _ *pending, _ *time.Time) { d.exactly = "y" }, errChanged},
		{"needs another now", one, asker(), false, func(_ *acts, d *deed, _ *pending, _ *time.Time) { d.second = two }, errChanged},
		{"not possible any more", one, asker(), false, func(_ *acts, d *deed, _ *pending, _ *time.Time) { d.no = No("gone") }, No("gone")},
		{"cancelled", one, asker(), false, func(a *acts, _ *deed, p *pending, _ *time.Time) {
			if err := a.cancel(p.code, asker()); err != nil {
				t.Error(err)
			}
		}, errOver},
		{"no such code", one, asker(), false, func(_ *acts, _ *deed, p *pending, _ *time.Time) { p.code = "AAAA-AAAA" }, errNoCode},
		{"approved twice", two, role(Person{UID: 1002, ID: "supervisor.c"}, RoleSupervisor), true, func(a *acts, _ *deed, p *pending, _ *time.Time) {
			if err := give(a, p.code, approver(), true); err != nil {
				t.Error(err)
			}
		}, errOver},
		{"confirmed twice", two, asker(), false, func(a *acts, _ *deed, p *pending, _ *time.Time) {
			if err := give(a, p.code, asker(), false); err != nil {
				t.Error(err)
			}
		}, errOver},
		{"too many wrong answers", two, asker(), false, func(a *acts, _ *deed, p *pending, _ *time.Time) {
			for range mostWrong {
				_ = give(a, p.code, asker(), true)
			}
		}, errOver},
		{"too many wrong codes", one, asker(), false, func(a *acts, _ *deed, _ *pending, _ *time.Time) {
			for range mostWrong {
				_ = give(a, "AAAA-AAAA", asker(), false)
			}
		}, errTooMany},
	}
	for _, row := range rows {
		now := noon
		a := newActs(func() time.Time { return now })
		d := &deed{second: row.second}
		p, err := a.ask(asker(), d.prepare)
		if err != nil {
			t.Fatal(err)
		}
		if row.before != nil {
			row.before(a, d, &p, &now)
		}
		if err := give(a, p.code, row.who, row.approve); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", row.name, err, row.want)
		}
		if d.times != 0 {
			t.Errorf("%s: it was done", row.name)
		}
	}
	// What was shown is what counts.
	a := newActs(func() time.Time { return noon })
	d := &deed{}
	p, _ := a.ask(asker(), d.prepare)
	if _, do, err := a.answer(p.code, asker(), false, ""); !errors.Is(err, errChanged) || do != nil {
		t.Errorf("an answer to what was never seen: %v", err)
	}
	if _, err := a.ask(role(asker(), RolePacker), d.prepare); !errors.Is(err, errNotYou) {
		t.Errorf("asked without the role: %v", err)
	}
	// Who may not see it may not answer, whatever they have read over a shoulder.
	d = &deed{second: []Role{RoleSupervisor}}
	p, _ = a.ask(asker(), d.prepare)
	if _, do, err := a.answer(p.code, role(approver(), RolePacker), true, p.digest()); !errors.Is(err, errWrongRole) || do != nil {
		t.Errorf("an answer unseen, without the role: %v", err)
	}
	// Who asks without end pushes out their own acts alone.
	kept, _ := a.ask(approver(), d.prepare)
	for range 2 * mostActs {
		if _, err := a.ask(asker(), d.prepare); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(a.mine(asker())); n != mostActs {
		t.Errorf("%d acts are kept", n)
	}
	if _, err := a.see(kept.code, approver()); err != nil {
		t.Errorf("another's act: %v", err)
	}
}

// TestRouteThatAsksAgain: it does nothing itself, answers with the code, and the page shows
// what is wanted in both languages.
func TestRouteThatAsksAgain(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	d := &deed{second: []Role{RoleSupervisor}}
	serve := c.asks(func(r *http.Request) (Preparation, error) { return d.prepare, read(r, &struct{}{}) })
	if err := c.mount([]route{{http.MethodPost, "/deed", again(signedIn(RoleSupervisor, RolePacker)), true, serve}}); err != nil {
		t.Fatal(err)
	}
	v := signIn(t, c, "supervisor.a", RoleSupervisor)
	w := v.do(http.MethodPost, "/deed", "{}", nil)
	if w.Code != http.StatusAccepted || d.times != 0 || len(c.acts.all) != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	code := c.acts.all[0].code
	if !strings.Contains(w.Body.String(), code) {
		t.Errorf("the code is not in %s", w.Body)
	}
	for _, words := range c.words {
		f, err := c.bays(words, asker())
		if err != nil {
			t.Fatal(err)
		}
		var shown string
		for _, p := range f.Parts {
			shown += p[1]
		}
		for _, want := range []string{"usbkeyd confirm " + code, "usbkeyd approve " + code, "T0001"} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s: the page lacks %q", words.name, want)
			}
		}
		other, err := c.bays(words, approver())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range other.Parts {
			if strings.Contains(p[1], code) {
				t.Error("another's page shows the code")
			}
		}
	}
	if w := signIn(t, c, "packer.b", RolePacker).do(http.MethodPost, "/deed", "{}", nil); w.Code != http.StatusForbidden {
		t.Errorf("a role that the act does not know: %d", w.Code)
	}
	if w := v.do(http.MethodPost, "/act/cancel", `{"code":"`+code+`"}`, nil); w.Code != http.StatusNoContent || c.acts.all[0].state != actCancelled {
		t.Errorf("cancel: %d", w.Code)
	}
	if w := v.do(http.MethodPost, "/act/cancel", `{"code":"`+code+`"}`, nil); w.Code != http.StatusNotFound {
		t.Errorf("cancel again: %d", w.Code)
	}
	d.no = No("no-token")
	if w := v.do(http.MethodPost, "/deed", "{}", nil); w.Code != http.StatusConflict {
		t.Errorf("what cannot be: %d", w.Code)
	}
	if d.times != 0 {
		t.Error("it was done")
	}
}
