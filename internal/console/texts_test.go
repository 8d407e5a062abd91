package console

import (
	"io/fs"
	"maps"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template/parse"
	"time"
)

// TestTextsInEveryLanguage: no language lacks a text, and all say the same things.
func TestTextsInEveryLanguage(t *testing.T) {
	verb := regexp.MustCompile(`%(\[\d+\])?[a-z]`)
	han := regexp.MustCompile(`\p{Han}`)
	seen := map[string]bool{}
	for _, x := range texts() {
		if x.key == "" || x.zh == "" || x.en == "" || seen[x.key] {
			t.Errorf("%q: a language lacks it, or it is there twice", x.key)
		}
		seen[x.key] = true
		if !han.MatchString(x.zh) && x.key != "disk.mb" && x.key != "number" && !strings.HasPrefix(x.key, "say:%s.") {
			t.Errorf("%q is not Chinese: %s", x.key, x.zh)
		}
		if han.MatchString(x.en + x.one) {
			t.Errorf("%q is not English: %s", x.key, x.en)
		}
		for _, other := range []string{x.en, x.one} {
			if a, b := verb.FindAllString(x.zh, -1), verb.FindAllString(other, -1); other != "" && !slices.Equal(a, b) {
				t.Errorf("%q has %v in Chinese and %v in English", x.key, a, b)
			}
		}
		if strings.Contains(x.key, "hint:") {
			continue
		}
		if strings.Contains(x.zh, ".") && !strings.Contains(x.zh, "systemctl") {
			t.Errorf("%q has an English full stop: %s", x.key, x.zh)
		}
	}
	for _, s := range bayStates() {
		for _, key := range []string{"bay." + string(s), "todo." + string(s)} {
			if !seen[key] {
				t.Errorf("there is no text %q", key)
			}
		}
	}
	for _, r := range Roles() {
		if !seen["role."+string(r)] {
			t.Errorf("the role %s has no name", r)
		}
	}
	for _, s := range actStates() {
		if !seen["acting."+string(s)] {
			t.Errorf("an act that is %s has no sentence", s)
		}
	}
	for _, s := range screens() {
		if !seen["title."+s] {
			t.Errorf("the screen %s has no title", s)
		}
	}
}

// TestTemplatesSayWhatThereIs: every text that a template names exists, every text is
// named, and no template has words of its own.
func TestTemplatesSayWhatThereIs(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	named, families := map[string]bool{}, map[string]bool{}
	var visit func(n parse.Node)
	list := func(l *parse.ListNode) {
		if l != nil {
			for _, n := range l.Nodes {
				visit(n)
			}
		}
	}
	pipe := func(p *parse.PipeNode) {
		for _, cmd := range p.Cmds {
			for _, a := range cmd.Args {
				visit(a)
			}
			first, ok := cmd.Args[0].(*parse.IdentifierNode)
			if !ok || first.Ident != "t" {
				continue
			}
			switch a := cmd.Args[1].(type) {
			case *parse.StringNode:
				named[a.Text] = true
			case *parse.PipeNode: // printf "family.%s" …
				families[strings.TrimSuffix(a.Cmds[0].Args[1].(*parse.StringNode).Text, "%s")] = true
			}
		}
	}
	visit = func(n parse.Node) {
		switch n := n.(type) {
		case *parse.ListNode:
			list(n)
		case *parse.ActionNode:
			pipe(n.Pipe)
		case *parse.PipeNode:
			pipe(n)
		case *parse.IfNode:
			pipe(n.Pipe)
			list(n.List)
			list(n.ElseList)
		case *parse.RangeNode:
			pipe(n.Pipe)
			list(n.List)
			list(n.ElseList)
		case *parse.WithNode:
			pipe(n.Pipe)
			list(n.List)
			list(n.ElseList)
		}
	}
	// The shape as it was written, before html/template adds what escapes.
	files, err := fs.Glob(markup, "templates/*.html")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	functions := map[string]any{"printf": 1, "index": 1, "eq": 1, "lt": 1, "or": 1, "not": 1, "and": 1, "len": 1}
	maps.Copy(functions, c.words[0].funcs())
	tags := regexp.MustCompile(`<[^>]*>`)
	for _, file := range files {
		text, err := fs.ReadFile(markup, file)
		if err != nil {
			t.Fatal(err)
		}
		trees, err := parse.Parse(file, string(text), "", "", functions)
		if err != nil {
			t.Fatal(err)
		}
		for _, tree := range trees {
			list(tree.Root)
		}
		without := tags.ReplaceAllString(regexp.MustCompile(`\{\{[^}]*\}\}`).ReplaceAllString(string(text), ""), "")
		if word := regexp.MustCompile(`\pL{2,}`).FindString(without); word != "" {
			t.Errorf("%s says %q itself", file, word)
		}
	}
	if len(named) < 20 || len(families) < 8 {
		t.Fatalf("only %d texts and %d families were found in the templates", len(named), len(families))
	}
	for key := range named {
		if !c.words[0].keys[key] {
			t.Errorf("a template says %q, which does not exist", key)
		}
	}
	byCode := []string{"stock.unread", "queue.none", "mailers.none", "bays.none", "search.nocode", "today.none", "late.minutes", "late.hours", "late.days"}
	for _, a := range LabelAnswers() {
		byCode = append(byCode, "label."+string(a))
	}
	for key := range c.words[0].keys {
		family := slices.ContainsFunc([]string{"hint:", "alarm.", "todo.", "say:", "no."}, func(f string) bool { return strings.HasPrefix(key, f) })
		for f := range families {
			family = family || strings.HasPrefix(key, f)
		}
		if !named[key] && !family && !slices.Contains(byCode, key) {
			t.Errorf("nobody says %q", key)
		}
	}
}

