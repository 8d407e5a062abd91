package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// markup is what frames are made of.
//
//go:embed templates
var markup embed.FS

// screens are all there are, in the order of the page's head.
func screens() []string {
	return []string{
		"bays", "queue", "today",
		"packing", "mailers",
		"quarantine", "stock",
		"station",
	}
}

// visible are the screens whose routes let a person in.
func (c *Console) visible(p Person) (out []string) {
	for _, name := range screens() {
		if slices.ContainsFunc(c.routes(), func(r route) bool { return r.path == "/live/"+name && p.may(r.policy.roles) }) {
			out = append(out, name)
		}
	}
	return out
}

// framing makes a frame part by part; the first error is kept.
type framing struct {
	c     *Console
	words *words
	frame frame
	err   error
}

// begin makes a frame with its head.
func (c *Console) begin(w *words, p Person, name string) *framing {
	title, err := w.say("title." + name)
	f := &framing{c: c, words: w, frame: frame{Language: w.name, Title: title, Parts: []part{}}, err: err}
	type choice struct {
		Name, Own string
		Current   bool
	}
	var languages []choice
	for _, l := range c.words {
		languages = append(languages, choice{l.name, l.own, l == w})
	}
	s := c.Floor.Station()
	f.frame.Head = f.render("head", "head", map[string]any{
		"Station": s.Name, "Screens": c.visible(p), "Current": name, "Person": p, "Languages": languages, "Label": c.labelScan(p),
	})
	for _, a := range s.Alarms {
		f.add("alarm-"+a.Code+a.Since.String(), "alarm", map[string]any{
			"Alarm": a, "What": w.sentence("alarm."+a.Code, a.Text), "Todo": w.sentence("todo."+a.Code, a.Hint),
		})
	}
	f.pending(c.acts.mine(p), c.Now())
	return f
}

// add adds a part; key says which, among those of the screen.
func (f *framing) add(key, template string, data map[string]any) {
	f.frame.Parts = append(f.frame.Parts, f.render(key, template, data))
}

// render makes a part. Its id is made from the key, which may be any text.
func (f *framing) render(key, template string, data map[string]any) part {
	id := key
	if key != template {
		sum := sha256.Sum256([]byte(key))
		id = template + "-" + hex.EncodeToString(sum[:6])
	}
	if f.err != nil {
		return part{id}
	}
	data["ID"] = id
	var b bytes.Buffer
	if err := f.c.templates[f.words.tag].ExecuteTemplate(&b, template, data); err != nil {
		f.err = fmt.Errorf("screen: %w", err)
	}
	return part{id, b.String()}
}

// icons stand beside the word, so that colour is never alone.
func icon(s BayState) string {
	switch s {
	case BayEmpty:
		return "○"
	case BayBlank:
		return "●"
	case BayWorking:
		return "▶"
	case BayWaiting:
		return "◐"
	case BayDone:
		return "✔"
	case BayLabelling, BayLabel:
		return "▤"
	case BayFailed, BayQuarantined, BayMixed:
		return "✖"
	}
	return "■"
}

// bays is the screen of what stands before the operator.
func (c *Console) bays(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "bays")
	all := c.Floor.Bays()
	tally := map[string]int{"working": 0, "attention": 0, "done": 0, "free": 0}
	for _, b := range all {
		switch b.State {
		case BayWorking:
			tally["working"]++
		case BayDone:
			tally["done"]++
		case BayEmpty, BayBlank:
			tally["free"]++
		default:
			tally["attention"]++
		}
	}
	f.add("tally", "tally", map[string]any{"Tally": tally, "Names": []string{"working", "attention", "done", "free"}})
	for _, b := range all {
		f.add(b.Name, "bay", map[string]any{"Bay": b, "Icon": icon(b.State), "Active": b.State == BayWorking, "Labels": labelActs(b, p)})
	}
	if len(all) == 0 {
		f.add("none", "none", map[string]any{"Text": "bays.none"})
	}
	return f.frame, f.err
}

// tolerance is how far clocks may be apart before it is said.
const tolerance = 30 * time.Second

// station is the screen of the station itself.
func (c *Console) station(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "station")
	s := c.Floor.Station()
	clock := "right"
	switch {
	case s.Answered.IsZero():
		clock = "unknown"
	case s.Ahead >= tolerance:
		clock = "behind"
	case s.Ahead <= -tolerance:
		clock = "ahead"
	}
	f.add("station", "station", map[string]any{
		"S": s, "Clock": clock, "Apart": int(s.Ahead.Abs() / time.Second), "MB": s.DiskFree >> 20,
	})
	f.add("modules", "modules", map[string]any{"Modules": s.Modules})
	f.add("teach", "teach-link", map[string]any{})
	return f.frame, f.err
}
