package floor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// doneLetters is how long a confirmed letter is shown.
const doneLetters = 12 * time.Hour

// postroom is the mailers' desk as the operator's page has it: the daemon's journal and key,
// under the lock that keeps the command line away meanwhile. desk is nil where no letters
// are printed.
type postroom struct {
	station *config.Station
	journal *provision.Journal
	desk    *Desk
	lock    func() (*filelock.Lock, error) // Config.MailersLock
	now     func() time.Time

	mu    sync.Mutex
	shown []console.Letter
	at    time.Time // of shown
}

// Print implements console.Mailers.
func (p *postroom) Print(ctx context.Context, unit, by string) (console.Answer, error) {
	return p.sheet(unit, by, func() (cups.Outcome, error) { return p.desk.Print(ctx, unit, by) })
}

// Reprint implements console.Mailers.
func (p *postroom) Reprint(ctx context.Context, unit, by string) (console.Answer, error) {
	return p.sheet(unit, by, func() (cups.Outcome, error) {
		return p.desk.Reprint(ctx, unit, by, func() error { return nil })
	})
}

func (p *postroom) sheet(unit, by string, print func() (cups.Outcome, error)) (console.Answer, error) {
	return p.alone(unit, by, func() (console.Answer, error) {
		if p.desk == nil {
			return console.Answer{Said: console.Say("This station prints no letters.")}, nil
		}
		o, err := print()
		if err != nil {
			return console.Answer{}, err
		}
		return console.Answer{
			Said:  console.Say("The sheet of %s was handed to the printer. With it in your hand, whole and readable, confirm it; otherwise print it anew with another PIN.", unit),
			Cause: o.Says, Done: o.End == cups.Completed,
		}, nil
	})
}

// Confirm implements console.Mailers.
func (p *postroom) Confirm(unit, by string) (console.Answer, error) {
	return p.alone(unit, by, func() (console.Answer, error) {
		if err := ConfirmLetter(p.journal, unit, by); err != nil {
			return console.Answer{}, err
		}
		return console.Answer{Said: console.Say("The letter of %s is confirmed by %s, who must not pack its token.", unit, by), Done: true}, nil
	})
}

// alone does an act under the mailers' lock, and puts what a person can do about its failure
// into words.
func (p *postroom) alone(unit, by string, act func() (console.Answer, error)) (answer console.Answer, err error) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.at = time.Time{}
	}()
	lock, err := p.lock()
	if errors.Is(err, filelock.ErrHeld) {
		return console.Answer{Said: console.Say("Somebody else prints or confirms a letter just now: wait a moment.")}, nil
	}
	if err != nil {
		return console.Answer{}, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	answer, err = act()
	if err == nil {
		return answer, nil
	}
	return console.Answer{Said: p.sorry(unit, by, err), Cause: err.Error()}, nil
}

// sorry says why something was not done with a letter.
func (p *postroom) sorry(unit, by string, err error) console.Phrase {
	var glyph *typeface.GlyphError
	switch {
	case errors.Is(err, provision.ErrSamePerson):
		return console.Say("%s has packed the token of %s, and must not have its letter in the hand: somebody else has to.", by, unit)
	case errors.Is(err, provision.ErrLetterPrinted):
		return console.Say("The letter of %s may be on paper already: confirm it, or print it anew with another PIN.", unit)
	case errors.Is(err, provision.ErrNothingPrinted):
		return console.Say("Nothing was printed of the letter of %s yet.", unit)
	case errors.Is(err, provision.ErrNotInstalled):
		return console.Say("The central server has not taken %s as installed yet.", unit)
	case errors.Is(err, provision.ErrNoLetter):
		return console.Say("The PIN of %s does not go by mailer from here.", unit)
	case errors.Is(err, provision.ErrChanged):
		return console.Say("Somebody else has done something to the letter of %s just now: look at it again.", unit)
	case errors.Is(err, cups.ErrStopped):
		return console.Say("The printer is stopped or takes no sheets; nothing was printed. Look at the printer (paper, cover, jam), then have it enabled again.")
	case errors.Is(err, cups.ErrNotSent):
		return console.Say("The printer cannot be used; nothing was printed. Tell whoever answers for this station.")
	case errors.Is(err, pkcs11.ErrNotFound):
		serial := ""
		if rec, err := p.journal.Mailable(unit); err == nil {
			serial = string(rec.Token.Identity.Serial)
		}
		return console.Say("Plug in the token %s of %s, which is to get another PIN.", serial, unit)
	case errors.As(err, &glyph), errors.Is(err, mailer.ErrIncomplete), errors.Is(err, mailer.ErrNoRoom):
		return console.Say("The letter of %s cannot be printed: a character is missing in the font, or something does not fit.", unit)
	}
	return console.Say("The letter of %s was not printed.", unit)
}

