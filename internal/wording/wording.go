// Package wording says in Chinese what the command line says in English, for whoever's locale
// asks for Chinese.
//
// The English text is the key: a text of the program, or a pattern of fmt. It owns the Chinese
// of commands, tables, sentences and errors; what the operator's page says too is given to it.
// It must not know what the commands do, and never sees what is printed for programs (JSON).
package wording

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Words is one language. The zero value is English, in which everything is written.
type Words struct {
	chinese map[string]string
	shapes  func() []shape
}

// For is the language of a locale (POSIX.1-2017, XBD 8.2): of LC_ALL, LC_MESSAGES and LANG the
// first that is set counts. more are further Chinese texts by their English ones, such as the
// operator's page has.
func For(getenv func(string) string, more ...map[string]string) Words {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := getenv(name); v != "" {
			if strings.HasPrefix(v, "zh") {
				return Chinese(more...)
			}
			break
		}
	}
	return Words{}
}

// Chinese is Chinese.
func Chinese(more ...map[string]string) Words {
	all := map[string]string{}
	for _, m := range more {
		maps.Copy(all, m)
	}
	maps.Copy(all, texts())
	return Words{chinese: all, shapes: sync.OnceValue(func() []shape { return shapesOf(all) })}
}

// IsChinese reports whether it is Chinese.
func (w Words) IsChinese() bool { return w.chinese != nil }

// Say is a text of the program; one that the language lacks stays English.
func (w Words) Say(english string) string {
	if own, ok := w.chinese[english]; ok {
		return own
	}
	return english
}

// Name is what a value of the program is called, of a family of them such as step or bay; one that
// is not there has no name, also where the page says something of it.
func (w Words) Name(family, value string) string {
	if value == "" {
		return ""
	}
	if own, ok := w.chinese[family+"."+value]; ok {
		return own
	}
	return value
}

// Of is a text that is there in every language, by the names of HTTP.
func (w Words) Of(text map[string]string) string {
	if w.IsChinese() {
		return text["zh-CN"]
	}
	return text["en"]
}

// Sprintf is fmt.Sprintf, in the language.
func (w Words) Sprintf(pattern string, args ...any) string {
	return fmt.Sprintf(w.Say(pattern), args...)
}

// Fprintf is fmt.Fprintf, in the language.
func (w Words) Fprintf(to io.Writer, pattern string, args ...any) (int, error) {
	return fmt.Fprintf(to, w.Say(pattern), args...)
}

// Fprintln writes a line of a text and of what came from below behind it.
func (w Words) Fprintln(to io.Writer, text string, below ...any) (int, error) {
	line := []any{w.Say(text)}
	for _, b := range below {
		line = append(line, w.Told(fmt.Sprint(b)))
	}
	return fmt.Fprintln(to, line...)
}

// Told is what came from below as English: an error, a reason, a next action. It is recognised
// by the patterns that it was made with, also behind or before what others have put around it and
// with a full stop put behind it; what is not recognised stays as it is. Each line is taken for itself.
func (w Words) Told(english string) string {
	if !w.IsChinese() {
		return english
	}
	if own, ok := w.chinese[english]; ok {
		return own
	}
	lines := strings.Split(english, "\n")
	for i, line := range lines {
		lines[i] = w.line(line)
	}
	return strings.Join(lines, "\n")
}

func (w Words) line(english string) string {
	indent := english[:len(english)-len(strings.TrimLeft(english, " "))]
	if own, ok := w.whole(english[len(indent):]); ok {
		return indent + own
	}
	// A chain of errors: what each has put before the next one, and the last.
	for at := 0; ; {
		colon := strings.Index(english[at:], ": ")
		if colon < 0 {
			// What a library says last is not known, but what was put before it may be.
			if own := w.heads(english); own != strings.ReplaceAll(english, ": ", "：") {
				return own
			}
			return english
		}
		at += colon + 2
		if own, ok := w.whole(english[at:]); ok {
			return w.heads(english[:at-2]) + "：" + own
		}
	}
}

// heads are the parts of a chain, each told for itself. One without a blank is the
// name of a file or field, which may be a word of a table as well.
func (w Words) heads(english string) string {
	if own, ok := w.whole(english); ok && strings.Contains(english, " ") {
		return own
	}
	if colon := strings.Index(english, ": "); colon >= 0 {
		return w.heads(english[:colon]) + "：" + w.heads(english[colon+2:])
	}
	return english
}

