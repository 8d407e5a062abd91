package console

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longestCode is how many characters a code may have.
const longestCode = 128

// Code is what somebody has typed or a scanner has read, as it is looked for; "" for what
// cannot be a code.
func Code(text string) string {
	text = strings.TrimSpace(text)
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > longestCode || strings.ContainsFunc(text, unicode.IsControl) {
		return ""
	}
	return text
}

// search is the screen of what a code names. All units of one order are shown as that order.
func (c *Console) search(asked string) screen {
	return func(w *words, p Person) (frame, error) {
		f := c.begin(w, p, "search")
		code := Code(asked)
		if code == "" {
			f.add("none", "none", map[string]any{"Text": "search.nocode"})
			return f.frame, f.err
		}
		finds, err := c.Books.Find(code)
		if err != nil {
			return frame{}, err
		}
		f.add("found", "found", map[string]any{"Asked": code, "Finds": finds, "Count": len(finds.Hits)})
		if len(finds.Hits) == 0 || finds.More {
			return f.frame, f.err
		}
		first := finds.Hits[0].Order
		if first == "" || slices.ContainsFunc(finds.Hits, func(h Hit) bool { return h.Order != first }) {
			return f.frame, f.err
		}
		o, err := c.Books.Order(first)
		if err != nil || o == nil {
			return frame{}, err
		}
		found := map[string]bool{}
		for _, h := range finds.Hits {
			found[h.Unit] = h.By != "order"
		}
		f.order(o, found, p)
		return f.frame, f.err
	}
}
