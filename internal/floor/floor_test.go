package floor

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestPageHasWordsForEverything: what the daemon can say of a job or of itself, the page
// says in both languages.
func TestPageHasWordsForEverything(t *testing.T) {
	var want []string
	job := provision.Job{Kind: provision.KindInitial}
	for _, s := range provision.Plan(job) {
		want = append(want, "step."+string(s.Name))
	}
	want = append(want, "step."+string(provision.StepWipe), "step."+string(provision.StepProveWiped))
	for _, w := range []provision.Waiting{provision.WaitingNothing, provision.WaitingNetwork, provision.WaitingToken, provision.WaitingLease, provision.WaitingPerson, "station"} {
		want = append(want, "wait."+string(w))
	}
	for _, h := range agent.Hints() {
		want = append(want, "hint:"+h)
	}
	for _, code := range []string{agent.AlarmPlace, agent.AlarmRecord, agent.AlarmMixed, agent.AlarmLabel, "pcscd-not-running", "pcscd-stuck", "pcscd-refuses", "pcscd-unknown"} {
		want = append(want, "alarm."+code, "todo."+code)
	}
	have := console.TextKeys()
	for _, key := range want {
		if !slices.Contains(have, key) {
			t.Errorf("the page has no text %q", key)
		}
	}
	if len(want) < 60 {
		t.Errorf("only %d texts were looked for", len(want))
	}
}

// stage is a floor over an agent that a test arranges.
type stage struct {
	*floor
	t   *testing.T
	is  agent.View
	now time.Time
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, now: time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)}
	s.floor = newFloor(console.Station{Name: "sample", Modules: []console.Module{{Name: "m"}}}, func() time.Time { return s.now })
	s.view, s.alarms = func() agent.View { return s.is }, func() []agent.Alarm { return nil }
	return s
}

func (s *stage) job(i int) provision.Job {
	j := provision.Job{ID: fmt.Sprintf("u-%d-g1-1", i), Kind: provision.KindInitial, DueAt: s.now, Urgent: true}
	j.Subject.OrderID, j.Subject.UnitID, j.Subject.Sequence, j.Subject.Of = "u", fmt.Sprintf("u-%d", i), i, 4
	return j
}

func (s *stage) tell(i int, state provision.State, step provision.StepName, token pkcs11.Identity) {
	j := s.job(i)
	plan := provision.Plan(j)
	at := slices.IndexFunc(plan, func(p provision.Step) bool { return p.Name == step })
	s.observe(provision.Progress{Job: j, Token: provision.TokenRef{Module: "m", Identity: token, Model: "sample"}, State: state, Step: step, Index: at, Steps: len(plan)})
}