// Letters implements console.Mailers.
func (p *postroom) Letters() ([]console.Letter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if age := p.now().Sub(p.at); age >= 0 && age < tableAge {
		return p.shown, nil
	}
	letters, err := p.look()
	if err == nil {
		p.shown, p.at = letters, p.now()
	}
	return letters, err
}

func (p *postroom) look() ([]console.Letter, error) {
	records, err := p.journal.Mailables()
	if err != nil {
		return nil, err
	}
	last := map[string]*provision.Record{} // a unit may have been made again
	for _, r := range records {
		last[r.Job.UnitID()] = r
	}
	records = slices.DeleteFunc(records, func(r *provision.Record) bool {
		l := r.Letter()
		return last[r.Job.UnitID()] != r || l.State == provision.LetterConfirmed && p.now().Sub(l.ConfirmedAt) > doneLetters && !p.refused(r)
	})
	slices.SortStableFunc(records, func(a, b *provision.Record) int {
		return cmp.Or(a.Job.DueAt.Compare(b.Job.DueAt), cmp.Compare(a.Job.Subject.OrderID, b.Job.Subject.OrderID),
			cmp.Compare(p.place(a), p.place(b)), cmp.Compare(a.Token.Identity.SlotDescription, b.Token.Identity.SlotDescription),
			cmp.Compare(a.Job.Subject.Sequence, b.Job.Subject.Sequence))
	})
	out := make([]console.Letter, 0, len(records))
	for _, r := range records {
		l, err := p.letter(r)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// place is where a job's module stands among all.
func (p *postroom) place(r *provision.Record) int {
	return slices.IndexFunc(p.station.Modules, func(m config.Module) bool { return m.Name == r.Token.Module })
}

func (p *postroom) refused(r *provision.Record) bool {
	says, err := p.journal.LetterRefusal(r.Job.ID)
	return err == nil && says != ""
}

// letter is one letter as the page shows it. Its PIN is not asked for.
func (p *postroom) letter(r *provision.Record) (console.Letter, error) {
	refusal, err := p.journal.LetterRefusal(r.Job.ID)
	if err != nil {
		return console.Letter{}, err
	}
	of, l := r.Job.Subject, r.Letter()
	out := console.Letter{
		Unit: r.Job.UnitID(), Order: of.OrderID, Company: of.Company.Name, Bay: r.Token.Module, Token: string(r.Token.Identity.Serial), Sequence: of.Sequence, Of: of.Of,
		Sheets: len(r.Facts.Letters), PrintedBy: l.By, ConfirmedBy: l.ConfirmedBy, At: l.At, Outcome: l.Outcome, Says: l.Says, Refused: refusal,
	}
	if slot := strings.TrimSpace(r.Token.Identity.SlotDescription); slot != "" {
		out.Bay += " · " + slot
	}
	_, err = p.journal.Mailable(r.Job.UnitID())
	switch {
	case errors.Is(err, provision.ErrNotInstalled):
		out.State = console.LetterEarly
	case err != nil:
		return out, err
	case l.State == provision.LetterUnknown && l.Outcome == string(cups.Completed):
		out.State = console.LetterPrinted
	default:
		out.State = console.LetterState(l.State)
	}
	if p.desk != nil {
		out.Sheet = p.desk.sheet(r)
	}
	return out, nil
}
