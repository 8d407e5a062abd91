package console

import "fmt"

// Phrase is a sentence of whoever answers an act: a pattern of fmt, which has its text in
// every language under "say:", and what stands in it, other phrases too.
type Phrase interface {
	fmt.Stringer // in English
	Parts() (pattern string, args []any)
}

// Saying is a Phrase.
type Saying struct {
	pattern string
	args    []any
}

// Say makes a phrase.
func Say(pattern string, args ...any) Saying { return Saying{pattern, args} }

// String implements fmt.Stringer.
func (s Saying) String() string { return fmt.Sprintf(s.pattern, s.args...) }

// Parts implements Phrase.
func (s Saying) Parts() (string, []any) { return s.pattern, s.args }

// phrase says one in the language, and in English where a text is missing.
func (w *words) phrase(p Phrase) sentence {
	pattern, args := p.Parts()
	own := make([]any, len(args))
	for i, a := range args {
		own[i] = a
		if inner, ok := a.(Phrase); ok {
			s := w.phrase(inner)
			if s.Foreign {
				return w.sentence("", p.String())
			}
			own[i] = s.Text
		}
	}
	if text, err := w.say("say:"+pattern, own...); err == nil {
		return sentence{Text: text}
	}
	return w.sentence("", p.String())
}

// Answer is what an act came to.
type Answer struct {
	Said Phrase
	// Cause is more, in the daemon's own words; "" for nothing.
	Cause string
	// Done reports that it was done, else it was refused.
	Done bool
	// Stops reports that what was refused may be the wrong key in somebody's hand: nothing
	// more is taken before a person has acknowledged that.
	Stops bool
}
