package agent

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// ModuleView is what an instance shows, as it was last looked at.
type ModuleView struct {
	Name string
	// Tokens is how many are written there at most, 0 for no limit.
	Tokens int
	// Looked is when it was last looked at; zero for not yet.
	Looked time.Time
	// Stale says that a job has ended there since: what Slots say of its token is over.
	Stale bool
	// Err is why it could not be read then. Slots are those of the look before.
	Err   error
	Slots []SlotView
	// Unseen are the jobs whose token is in no slot that is listed.
	Unseen []string
}

// SlotView is one slot. Of the blank slots that a software token shows beyond its limit
// there are none.
type SlotView struct {
	Description string
	// Present says that a token is there; what follows is about it.
	Present  bool
	Identity pkcs11.Identity
	Serial   pkcs11.TokenSerial
	Model    string
	Use      TokenUse
	// Job is the unfinished job that has the token, "" for none.
	Job string
}

// JobView is an unfinished job.
type JobView struct {
	// Job is as it was journalled, but Urgent as the central server said last.
	Job     provision.Job
	Running bool
	// Module and Slot are where its token was when it was last begun.
	Module, Slot string
	Step         provision.StepName
	// LeaseLeft is what is left of the lease, below 0 when it ran out; nil for one that does
	// not end by the clock, or has been lost.
	LeaseLeft *time.Duration
	// Why it stopped, where it is parked and that is known: what it waits for, the next
	// action, and the cause in words.
	Waiting      provision.Waiting
	Hint, Reason string
}

// View is the station as whoever stands before it sees it.
type View struct {
	Modules []ModuleView // in configured order
	Jobs    []JobView    // in the order of their ids
	Server  ServerView
	// Labels are those of finished keys that are not stuck on yet, where they come one at a time.
	Labels []provision.Label
}

// View is what there is now.
func (a *Agent) View() View {
	a.mu.Lock()
	v := View{Server: ServerView{Session: a.session.SessionId, Drain: a.session.Drain, Heartbeat: time.Duration(a.session.HeartbeatSeconds) * time.Second}, Labels: slices.Clone(a.labels.open)}
	began := map[string]place{} // where a job began: its token may have got another identity since
	for id, j := range a.jobs {
		began[id] = j.at
		view := JobView{Job: j.rec.Job, Running: j.running, Module: j.at.module, Slot: j.at.slot, Step: j.phase}
		view.Job.Urgent = j.urgent
		if leaseIsByClock(j.rec.Job, j.phase) {
			view.LeaseLeft = j.lease.left()
		}
		if j.why != nil && !j.running {
			view.Waiting, view.Hint, view.Reason = j.why.Waiting, j.why.Hint, j.why.Error()
		}
		v.Jobs = append(v.Jobs, view)
	}
	a.mu.Unlock()
	slices.SortFunc(v.Jobs, func(x, y JobView) int { return strings.Compare(x.Job.ID, y.Job.ID) })
	if at := a.Central.answered.Load(); at != 0 {
		v.Server.Answered, v.Server.Ahead = time.Unix(0, at), time.Duration(a.Central.ahead.Load()).Round(time.Second)
	}
	inv := a.inventory
	inv.mu.Lock()
	defer inv.mu.Unlock()
	for _, i := range inv.instances {
		v.Modules = append(v.Modules, inv.view(i, began))
	}
	return v
}

// view is what one instance shows. inv.mu is held.
func (inv *inventory) view(i *instanceState, began map[string]place) ModuleView {
	v := ModuleView{Name: i.Name, Tokens: i.Tokens, Looked: i.looked, Stale: i.stale, Err: i.err}
	ids := inv.identities(i.slots)
	shown := map[string]bool{}
	taken := i.takenByJobs(ids)
	for _, s := range i.slots {
		slot := SlotView{Description: s.Description}
		if s.Token != nil {
			slot.Present, slot.Identity, slot.Serial, slot.Model = true, inv.identify(s), s.Token.Serial, s.Token.Model
			slot.Use, slot.Job = inv.use(i, s, ids), i.busy[inv.identify(s)]
			if slot.Job == "" {
				slot.Job = i.beganAt(s.Description, began)
			}
			if slot.Job != "" {
				slot.Use, shown[slot.Job] = TokenBusy, true
			} else if slot.Use != TokenBlank {
				taken++
			}
		}
		v.Slots = append(v.Slots, slot)
	}
	v.Slots = slices.DeleteFunc(v.Slots, func(s SlotView) bool {
		if s.Use != TokenBlank {
			return false
		}
		taken++
		return i.Tokens > 0 && taken > i.Tokens
	})
	for _, job := range slices.Sorted(maps.Values(i.busy)) {
		if !shown[job] {
			v.Unseen = append(v.Unseen, job)
		}
	}
	return v
}

// beganAt is the job that is at work on a token which was in that slot when it began,
// and has not been looked at since; "" for none.
func (i *instanceState) beganAt(slot string, began map[string]place) string {
	for _, job := range i.busy {
		if i.working[job] && began[job] == (place{i.Name, slot}) {
			return job
		}
	}
	return ""
}

// ServerView is how the station stands with the central server.
type ServerView struct {
	// Session is its session's id; "" before the first.
	Session string
	// Answered is when the server last gave an answer of the contract; zero for never.
	Answered time.Time
	// Heartbeat is how often it wants to hear of the station.
	Heartbeat time.Duration
	// Ahead is by how much its clock was before ours then, to the second.
	Ahead time.Duration
	// Drain says that the server gives this station no more work.
	Drain bool
}
