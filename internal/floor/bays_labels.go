package floor

import (
	"slices"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/provision"
)

// unlabelled shows each token that was taken out and has no label yet at the bay where it was,
// unless something else is going on there, and else at one of its own. f.mu is held.
func (f *floor) unlabelled(all []console.Bay, v agent.View) []console.Bay {
	for _, l := range v.Labels {
		state, out := map[provision.LabelState]console.BayState{
			provision.LabelPulled: console.BayLabelling, provision.LabelPrinted: console.BayLabel, provision.LabelMixed: console.BayMixed,
		}[l.State]
		if !out {
			continue
		}
		was := f.lastBay(l.Record)
		b := console.Bay{Name: was, State: state, Token: string(l.Record.Token.Identity.Serial), Job: f.finished(l.Record.Job)}
		i := slices.IndexFunc(all, func(at console.Bay) bool { return at.Name == was })
		if i < 0 || all[i].Job != nil || !slices.Contains([]console.BayState{console.BayEmpty, console.BayBlank, console.BayUnread}, all[i].State) {
			b.Name += " ← " + l.Record.Job.UnitID()
			b.Job.Bay = b.Name
			all = append(all, b)
			continue
		}
		b.Job.Bay, all[i] = was, b
	}
	return all
}

// lastBay is where a finished job's token was last shown; its module, where that is not known.
func (f *floor) lastBay(rec *provision.Record) string {
	if t := f.jobs[rec.Job.ID]; t != nil && t.bay != "" {
		return t.bay
	}
	return rec.Token.Module
}
