package console

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A PIN is printed on a person's word for it, at the socket: for one letter, or at once for
// those of an order that may be printed.

// Why no letter is printed.
const (
	NoLetter      No = "no-letter"      // none of what is asked for may be printed that way
	PrinterBusy   No = "printer-busy"   // another letter is being printed
	LetterStopped No = "letter-stopped" // one was not printed, or nobody knows
)

// printAct reads which letters are to be printed: that of a unit (print, or reprint with
// another PIN), or those of an order (print-order).
func (c *Console) printAct(r *http.Request) (Preparation, error) {
	var asked struct {
		Act  string `json:"act"`
		Code string `json:"code"`
	}
	if err := read(r, &asked); err != nil {
		return nil, err
	}
	of, may := func(l Letter) bool { return l.Unit == asked.Code }, Letter.MayPrint
	switch asked.Act {
	case "print":
	case "print-order":
		of = func(l Letter) bool { return l.Order == asked.Code }
	case "reprint":
		may = Letter.MayReprint
	default:
		return nil, fmt.Errorf("no letter is to %q", asked.Act)
	}
	return c.printing(asked.Act, asked.Code, of, may), nil
}

// printing prepares it. Those that may be printed when it is asked for are what is printed: a
// letter that comes later is not, and one that may not be printed any more keeps all from it.
func (c *Console) printing(what, code string, of, may func(Letter) bool) Preparation {
	var units []string // as they were asked for
	return func() (Act, error) {
		act := Act{What: what, Of: code, First: []Role{RoleMailer}}
		all, err := c.Mailers.Letters()
		if err != nil {
			return act, err
		}
		first := units == nil
		var now, exactly []string
		for _, l := range all {
			if !of(l) || !may(l) || !first && !slices.Contains(units, l.Unit) {
				continue
			}
			now = append(now, l.Unit)
			exactly = append(exactly, fmt.Sprintf("%s (token %s, %s, sheets so far: %d)", l.Unit, l.Token, l.State, l.Sheets))
		}
		if len(now) == 0 {
			return act, NoLetter
		}
		if first {
			units = now
		}
		act.Exactly = fmt.Sprintf("letters, in this order: %s", strings.Join(exactly, ", "))
		act.Do = func(ctx context.Context, by, _ string) error { return c.print(ctx, what, now, by) }
		return act, nil
	}
}

// print prints letters one after the other, up to the first that the printer does not say is
// done. Nothing breaks a letter off; between two of them the daemon may end.
func (c *Console) print(ctx context.Context, what string, units []string, by string) error {
	c.slot.mu.Lock()
	if c.slot.busy != "" {
		c.slot.mu.Unlock()
		return PrinterBusy
	}
	c.slot.Answer, c.slot.printed, c.slot.of = Answer{}, nil, 0
	if len(units) > 1 {
		c.slot.of = len(units)
	}
	c.slot.busy = units[0]
	c.slot.mu.Unlock()
	defer c.Changed()
	defer c.printsNow("")
	do := c.Mailers.Print
	if what == "reprint" {
		do = c.Mailers.Reprint
	}
	for _, unit := range units {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.printsNow(unit)
		c.Changed()
		answer, err := do(context.WithoutCancel(ctx), unit, by)
		c.said(answer, by)
		switch {
		case err != nil:
			c.Log.Error("a letter was not printed", "unit", unit, "person", by, "error", err)
			return err
		case !answer.Done:
			return LetterStopped
		}
		c.slot.mu.Lock()
		c.slot.printed = append(c.slot.printed, unit)
		c.slot.mu.Unlock()
	}
	return nil
}

// printsNow notes whose letter is being printed, "" for nobody's.
func (c *Console) printsNow(unit string) {
	c.slot.mu.Lock()
	defer c.slot.mu.Unlock()
	c.slot.busy = unit
}
