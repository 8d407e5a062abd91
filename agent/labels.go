package agent

import (
	"context"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/provision"
)

// Alarms about labels.
const (
	// AlarmMixed: more than one finished token is out of its bay without a label.
	AlarmMixed = "labels-mixed"
	// AlarmLabel: the label of a token that was pulled cannot be printed.
	AlarmLabel = "label-not-printed"
)

// How often labels are looked up, which somebody may confirm from elsewhere, and how long
// after a printer has failed it is tried again.
const (
	labelEvery = time.Second
	labelAgain = 5 * time.Second
)

// labels is what the journal last said of them. Agent.mu guards it.
type labels struct {
	open   []provision.Label
	failed *Alarm // why the one that is to be printed now was not
}

// alarms are those that stand.
func (l labels) alarms() []Alarm {
	var out []Alarm
	for _, label := range l.open {
		switch {
		case label.State != provision.LabelMixed:
		case len(out) == 0:
			out = append(out, Alarm{
				Code: AlarmMixed, Since: label.Since,
				Text: "More than one finished token was taken out before its label was stuck on, and nobody can tell them apart.",
				Hint: "Put all of them back into their bays, and take them out one at a time.",
			})
		case label.Since.Before(out[0].Since):
			out[0].Since = label.Since
		}
	}
	if l.failed != nil {
		out = append(out, *l.failed)
	}
	return out
}

// sighted has the journal note what a look at an instance, begun then, means for labels.
// Watchers call it; a look that has shown the same tokens as the one before is of no interest,
// unless that left something open, or a token is in somebody's hand: then it counts that the
// others were looked for.
func (a *Agent) sighted(ctx context.Context, i *instanceState, begun time.Time, changed bool) {
	if a.PrintLabel == nil || !changed && !i.unsure && !a.looseLabel() {
		return
	}
	here, all := a.inventory.here(i)
	if i.unsure = !all; !all {
		return // a token that cannot be read for a moment has not been taken out
	}
	proved, err := a.proveMixed(ctx, i)
	if err != nil {
		i.unsure = true
		a.forget("journal", err)
		return
	}
	open, moved, err := a.Runner.Journal.Sighted(begun, a.Runner.Now(), func(r *provision.Record) provision.Sight {
		switch {
		case r.Token.Module != i.Name:
			return provision.Unseen
		case r.UpdatedAt.After(begun):
			i.unsure = true // its token may have got its serial since
			return provision.Unseen
		case proved[r.Job.ID]:
			return provision.Verified
		case slices.Contains(here, r.Token.Identity):
			return provision.Present
		}
		return provision.Absent
	})
	i.unsure = i.unsure || err != nil
	a.forget("journal", err)
	for _, l := range open {
		// One that did not show its certificate is asked again.
		i.unsure = i.unsure || l.State == provision.LabelMixed && l.Record.Token.Module == i.Name && slices.Contains(here, l.Record.Token.Identity)
	}
	if moved {
		signal(a.label)
	}
}

// looseLabel reports whether a finished token is in somebody's hand, as far as is known.
func (a *Agent) looseLabel() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.labels.open, provision.Label.Loose)
}

// proveMixed reads those tokens of an instance that were mixed up and are back in a bay, and
// tells which of them are what the journal says.
func (a *Agent) proveMixed(ctx context.Context, i *instanceState) (map[string]bool, error) {
	open, err := a.Runner.Journal.Labels()
	if err != nil {
		return nil, err
	}
	proved := map[string]bool{}
	for _, l := range open {
		if present, _ := a.inventory.present(l.Record.Token); l.State != provision.LabelMixed || l.Record.Token.Module != i.Name || !present {
			continue
		}
		if err := provision.VerifyKey(ctx, a.Borrow, l.Record); err != nil {
			a.log.Warn("a token that was put back cannot be verified", "token", string(l.Record.Token.Identity.Serial), "error", err)
			continue
		}
		proved[l.Record.Job.ID] = true
	}
	return proved, nil
}

// Labelled says that somebody has changed something about labels.
func (a *Agent) Labelled() { signal(a.label) }

// labelling prints the label of each token that is pulled, until ctx ends.
func (a *Agent) labelling(ctx context.Context) {
	if a.PrintLabel == nil {
		a.forget("journal", a.Runner.Journal.EndLabels())
		return
	}
	for ctx.Err() == nil {
		wait := labelEvery
		if err := a.printPulled(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("label is not printed", "error", err)
			wait = labelAgain
		}
		a.sleep(ctx, wait, a.label)
	}
}

// printPulled looks labels up, and prints the one that is to be printed now.
func (a *Agent) printPulled(ctx context.Context) error {
	if err := a.lookUpLabels(nil); err != nil {
		return err
	}
	a.mu.Lock()
	open := a.labels.open
	a.mu.Unlock()
	at := slices.IndexFunc(open, func(l provision.Label) bool { return l.State == provision.LabelPulled })
	if at < 0 {
		return nil
	}
	rec := open[at].Record
	says, err := a.PrintLabel(ctx, rec)
	if err != nil {
		a.forget("journal", a.Runner.Journal.LabelNotSent(rec, err.Error()))
		a.forget("journal", a.lookUpLabels(&Alarm{
			Code: AlarmLabel, Since: open[at].Since,
			Text: "The label of a token that was taken out cannot be printed: " + err.Error() + ".",
			Hint: "See to the label printer; the label is printed by itself then. Take no other token out meanwhile.",
		}))
		return err
	}
	a.log.Info("label printed", "job", rec.Job.ID, "token", string(rec.Token.Identity.Serial), "says", says)
	if err := a.Runner.Journal.LabelSent(rec, "", says, a.Runner.Now()); err != nil {
		return err
	}
	return a.lookUpLabels(nil)
}

// lookUpLabels takes up what the journal says, and whether the printer has just failed.
func (a *Agent) lookUpLabels(failed *Alarm) error {
	open, err := a.Runner.Journal.Labels()
	if err != nil {
		return err
	}
	a.mu.Lock()
	before := a.labels
	// What failed counts until its label is not to be printed any more.
	if failed == nil && slices.ContainsFunc(open, func(l provision.Label) bool { return l.State == provision.LabelPulled && l.Says != "" }) {
		failed = before.failed
	}
	a.labels = labels{open, failed}
	same := before.failed == failed && slices.EqualFunc(before.open, open, func(x, y provision.Label) bool {
		return x.State == y.State && x.Says == y.Says && x.Record.Job.ID == y.Record.Job.ID
	})
	mixed, was := len(a.labels.alarms()) > 0, len(before.alarms()) > 0
	a.mu.Unlock()
	if mixed && !was {
		for _, alarm := range a.Alarms() {
			if alarm.Code == AlarmMixed || alarm.Code == AlarmLabel {
				a.log.Error("alarm", "code", alarm.Code, "text", alarm.Text, "todo", alarm.Hint)
			}
		}
	}
	if !same {
		a.poke()
	}
	return nil
}