// see compares the bays, as "name state job percent token", with what is wanted.
func (s *stage) see(what string, want ...string) {
	s.t.Helper()
	var got []string
	for _, b := range s.Bays() {
		job := "-"
		if b.Job != nil {
			job = fmt.Sprintf("%s %d%%", b.Job.Unit, b.Job.Percent)
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s: %s %s %s", b.Name, b.State, job, b.Token)))
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("%s:\n%s\nwanted\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestFloorOfOneTokenModules follows a token through its life in a module of its own, whose
// slot gets another name when the token is initialised.
func TestFloorOfOneTokenModules(t *testing.T) {
	s := newStage(t)
	blank, written := pkcs11.Identity{SlotDescription: "slot 0"}, pkcs11.Identity{Serial: "A1"}
	module := func(change func(*agent.ModuleView)) {
		m := agent.ModuleView{Name: "m", Tokens: 1, Looked: s.now}
		change(&m)
		s.is.Modules = []agent.ModuleView{m}
	}
	running := func(on bool) {
		s.is.Jobs = []agent.JobView{{Job: s.job(1), Running: on, Module: "m", Slot: "slot 0", Step: provision.StepGenerateKey}}
	}
	module(func(m *agent.ModuleView) { m.Looked = time.Time{} })
	s.see("not looked at yet", "m: unread -")
	module(func(*agent.ModuleView) {})
	s.see("no slot", "m: empty -")
	slot0 := agent.SlotView{Description: "slot 0", Present: true, Identity: blank, Use: agent.TokenBlank}
	module(func(m *agent.ModuleView) { m.Slots = []agent.SlotView{slot0} })
	s.see("blank", "m: blank -")

	s.tell(1, provision.StateRunning, provision.StepIdentify, blank)
	s.now = s.now.Add(2 * time.Second)
	s.tell(1, provision.StateRunning, provision.StepGenerateKey, written)
	running(true)
	busy := slot0
	busy.Use, busy.Job = agent.TokenBusy, "u-1-g1-1"
	module(func(m *agent.ModuleView) { m.Slots = []agent.SlotView{busy} })
	s.see("working", "m: working u-1 16%")
	if j := s.Bays()[0].Job; !j.Began.Equal(s.now) || j.Usually != 0 || j.Of != 4 {
		t.Errorf("%+v", j)
	}
	s.now = s.now.Add(10 * time.Second)
	s.tell(1, provision.StateRunning, provision.StepCheckKey, written)
	s.tell(1, provision.StateRunning, provision.StepFinish, written)
	s.tell(1, provision.StateFinished, provision.StepFinish, written)
	s.is.Jobs = nil
	module(func(m *agent.ModuleView) { m.Stale, m.Slots = true, []agent.SlotView{slot0} })
	s.see("finished, not looked at since", "m: done u-1 100% A1")
	slot1 := agent.SlotView{Description: "slot 1", Present: true, Identity: written, Serial: "A1", Use: agent.TokenUsed}
	module(func(m *agent.ModuleView) { m.Slots = []agent.SlotView{slot0, slot1} })
	s.see("finished", "m: done u-1 100% A1")
	module(func(m *agent.ModuleView) { m.Slots = []agent.SlotView{slot0} })
	s.see("another token", "m: blank -")

	// The next one knows how long key generation takes.
	s.tell(2, provision.StateRunning, provision.StepGenerateKey, blank)
	s.is.Jobs = []agent.JobView{{Job: s.job(2), Running: true, Module: "m", Slot: "slot 0", Step: provision.StepGenerateKey}}
	busy.Job = "u-2-g1-1"
	module(func(m *agent.ModuleView) { m.Slots = []agent.SlotView{busy} })
	if j := s.Bays()[0].Job; j.Usually != 10*time.Second || j.Whole != 12*time.Second || !j.Since.IsZero() || j.Done != 1 {
		t.Errorf("%+v", j)
	}
	s.is.Jobs[0].Running, s.is.Jobs[0].Waiting, s.is.Jobs[0].Hint = false, provision.WaitingToken, "Put the token back."
	module(func(m *agent.ModuleView) { m.Unseen = []string{"u-2-g1-1"} })
	s.see("pulled out", "m: waiting u-2 16%")
	if q := s.Queue(); len(q) != 1 || q[0].Bay != "m" || q[0].Hint == "" || q[0].Running || q[0].Done != 1 || !q[0].Urgent {
		t.Errorf("%+v", q)
	}
	// Whether its order is urgent is as the agent says now, also of the key that is finished.
	s.is.Jobs[0].Job.Urgent = false
	if j := s.Bays()[0].Job; j.Urgent || s.ended(s.jobs["u-1-g1-1"]).Urgent {
		t.Errorf("an order that is not urgent any more: %+v", j)
	}
	module(func(m *agent.ModuleView) { m.Unseen, m.Slots = []string{"u-2-g1-1"}, []agent.SlotView{slot0} })
	s.see("another token in its place", "m: blank -", "m · slot 0 ← u-2: waiting u-2 16%")
	s.is.Jobs = nil
	module(func(m *agent.ModuleView) { m.Err = fmt.Errorf("gone") })
	s.see("the module fails", "m: unread -")
	if m := s.Station().Modules[0]; m.Fault != "gone" {
		t.Errorf("%+v", m)
	}
}

// TestFloorOfBeforeThisStart: what was finished before the daemon's start is in no step, and all of
// its work is behind it; what was not shows where it stopped.
func TestFloorOfBeforeThisStart(t *testing.T) {
	s := newStage(t)
	for i, state := range []provision.State{provision.StateFinished, provision.StateQuarantined} {
		p := provision.Progress{Job: s.job(i + 1), State: state, Step: provision.StepInstall, Reason: "sample"}
		s.keep(p, time.Time{})
	}
	if j := s.ended(s.jobs["u-1-g1-1"]); j.Step != "" || j.Percent != 100 {
		t.Errorf("finished: step %q, %d%%", j.Step, j.Percent)
	}
	if j := s.ended(s.jobs["u-2-g1-1"]); j.Step != string(provision.StepInstall) || j.Reason != "sample" {
		t.Errorf("quarantined: %+v", j)
	}
}

// TestFloorOfManySlots: a module with several readers has a bay for each.
func TestFloorOfManySlots(t *testing.T) {
	s := newStage(t)
	id := func(serial string) pkcs11.Identity { return pkcs11.Identity{Serial: pkcs11.TokenSerial(serial)} }
	slot := func(name, serial string, use agent.TokenUse) agent.SlotView {
		return agent.SlotView{Description: name, Present: serial != "", Identity: id(serial), Serial: pkcs11.TokenSerial(serial), Use: use}
	}
	for i, state := range []provision.State{provision.StateFinished, provision.StateFailed, provision.StateQuarantined} {
		s.tell(i+1, state, provision.StepReadBack, id(fmt.Sprintf("A%d", i+1)))
	}
	s.is.Modules = []agent.ModuleView{{Name: "m", Looked: s.now, Slots: []agent.SlotView{
		slot("reader 1   ", "A1", agent.TokenUsed), slot("reader 2", "A2", agent.TokenRefused), slot("reader 3", "A3", agent.TokenRefused),
		slot("reader 4", "", ""), slot("reader 5", "B5", agent.TokenUsed), slot("reader 6", "B6", agent.TokenUnknown),
		slot("reader 7", "B7", agent.TokenRefused), slot("twin", "B8", agent.TokenBlank), slot("twin", "B9", agent.TokenBlank),
		slot("reader 8", "A1", agent.TokenBlank), // a blank one is nobody's, whatever its serial
		slot("reader 9", "B10", agent.TokenUnlisted),
	}}}
	s.see("all there may be",
		"m · reader 1: done u-1 100% A1", "m · reader 2: failed u-2 0% A2", "m · reader 3: quarantined u-3 0% A3", "m · reader 4: empty -",
		"m · reader 5: used - B5", "m · reader 6: unknown - B6", "m · reader 7: refused - B7", "m · twin: blank - B8", "m · twin (2): blank - B9",
		"m · reader 8: blank - A1", "m · reader 9: unlisted - B10")
	s.is.Jobs = []agent.JobView{{Job: s.job(4), Module: "m", Slot: "reader 4", Waiting: provision.WaitingToken}}
	s.is.Modules[0].Unseen = []string{"u-4-g1-1"}
	if b := s.Bays()[3]; b.State != console.BayWaiting || b.Job == nil || b.Job.Unit != "u-4" {
		t.Errorf("%+v", b)
	}
	// A second life of a token's unit hides how the first ended.
	s.tell(3, provision.StateRunning, provision.StepIdentify, id("A3"))
	if b := s.Bays()[2]; b.State != console.BayRefused {
		t.Errorf("%+v", b)
	}
}

// TestFloorIsBounded: of many jobs the last are kept.
func TestFloorIsBounded(t *testing.T) {
	s := newStage(t)
	for i := range 3 * keptJobs {
		s.tell(i, provision.StateFinished, provision.StepFinish, pkcs11.Identity{Serial: pkcs11.TokenSerial(fmt.Sprint(i))})
	}
	if len(s.jobs) != keptJobs || len(s.order) != keptJobs || s.jobs[fmt.Sprintf("u-%d-g1-1", 3*keptJobs-1)] == nil {
		t.Errorf("%d jobs, %d in order", len(s.jobs), len(s.order))
	}
	if len(s.done["u"]) != 3*keptJobs {
		t.Errorf("%d units of an order that is still going on", len(s.done["u"]))
	}
	for i := range keptJobs {
		j := provision.Job{ID: fmt.Sprintf("other-%d", i)}
		j.Subject.OrderID = j.ID
		s.observe(provision.Progress{Job: j, State: provision.StateFinished})
	}
	if len(s.done) != keptJobs || s.done["u"] != nil {
		t.Errorf("%d orders are kept", len(s.done))
	}
	for i := range 2 * keptTimes {
		s.now = s.now.Add(time.Second)
		s.tell(1, provision.StateRunning, provision.StepIdentify, pkcs11.Identity{})
		s.now = s.now.Add(time.Duration(i) * time.Second)
		s.tell(1, provision.StateRunning, provision.StepGenerateKey, pkcs11.Identity{})
	}
	for at, times := range s.took {
		if len(times) > keptTimes {
			t.Errorf("%v: %d times", at, len(times))
		}
	}
	if len(s.took) == 0 {
		t.Error("no time was taken")
	}
}
