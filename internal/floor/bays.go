package floor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Bays implements console.Floor.
func (f *floor) Bays() []console.Bay {
	v := f.view()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.place(v)
}

// place makes bays of modules and slots, and puts every unfinished job at one. f.mu is held.
//
// A module for one token is a bay, whatever slots it shows: SoftHSM's get another name when
// they are written. A module for several has a bay for each slot.
func (f *floor) place(v agent.View) []console.Bay {
	jobs := map[string]agent.JobView{}
	for _, j := range v.Jobs {
		jobs[j.Job.ID] = j
		f.urgent[j.Job.Subject.OrderID] = j.Job.Urgent
	}
	var out []console.Bay
	for _, m := range v.Modules {
		at := len(out)
		switch {
		case m.Tokens == 1:
			out = append(out, f.bay(m, m.Name, chief(m.Slots), jobs))
		case len(m.Slots) == 0:
			out = append(out, f.bay(m, m.Name, nil, jobs))
		default:
			for _, n := range slotNames(m) {
				out = append(out, f.bay(m, n.name, &n.slot, jobs))
			}
		}
		for _, id := range m.Unseen {
			if j, ok := jobs[id]; ok {
				out = f.unseen(out, at, m, j)
			}
		}
	}
	for _, b := range out {
		if b.Job != nil && f.jobs[b.Job.ID] != nil {
			f.jobs[b.Job.ID].bay = b.Name
		}
	}
	return f.numbered(f.unlabelled(out, v))
}

// numbered gives bays the numbers that were taught, and puts those with one first.
func (f *floor) numbered(all []console.Bay) []console.Bay {
	if f.number == nil {
		return all
	}
	for i := range all {
		all[i].Number, all[i].Port = f.number(all[i].Name), f.port(all[i].Name)
	}
	slices.SortStableFunc(all, func(a, b console.Bay) int {
		if (a.Number == 0) != (b.Number == 0) {
			return cmp.Compare(b.Number, a.Number)
		}
		return cmp.Compare(a.Number, b.Number)
	})
	return all
}

// slotName is the name of a slot's bay.
func slotName(m agent.ModuleView, description string) string { return bayName(m.Name, description) }

// bayName is that by the module's name. PKCS#11 pads descriptions with blanks.
func bayName(module, description string) string {
	return strings.TrimSpace(module + " · " + strings.TrimSpace(description))
}

// namedSlot is a slot with the name of its bay.
type namedSlot struct {
	name string
	slot agent.SlotView
}

// slotNames names the slots of a module, no two the same.
func slotNames(m agent.ModuleView) []namedSlot {
	var out []namedSlot
	named := map[string]int{}
	for _, s := range m.Slots {
		name := slotName(m, s.Description)
		if named[name]++; named[name] > 1 { // two slots of one description
			name = fmt.Sprintf("%s (%d)", name, named[name])
		}
		out = append(out, namedSlot{name, s})
	}
	return out
}

// chief is the slot that counts where there is one token: that of a job, else one with a
// token that was written, else any.
func chief(slots []agent.SlotView) *agent.SlotView {
	rank := func(s agent.SlotView) int {
		switch {
		case s.Job != "":
			return 3
		case s.Present && s.Use != agent.TokenBlank:
			return 2
		case s.Present:
			return 1
		}
		return 0
	}
	var out *agent.SlotView
	for i := range slots {
		if out == nil || rank(slots[i]) > rank(*out) {
			out = &slots[i]
		}
	}
	return out
}

// bay is one bay with what is in its slot; nil for no slot. f.mu is held.
func (f *floor) bay(m agent.ModuleView, name string, s *agent.SlotView, jobs map[string]agent.JobView) console.Bay {
	b := console.Bay{Name: name, State: console.BayEmpty}
	if s != nil {
		b.Token = string(s.Serial)
		if j, ok := jobs[s.Job]; ok && s.Job != "" {
			return f.occupied(b, j)
		}
	}
	if m.Stale { // its slots are those of before the job ended
		if t := f.last(func(t *told) bool { return t.bay == name }); t != nil {
			return f.over(b, t)
		}
	}
	switch {
	case m.Err != nil || m.Looked.IsZero():
		b.State = console.BayUnread
	case s == nil || !s.Present:
	case s.Use == agent.TokenBlank:
		b.State = console.BayBlank
	default:
		b.State = map[agent.TokenUse]console.BayState{
			agent.TokenUsed: console.BayUsed, agent.TokenRefused: console.BayRefused, agent.TokenUnknown: console.BayUnknown,
			agent.TokenBusy: console.BayWorking, agent.TokenUnlisted: console.BayUnlisted,
		}[s.Use]
		if t := f.last(func(t *told) bool { return t.Token.Module == m.Name && t.Token.Identity == s.Identity }); t != nil {
			return f.over(b, t)
		}
	}
	return b
}

// occupied is a bay at which a job is, working or waiting.
func (f *floor) occupied(b console.Bay, j agent.JobView) console.Bay {
	b.Job, b.State = f.unfinished(j), console.BayWaiting
	if j.Running {
		b.State = console.BayWorking
	}
	b.Job.Bay = b.Name
	return b
}

// over is a bay whose token's job has ended.
func (f *floor) over(b console.Bay, t *told) console.Bay {
	b.Job, b.Token = f.ended(t), string(t.Token.Identity.Serial)
	b.State = map[provision.State]console.BayState{
		provision.StateFinished: console.BayDone, provision.StateFailed: console.BayFailed, provision.StateQuarantined: console.BayQuarantined,
	}[t.State]
	return b
}

// last is the latest job that has ended and fits, nil for none. f.mu is held.
func (f *floor) last(fits func(*told) bool) *told {
	for i := len(f.order) - 1; i >= 0; i-- {
		if t := f.jobs[f.order[i]]; fits(t) {
			if t.State.Final() {
				return t
			}
			return nil // a later one has the place, and is not over
		}
	}
	return nil
}

// unseen puts a job whose token is out of sight at the bay where it began, if that is
// empty, else at one of its own. all[from:] are the module's bays.
func (f *floor) unseen(all []console.Bay, from int, m agent.ModuleView, j agent.JobView) []console.Bay {
	for i := from; i < len(all); i++ {
		fits := m.Tokens == 1 || all[i].Name == slotName(m, j.Slot)
		if fits && all[i].Job == nil && (all[i].State == console.BayEmpty || all[i].State == console.BayUnread) {
			all[i] = f.occupied(all[i], j)
			return all
		}
	}
	return append(all, f.occupied(console.Bay{Name: slotName(m, j.Slot) + " ← " + j.Job.UnitID()}, j))
}