// TestNumbersAndDates: as each language writes them.
func TestNumbersAndDates(t *testing.T) {
	c, now := newPage(t, sampleFloor())
	zh, en := c.words[0], c.words[1]
	*now = noon
	for _, row := range []struct {
		ago    time.Duration
		zh, en string
	}{
		{time.Minute, "超期 1 分钟", "1 minute late"},
		{59 * time.Minute, "超期 59 分钟", "59 minutes late"},
		{time.Hour, "超期 1 小时", "1 hour late"},
		{47 * time.Hour, "超期 1 天", "1 day late"},
		{1234 * 24 * time.Hour, "超期 1,234 天", "1,234 days late"},
		{-time.Hour, "超期 0 分钟", "0 minutes late"},
	} {
		for w, want := range map[*words]string{zh: row.zh, en: row.en} {
			if got, err := w.late(noon.Add(-row.ago)); err != nil || got != want {
				t.Errorf("%s ago: %q, want %q (%v)", row.ago, got, want, err)
			}
		}
	}
	if a, b := zh.at(noon), en.at(noon); a != "11月26日 12:00" || b != "26 Nov 12:00" {
		t.Errorf("%q and %q", a, b)
	}
	if got, err := en.say("unit", 3, 1234); err != nil || got != "key 3 of 1,234" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := zh.say("unit", 3, 8); err != nil || got != "第 3 把 / 共 8 把" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := zh.say("nonsense"); err == nil {
		t.Error("a text that does not exist was said")
	}
	if got := usual(75 * time.Second); got != "1:15" {
		t.Errorf("%q", got)
	}
	for hint, foreign := range map[string]bool{"Put the token back.": false, "Something new.": true} {
		if got := zh.hint(hint); got.Foreign != foreign || foreign && got.Text != hint {
			t.Errorf("%q: %+v", hint, got)
		}
		if got := en.hint(hint); got.Foreign || got.Text != hint {
			t.Errorf("%q: %+v", hint, got)
		}
	}
}

// TestLanguage: the account's choice, then the browser's, then Chinese.
func TestLanguage(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	for _, row := range []struct{ cookie, accept, want string }{
		{"", "", "zh-CN"},
		{"", "en-GB,en;q=0.8", "en"},
		{"", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"},
		{"", "fr-FR", "zh-CN"},
		{"", ";;;", "zh-CN"},
		{"en", "zh-CN", "en"},
		{"zh-CN", "en", "zh-CN"},
		{"fr", "en", "en"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Language", row.accept)
		if row.cookie != "" {
			r.Header.Set("Cookie", languageCookie+"="+row.cookie)
		}
		if got := c.wordsFor(r).name; got != row.want {
			t.Errorf("%+v: %s", row, got)
		}
	}
}
