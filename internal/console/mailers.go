package console

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Mailers are the letters that bring PINs. No PIN passes through here. Its methods may wait
// for a disk, Print and Reprint for a printer and a token; errors are the station's own.
type Mailers interface {
	// Letters are those to be seen, in the order of their bays within an order, orders that
	// are due first before others.
	Letters() ([]Letter, error)
	// Print hands a unit's letter to the printer, once; Reprint gives its token another PIN
	// before.
	Print(ctx context.Context, unit, by string) (Answer, error)
	Reprint(ctx context.Context, unit, by string) (Answer, error)
	// Confirm says that a person has the sheet.
	Confirm(unit, by string) (Answer, error)
}

// LetterState is where a unit's letter stands.
type LetterState string

// States of a letter.
const (
	LetterEarly     LetterState = "early"     // the central server has not taken the key yet
	LetterReady     LetterState = "ready"     // may be printed
	LetterUnknown   LetterState = "unknown"   // nobody knows whether there is a sheet
	LetterPrinted   LetterState = "printed"   // the printer has got rid of it
	LetterConfirmed LetterState = "confirmed" // a person has it
	LetterSetting   LetterState = "setting"   // its token was to get another PIN
)

// letterStates are all of them.
func letterStates() []LetterState {
	return []LetterState{LetterEarly, LetterReady, LetterUnknown, LetterPrinted, LetterConfirmed, LetterSetting}
}

// Letter is the letter of one unit.
type Letter struct {
	Unit, Order, Company, Bay, Token string
	Sequence, Of                     int
	State                            LetterState
	// Sheets is how many were printed; PrintedBy and ConfirmedBy name the last one's people.
	Sheets                 int
	PrintedBy, ConfirmedBy string
	At                     time.Time
	// Outcome is what the printer came to, in one word of its own; Says is that in the
	// daemon's words.
	Outcome, Says string
	// Refused is what the central server has against the confirmation.
	Refused string
	// Sheet is what is on paper but for the PIN, a line each; nil where it cannot be made.
	Sheet []string
}

// May be done with a letter next.
func (l Letter) MayPrint() bool   { return l.State == LetterReady }
func (l Letter) MayConfirm() bool { return l.State == LetterUnknown || l.State == LetterPrinted }
func (l Letter) MayReprint() bool {
	return l.MayConfirm() || l.State == LetterConfirmed || l.State == LetterSetting
}

// Sign stands beside the state's word, so that colour is never alone.
func (l Letter) Sign() string {
	return map[LetterState]string{LetterEarly: "◐", LetterReady: "●", LetterUnknown: "⚠", LetterPrinted: "▶", LetterConfirmed: "✔", LetterSetting: "⚠"}[l.State]
}

// slot is what was said last of the letters, to whoever looks at them.
type slot struct {
	mu sync.Mutex
	Answer
	by string
	at time.Time
	// busy is the unit whose letter is being printed, "" for none.
	busy string
	// printed are the units of the letters that were printed on the last word for several, of
	// which there were of.
	printed []string
	of      int
}

// confirm takes a person's word that a sheet is in the hand.
func (c *Console) confirm(w http.ResponseWriter, r *http.Request, s *session) {
	var asked struct {
		Act  string `json:"act"`
		Code string `json:"code"`
	}
	if read(r, &asked) != nil || asked.Act != "confirm" {
		refuse(w, http.StatusBadRequest)
		return
	}
	c.sessions.touch(s)
	answer, err := c.Mailers.Confirm(asked.Code, s.person.ID)
	c.slot.mu.Lock()
	c.slot.printed, c.slot.of = nil, 0
	c.slot.mu.Unlock()
	c.said(answer, s.person.ID)
	c.Changed()
	if err != nil {
		c.failed(w, "mailers", err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// said keeps what an act on a letter came to.
func (c *Console) said(answer Answer, by string) {
	c.slot.mu.Lock()
	defer c.slot.mu.Unlock()
	c.slot.Answer, c.slot.by, c.slot.at = answer, by, c.Now()
}

// mailers is the screen of the letters.
func (c *Console) mailers(w *words, p Person) (frame, error) {
	f := c.begin(w, p, "mailers")
	letters, err := c.Mailers.Letters()
	if err != nil {
		return frame{}, err
	}
	c.slot.mu.Lock()
	said := map[string]any{"Said": nil, "Cause": c.slot.Cause, "Done": c.slot.Done, "By": c.slot.by, "At": c.slot.at}
	printed := map[string]any{"Busy": c.slot.busy, "Units": strings.Join(c.slot.printed, ", "), "Count": len(c.slot.printed), "Of": c.slot.of}
	if c.slot.Said != nil {
		said["Said"] = w.phrase(c.slot.Said)
	}
	busy := c.slot.busy
	c.slot.mu.Unlock()
	f.add("said", "said", said)
	f.add("desk", "desk", printed)
	if len(letters) == 0 {
		f.add("none", "none", map[string]any{"Text": "mailers.none"})
	}
	for len(letters) > 0 {
		n := 1
		for n < len(letters) && letters[n].Order == letters[0].Order {
			n++
		}
		done, ready := 0, 0
		for _, l := range letters[:n] {
			if l.State == LetterConfirmed {
				done++
			}
			if l.MayPrint() {
				ready++
			}
		}
		f.add(letters[0].Order, "letters", map[string]any{
			"First": letters[0], "Letters": letters[:n], "Done": done, "Count": n, "Ready": ready, "May": p.may([]Role{RoleMailer}), "Busy": busy != "",
		})
		letters = letters[n:]
	}
	return f.frame, f.err
}
