package floor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// isolation is console.Quarantine over the journal and the agent.
type isolation struct {
	journal *provision.Journal
	agent   *agent.Agent
	log     *slog.Logger
	changed func()
	label   func(bay string) string
	again   chan struct{} // the journal is to be read again

	mu      sync.Mutex
	records []*provision.Record
	casings map[string]string    // by job
	since   map[string]time.Time // by job
}

func newIsolation(journal *provision.Journal, log *slog.Logger) *isolation {
	return &isolation{journal: journal, log: log, again: make(chan struct{}, 1)}
}

// look reads the journal now and then, until ctx ends.
func (q *isolation) look(ctx context.Context) {
	const often = 5 * time.Second
	t := time.NewTicker(often)
	defer t.Stop()
	for {
		if err := q.read(); err != nil && ctx.Err() == nil {
			q.log.Error("the tokens in quarantine cannot be read", "error", err)
		}
		q.changed()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-q.again:
		}
	}
}

// stale asks for the journal to be read again; it does not block.
func (q *isolation) stale() {
	select {
	case q.again <- struct{}{}:
	default:
	}
}

func (q *isolation) read() error {
	records, err := q.journal.Quarantine()
	if err != nil {
		return err
	}
	casings, since := map[string]string{}, map[string]time.Time{}
	for _, r := range records {
		history, err := q.journal.History(r.Job.ID)
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(history, func(e provision.Entry) bool { return e.State == provision.StateQuarantined }); i >= 0 {
			since[r.Job.ID] = history[i].At
		}
		t, err := q.journal.StockToken(string(r.Facts.DeliveredAs))
		if err != nil {
			return err
		}
		if t != nil {
			casings[r.Job.ID] = t.Casing
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.records, q.casings, q.since = records, casings, since
	return nil
}

// Isolated implements console.Quarantine.
func (q *isolation) Isolated() []console.Isolated {
	view := q.agent.View()
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []console.Isolated
	for _, r := range q.records {
		i := isolated(r, q.label(whereIs(view, r.Token)))
		i.Casing, i.Since = q.casings[r.Job.ID], q.since[r.Job.ID]
		out = append(out, i)
	}
	return out
}

// isolated is a job's token as the page shows it, and where that is plugged in.
func isolated(r *provision.Record, bay string) console.Isolated {
	s := r.Job.Subject
	d := provision.Decision{}
	if r.Facts.Decision != nil {
		d = *r.Facts.Decision
	}
	out := console.Isolated{
		Job: console.Job{
			ID: r.Job.ID, Order: s.OrderID, Unit: s.UnitID, Company: s.Company.Name, Product: s.ProductCode, Sequence: s.Sequence, Of: s.Of,
			Due: r.Job.DueAt, Step: string(r.Step), Hint: r.Hint, Reason: r.Reason,
		},
		Token: string(r.Token.Identity.Serial), Model: r.Token.Model, Bay: bay,
		HoldsKey: r.MayHoldKey(), Emptied: d.Emptied, Blank: d.Blank,
	}
	out.NoWipe, out.NoRelease = noDecision(r.Wipeable()), noDecision(r.Releasable())
	switch {
	case d.Blank:
		out.NoWipe = console.NoWipeTwice
	case r.Facts.AsMade:
		out.NoWipe = console.NoModel
	case r.Token.Identity.Serial == "":
		out.NoWipe = console.NoSerial
	}
	if bay == "" && out.NoWipe == "" {
		out.NoWipe = console.NoToken
	}
	if bay == "" && out.NoRelease == "" {
		out.NoRelease = console.NoToken
	}
	return out
}

// noDecision is why a decision cannot be made, or was not carried out, as the page says it;
// what it has no words for is console's to show as it is.
func noDecision(err error) console.No {
	for _, r := range []struct {
		is error
		no console.No
	}{
		{provision.ErrNotQuarantined, console.NoSuch}, {provision.ErrNoWipe, console.NoSOPIN},
		{provision.ErrNotBlank, console.NotBlank}, {provision.ErrNotWiped, console.NotBlank},
		{pkcs11.ErrNotFound, console.NoToken}, {pkcs11.ErrTokenRemoved, console.NoToken},
		{pkcs11.ErrTokenReplaced, console.Replaced}, {pkcs11.ErrAmbiguous, console.Replaced},
	} {
		if errors.Is(err, r.is) {
			return r.no
		}
	}
	return ""
}

// whereIs is the bay in which a token is plugged in, "" for none.
func whereIs(view agent.View, t provision.TokenRef) string {
	for _, m := range view.Modules {
		if m.Name != t.Module || m.Err != nil {
			continue
		}
		for _, s := range m.Slots {
			if s.Present && s.Identity == t.Identity {
				if m.Tokens == 1 {
					return m.Name
				}
				return slotName(m, s.Description)
			}
		}
	}
	return ""
}

// Wipe implements console.Quarantine.
func (q *isolation) Wipe(ctx context.Context, job, by, second string) error {
	return q.decide(job, func(r *provision.Record) error { return q.agent.Wipe(ctx, r, by, second) })
}

// Release implements console.Quarantine.
func (q *isolation) Release(ctx context.Context, job, by string) error {
	return q.decide(job, func(r *provision.Record) error { return q.agent.Release(ctx, r, by) })
}

func (q *isolation) decide(job string, act func(*provision.Record) error) error {
	records, err := q.journal.Quarantine()
	if err != nil {
		return err
	}
	defer q.changed()
	for _, r := range records {
		if r.Job.ID != job {
			continue
		}
		err := act(r)
		if read := q.read(); read != nil {
			q.log.Error("the tokens in quarantine cannot be read", "error", read)
		}
		if err != nil {
			q.log.Warn("a decision about a token in quarantine was not carried out", "job", job, "error", err)
		}
		if no := noDecision(err); no != "" {
			return no
		}
		return err
	}
	return console.NoSuch
}
