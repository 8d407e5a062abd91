package console

import (
	"fmt"
	"html/template"
	"net/http"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/message/catalog"

	"golang.org/x/text/feature/plural"
)

// languageCookie keeps which language an account has chosen.
const languageCookie = "usbkeyd-language"

// text is one text in every language. Verbs are those of fmt; numbers are grouped as the
// language does it.
type text struct {
	key    string
	zh, en string
	// one is the English text where the first argument is 1. Chinese has no such thing.
	one string
}

// words is one language.
type words struct {
	name string // as HTML and HTTP write it
	tag  language.Tag
	own  string // as it calls itself
	p    *message.Printer
	// keys are those that there are: the library prints a key that it does not know.
	keys map[string]bool
	zone *time.Location
	now  func() time.Time
	// date is how a day and a time of it are written, day one of any year, second a time to
	// the second.
	date, day, second string
}

// speak reads all texts and templates. A text that a language lacks is an error.
func (c *Console) speak() error {
	b := catalog.NewBuilder(catalog.Fallback(language.Chinese))
	keys := map[string]bool{}
	for _, t := range texts() {
		if t.key == "" || t.zh == "" || t.en == "" || keys[t.key] {
			return fmt.Errorf("text %q: a language lacks it, or it is there twice", t.key)
		}
		keys[t.key] = true
		english := []catalog.Message{catalog.String(t.en)}
		if t.one != "" {
			english = []catalog.Message{plural.Selectf(1, "%d", plural.One, t.one, plural.Other, t.en)}
		}
		if err := b.SetString(language.Chinese, t.key, t.zh); err != nil {
			return fmt.Errorf("text %q: %w", t.key, err)
		}
		if err := b.Set(language.English, t.key, english...); err != nil {
			return fmt.Errorf("text %q: %w", t.key, err)
		}
	}
	c.words = []*words{
		{name: "zh-CN", tag: language.Chinese, own: "中文", date: "1月2日 15:04", day: "2006年1月2日", second: "1月2日 15:04:05"},
		{name: "en", tag: language.English, own: "English", date: "2 Jan 15:04", day: "2 Jan 2006", second: "2 Jan 15:04:05"},
	}
	c.templates = map[language.Tag]*template.Template{}
	for _, w := range c.words {
		w.p, w.keys, w.zone, w.now = message.NewPrinter(w.tag, message.Catalog(b)), keys, c.Zone, c.Now
		t, err := template.New("").Funcs(w.funcs()).ParseFS(markup, "templates/*.html")
		if err != nil {
			return err
		}
		c.templates[w.tag] = t
	}
	return nil
}

// speaks reports whether there is a language of that name.
func (c *Console) speaks(name string) bool {
	for _, w := range c.words {
		if w.name == name {
			return true
		}
	}
	return false
}

// wordsFor is the language that the account has chosen, else one that its browser asks
// for, else Chinese.
func (c *Console) wordsFor(r *http.Request) *words {
	if chosen, err := r.Cookie(languageCookie); err == nil {
		for _, w := range c.words {
			if w.name == chosen.Value {
				return w
			}
		}
	}
	var have []language.Tag
	for _, w := range c.words {
		have = append(have, w.tag)
	}
	wanted, _, _ := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	_, i, sure := language.NewMatcher(have).Match(wanted...)
	if sure == language.No {
		i = 0
	}
	return c.words[i]
}

// funcs are what templates call.
func (w *words) funcs() template.FuncMap {
	return template.FuncMap{"t": w.say, "at": w.at, "late": w.late, "hint": w.hint, "usual": usual, "millis": time.Time.UnixMilli, "day": w.dayOf, "second": w.secondOf, "clock": w.clock,
		"phrase": w.phrase}
}

// say is a text with its arguments; a key that does not exist is an error.
func (w *words) say(key string, args ...any) (string, error) {
	if !w.keys[key] {
		return "", fmt.Errorf("there is no text %q", key)
	}
	return w.p.Sprintf(key, args...), nil
}

// sentence is a text in words of the daemon, and whether the language has it; else it is
// as the daemon wrote it, which is English.
type sentence struct {
	Text    string
	Foreign bool
}

func (w *words) sentence(key, otherwise string) sentence {
	if s, err := w.say(key); err == nil {
		return sentence{Text: s}
	}
	return sentence{otherwise, w.tag != language.English}
}

// hint is a next action.
func (w *words) hint(english string) sentence { return w.sentence("hint:"+english, english) }

// at is a moment, by the clock on the wall.
func (w *words) at(t time.Time) string { return t.In(w.zone).Format(w.date) }

// dayOf is a day of any year, secondOf a moment to the second.
func (w *words) dayOf(t time.Time) string    { return t.In(w.zone).Format(w.day) }
func (w *words) secondOf(t time.Time) string { return t.In(w.zone).Format(w.second) }

// clock is a time of a day.
func (w *words) clock(t time.Time) string { return t.In(w.zone).Format("15:04") }

// late says by how much a time is over, in the largest unit that gives a whole number.
func (w *words) late(t time.Time) (string, error) {
	switch d := w.now().Sub(t); {
	case d >= 24*time.Hour:
		return w.say("late.days", int(d/(24*time.Hour)))
	case d >= time.Hour:
		return w.say("late.hours", int(d/time.Hour))
	default:
		return w.say("late.minutes", int(max(d, 0)/time.Minute))
	}
}

// usual is a length of time as a stopwatch shows it.
func usual(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