// whole is a text, or what one pattern was filled with.
func (w Words) whole(english string) (string, bool) {
	if own, ok := w.chinese[english]; ok {
		return own, true
	}
	unstopped, stopped := strings.CutSuffix(english, ".")
	if own, ok := w.chinese[unstopped]; ok && stopped {
		return own + "。", true
	}
	for _, s := range w.shapes() {
		if found := s.fits(english); found != nil {
			return s.fill(found[1:], w.line), true
		}
		// What a pattern with an open end was filled with has the full stop, and is told with it.
		if found := s.fits(unstopped); found != nil && stopped && !s.open {
			return s.fill(found[1:], w.line) + "。", true
		}
	}
	return "", false
}

// shape is a pattern of fmt as it looks when it is filled.
type shape struct {
	english *regexp.Regexp
	chinese string
	// order is the number of the argument of each verb, from 0.
	order []int
	wraps bool // it was put around another error
	leads bool // it begins with a value that it is filled with, which is no chain
	open  bool // it ends with what it is filled with
	fixed int  // how many characters are its own
}

// fits are the values that the pattern was filled with to give the text, nil if it was not.
func (s shape) fits(english string) []string {
	found := s.english.FindStringSubmatch(english)
	if found != nil && s.leads && strings.Contains(found[1], ": ") {
		return nil
	}
	return found
}

// verb is one of fmt, with the number of its argument if it has one.
var verb = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`%(?:\[(\d+)\])?[-+# 0]*\d*(?:\.\d+)?([a-zA-Z%])`) })

// quoted is what %q writes: a text or a character.
const quoted = `("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')`

// leastFixed is how many letters of its own a pattern needs to be recognised by.
const leastFixed = 3

// shapesOf are those of the patterns: what is put around others first, since it looks like a part
// of what is inside, then the most particular.
func shapesOf(all map[string]string) []shape {
	var out []shape
	for english, chinese := range all {
		order := verbs(english)
		if len(order) == 0 {
			continue
		}
		s := shape{chinese: strings.TrimSuffix(chinese, "\n"), order: order, wraps: strings.Contains(english, "%w")}
		var b strings.Builder
		at := 0
		text := strings.TrimSuffix(english, "\n")
		for _, m := range verb().FindAllStringSubmatchIndex(text, -1) {
			own := text[at:m[0]]
			b.WriteString(regexp.QuoteMeta(own))
			s.fixed += len(strings.Join(strings.FieldsFunc(own, func(r rune) bool { return r < 'A' }), ""))
			switch text[m[4]:m[5]] {
			case "%":
				b.WriteString("%")
			case "q":
				b.WriteString(quoted)
			case "d":
				b.WriteString(`([-+]?\d+)`)
			default:
				b.WriteString(`(.*?)`)
				s.leads = s.leads || m[0] == 0 && text[m[4]:m[5]] != "w"
			}
			at = m[1]
		}
		b.WriteString(regexp.QuoteMeta(text[at:]))
		s.open = at == len(text)
		s.fixed += len(text[at:])
		if s.fixed < leastFixed {
			continue
		}
		s.english = regexp.MustCompile(`(?s)^` + b.String() + `$`)
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b shape) int {
		if a.wraps != b.wraps {
			if a.wraps {
				return -1
			}
			return 1
		}
		if a.fixed != b.fixed {
			return b.fixed - a.fixed
		}
		return strings.Compare(a.english.String(), b.english.String())
	})
	return out
}

// verbs are the numbers of the arguments that a pattern takes, from 0, in the order of its verbs.
func verbs(pattern string) (out []int) {
	next := 0
	for _, m := range verb().FindAllStringSubmatch(pattern, -1) {
		if m[2] == "%" {
			continue
		}
		if m[1] != "" {
			next = int(m[1][0]-'0') - 1
		}
		out = append(out, next)
		next++
	}
	return out
}

// fill puts what was found into the Chinese pattern; told is for what may be text itself.
func (s shape) fill(found []string, told func(string) string) string {
	values := map[int]string{}
	for i, n := range s.order {
		values[n] = told(found[i])
	}
	next := 0
	return verb().ReplaceAllStringFunc(s.chinese, func(v string) string {
		if strings.HasSuffix(v, "%") {
			return "%"
		}
		if m := verb().FindStringSubmatch(v); m[1] != "" {
			next = int(m[1][0]-'0') - 1
		}
		next++
		return values[next-1]
	})
}
