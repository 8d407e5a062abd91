package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/provision"
)

// reader is a pcscd that works, or not, as a test wants.
type reader struct {
	mu    sync.Mutex
	wrong *Alarm
	hangs bool
	asked []time.Time
}

func (r *reader) probe(ctx context.Context, _ string) *Alarm {
	r.mu.Lock()
	r.asked = append(r.asked, time.Now())
	wrong, hangs := r.wrong, r.hangs
	r.mu.Unlock()
	if hangs {
		<-ctx.Done()
	}
	return wrong
}

func (r *reader) set(wrong *Alarm, hangs bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong, r.hangs = wrong, hangs
}

// count is how often it was asked since the last count.
func (r *reader) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.asked)
	r.asked = nil
	return n
}

// gone is what a probe says of a pcscd that is not there; each time a new value.
func gone() *Alarm {
	return &Alarm{Code: "pcscd-not-running", Text: "pcscd is not running", Hint: "Restart pcscd."}
}

func stuck() *Alarm {
	return &Alarm{Code: "pcscd-stuck", Text: "pcscd does not answer", Hint: "Restart pcscd."}
}

// station is a hub for each of n modules behind one pcscd, all of which are watched.
func station(t *testing.T, r *reader, n int, log *bytes.Buffer) (*Agent, []*hub, func()) {
	c := Config{Probe: r.probe, Log: slog.New(slog.NewTextHandler(log, nil))}
	var hubs []*hub
	for i := range n {
		h := &hub{t: t}
		h.plug(slot("s1", fmt.Sprintf("A%d", i), 0))
		hubs = append(hubs, h)
		c.Instances = append(c.Instances, Instance{Name: fmt.Sprintf("m%d", i), Pool: h, PCSC: "/comm"})
	}
	a, stop := watching(t, c)
	return a, hubs, stop
}

// TestOneAlarmForAllModules: pcscd hangs, so do three modules. There is one alarm,
// told once, and its end is told as soon as pcscd answers.
func TestOneAlarmForAllModules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reader
		var log bytes.Buffer
		a, hubs, stop := station(t, &r, 3, &log)
		defer stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.count(); n < 2 || n > 3 {
			t.Errorf("a pcscd that works was asked %d times in a minute", n)
		}
		if len(a.Alarms()) != 0 || len(a.inventory.free()) != 3 {
			t.Fatalf("alarms %v, %d free tokens", a.Alarms(), len(a.inventory.free()))
		}

		begun := time.Now()
		r.set(stuck(), true)
		for _, h := range hubs {
			h.fail(&pkcs11.Error{Op: "C_GetSlotList", Kind: pkcs11.ErrModuleHung})
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		all := a.Alarms()
		if len(all) != 1 || all[0].Code != "pcscd-stuck" || all[0].Since.Sub(begun) > 5*time.Second {
			t.Fatalf("alarms %+v, five seconds after %s", all, begun)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), `todo="Restart pcscd."`) {
			t.Errorf("%d errors in the log:\n%s", n, log.String())
		}

		r.set(nil, false)
		for _, h := range hubs {
			h.fail(nil)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(a.Alarms()) != 0 || len(a.inventory.free()) != 3 {
			t.Errorf("five seconds after pcscd answers again: alarms %v, %d free tokens", a.Alarms(), len(a.inventory.free()))
		}
		if !strings.Contains(log.String(), `msg="alarm ended"`) {
			t.Errorf("the end is not in the log:\n%s", log.String())
		}
	})
}

// TestTokensThatVanishAreAskedAbout: with pcscd gone a module says that there are no
// tokens, not that something is wrong. A token that failed before is not taken for
// one that was pulled.
func TestTokensThatVanishAreAskedAbout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r reader
		var log bytes.Buffer
		a, hubs, stop := station(t, &r, 1, &log)
		defer stop()
		time.Sleep(10 * time.Second)
		a.inventory.vacate(provision.TokenRef{Module: "m0", Identity: pkcs11.Identity{Serial: "A0"}}, "job", true)
		r.set(gone(), false)
		hubs[0].plug()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(a.Alarms()) != 1 {
			t.Fatalf("a second after the tokens vanished: alarms %v", a.Alarms())
		}
		r.set(nil, false)
		hubs[0].plug(slot("s1", "A0", 0))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if free := a.inventory.free(); len(a.Alarms()) != 0 || len(free) != 0 {
			t.Errorf("afterwards: alarms %v, free %v", a.Alarms(), free)
		}
		hubs[0].plug()
		time.Sleep(time.Second)
		hubs[0].plug(slot("s1", "A0", 0))
		time.Sleep(time.Second)
		synctest.Wait()
		if free := a.inventory.free(); len(free) != 1 {
			t.Errorf("after the token was pulled indeed: free %v", free)
		}
	})
}

// TestAModuleThatNeedsNoPCSCD: its library names pcscd's, and it reads its tokens by
// itself. A pcscd that nobody uses holds up nothing; once it runs, it counts again.
func TestAModuleThatNeedsNoPCSCD(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reader{wrong: gone()}
		var log bytes.Buffer
		a, hubs, stop := station(t, &r, 2, &log)
		defer stop()
		hubs[1].plug() // it shows nothing, so nothing speaks for it
		time.Sleep(10 * time.Second)
		synctest.Wait()
		free := a.inventory.free()
		if len(free) != 1 || free[0].Module != "m0" || a.inventory.alarmedAt("m0") || !a.inventory.alarmedAt("m1") {
			t.Errorf("free: %v, alarms: %v", free, a.Alarms())
		}
		r.set(nil, false)
		time.Sleep(10 * time.Second)
		r.set(gone(), false)
		hubs[0].plug()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !a.inventory.alarmedAt("m0") {
			t.Error("pcscd worked and does not any more, and the module without tokens is not under the alarm")
		}
	})
}

// TestManyAskAtOnce: the jobs of all tokens fail in one moment. Their questions are
// one or two, not one each, and none waits for the others' limits one after another.
func TestManyAskAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reader{wrong: stuck(), hangs: true}
		c := Config{Probe: r.probe, Log: slog.New(slog.DiscardHandler), Instances: []Instance{{Name: "m", Pool: &hub{t: t}, PCSC: "/comm"}}}
		a := New(c)
		begun := time.Now()
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() { a.ask(t.Context(), "m") })
		}
		all.Wait()
		if took, n := time.Since(begun), r.count(); took > 2*askLimit || n > 2 {
			t.Errorf("%d questions, %s", n, took)
		}
		if len(a.Alarms()) != 1 {
			t.Errorf("alarms: %v", a.Alarms())
		}
	})
}

// TestNothingIsBelievedAcrossAnAlarm: what the last look showed before an alarm is no
// free token, neither under it nor after it, before there was another look.
func TestNothingIsBelievedAcrossAnAlarm(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m", PCSC: "/comm"}, {Name: "other"}}, sampleProfile)
	m := inv.instance("m")
	here := []pkcs11.Slot{slot("s1", "A1", 0)}
	inv.saw(m, time.Now(), here, nil)
	inv.saw(inv.instance("other"), time.Now(), []pkcs11.Slot{slot("s2", "A2", 0)}, nil)
	serials := func() (out string) {
		for _, f := range inv.free() {
			out += string(f.Identity.Serial)
		}
		return out
	}
	inv.alarm("/comm", true)
	if got := serials(); got != "A2" {
		t.Errorf("free under the alarm: %s", got)
	}
	inv.alarm("/comm", false)
	if got := serials(); got != "A2" || inv.settled() {
		t.Errorf("free before the next look: %s", got)
	}
	inv.saw(m, time.Now(), here, nil)
	if got := serials(); got != "A1A2" || !inv.settled() {
		t.Errorf("free afterwards: %s", got)
	}
}

// TestAJobWaitsForTheEndOfAnAlarm: it is not tried under it, takes the lease that comes
// in for its unit although its token cannot be seen, and goes on a moment after the end.
func TestAJobWaitsForTheEndOfAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := reader{wrong: gone()}
		a := New(Config{
			Probe: r.probe, Log: slog.New(slog.DiscardHandler), Instances: []Instance{{Name: "m", Pool: &hub{t: t}, PCSC: "/comm"}},
		})
		a.ask(t.Context(), "m")
		rec := &provision.Record{Token: provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: "A1"}}, State: provision.StateQueued}
		j := &job{rec: rec, lease: newLease(a.clock, 1, a.clock(), 0), failures: maxFailures - 1}
		a.jobs["job"] = j
		a.parked(j, &pkcs11.Error{Op: "C_OpenSession", Kind: pkcs11.ErrDevice}, provision.StepIdentify)
		if j.failures != maxFailures-1 || rec.Waiting != waitingAlarm || rec.Hint != "Restart pcscd." || a.due(j) {
			t.Errorf("under the alarm: %d failures, waits for %q, %q, due %t", j.failures, rec.Waiting, rec.Hint, a.due(j))
		}
		j.lease.end(1, provision.ErrLeaseLost)
		why := j.why
		if taken, err := a.takeLease(j, heldLease{api.Lease{Epoch: 2, LeaseSeconds: 60}, a.clock()}); !taken || err != nil || j.lease.Epoch() != 2 {
			t.Fatalf("the new lease: taken %t (%v), epoch %d", taken, err, j.lease.Epoch())
		}
		j.why = why // as if the lease had not been lost
		r.set(nil, false)
		a.ask(t.Context(), "m")
		if a.due(j) {
			t.Error("due the moment that pcscd is back")
		}
		time.Sleep(settling + time.Millisecond)
		if !a.due(j) {
			t.Error("not due although pcscd has been back for a while")
		}
	})
}

// pcscd is a station whose bays are behind a pcscd that can be taken away.
type pcscd struct {
	*rig
	reader
	shims []pkcs11test.Shim
	rules []string // of the shims, while it is away
}

func newPCSCD(t *testing.T, bays int, rules ...string) *pcscd {
	p := &pcscd{rig: newRig(t, bays, time.Minute), rules: rules}
	for i := range p.bays {
		s := pkcs11test.NewShim(t, p.bays[i])
		p.shims, p.bays[i] = append(p.shims, s), s.Bay
	}
	p.pcsc, p.call, p.config.Probe = "/comm", time.Second, p.probe
	return p
}

// away takes pcscd away: the modules answer as they do then.
func (p *pcscd) away(wrong *Alarm) {
	p.set(wrong, false)
	for _, s := range p.shims {
		s.Rules(p.t, p.rules...)
	}
}

// back brings it back.
func (p *pcscd) back() {
	p.set(nil, false)
	for _, s := range p.shims {
		s.Rules(p.t)
	}
}

// each has every function that reaches a token answer in one way.
func each(answer string) []string {
	var out []string
	for _, f := range []string{"C_GetSlotList", "C_GetTokenInfo", "C_OpenSession", "C_Login", "C_InitToken", "C_InitPIN", "C_GenerateKeyPair",
		"C_FindObjectsInit", "C_GetAttributeValue", "C_CreateObject", "C_SignInit", "C_Sign"} {
		out = append(out, f+" "+answer)
	}
	return out
}

// TestNoTokenIsBlamedForPCSCD takes pcscd away at each step that writes, for good. A
// drain ends after its patience; no job has ended, and each says what it waits for.
// With pcscd back every job is finished, on its token.
func TestNoTokenIsBlamedForPCSCD(t *testing.T) {
	rows := []struct {
		at     provision.StepName
		answer string // of the module, once pcscd is away
	}{
		// A row for each step that writes and for each way; all pairs would take minutes.
		{provision.StepInitialise, "return 0x30"}, // CKR_DEVICE_ERROR
		{provision.StepSetUserPIN, "return 0x32"}, // CKR_DEVICE_REMOVED
		{provision.StepGenerateKey, "return 0x6"}, // CKR_FUNCTION_FAILED
		{provision.StepInstall, "return 0xe0"},    // CKR_TOKEN_NOT_PRESENT
		{provision.StepReadBack, "hang"},
	}
	for _, row := range rows {
		t.Run(string(row.at)+" "+row.answer, func(t *testing.T) {
			p := newPCSCD(t, 2, each(row.answer)...)
			p.order(2)
			p.config.AlarmPatience = 500 * time.Millisecond
			var once sync.Once
			p.config.Observe = func(now provision.Progress) {
				if now.Step == row.at {
					once.Do(func() { p.away(stuck()) })
				}
			}
			summary, err := p.run(t.Context())
			if err != nil || summary.Failed+summary.Quarantined > 0 || len(summary.Waiting) != 2-summary.Finished || len(summary.Waiting) == 0 {
				t.Fatalf("%+v (%v)", summary, err)
			}
			if len(summary.Alarms) != 1 || summary.Alarms[0].Code != "pcscd-stuck" || summary.Alarms[0].Since.IsZero() {
				t.Errorf("alarms: %+v", summary.Alarms)
			}
			for _, w := range summary.Waiting {
				kept, err := p.journal.Job(w.Job.ID)
				if err != nil || w.Waiting == waitingAlarm && (kept.Waiting != waitingAlarm || kept.Hint != "Restart pcscd.") {
					t.Errorf("the journal says %q, %q (%v)", kept.Waiting, kept.Hint, err)
				}
			}
			if !slices.ContainsFunc(summary.Waiting, func(w *provision.Record) bool { return w.Waiting == waitingAlarm && w.Hint == "Restart pcscd." }) {
				t.Errorf("no job waits for the station: %+v", *summary.Waiting[0])
			}
			p.back()
			p.config.Observe = nil
			if again, err := p.run(t.Context()); err != nil || again.Finished+summary.Finished != 2 || len(again.Alarms) > 0 {
				t.Fatalf("with pcscd back: %+v (%v)", again, err)
			}
			p.installed(2)
		})
	}
}

// TestADrainGoesOnWhenPCSCDComesBack: somebody restarts it while the drain waits.
func TestADrainGoesOnWhenPCSCDComesBack(t *testing.T) {
	p := newPCSCD(t, 2, each("return 0x32")...)
	p.order(2)
	var once sync.Once
	parked := make(chan struct{}, 10)
	p.config.Observe = func(now provision.Progress) {
		if now.Step == provision.StepGenerateKey {
			once.Do(func() { p.away(gone()) })
		}
		if now.State == provision.StateParked {
			parked <- struct{}{}
		}
	}
	go func() {
		<-parked
		p.rig.waitFor("the alarm to be asked about again", func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.asked) > 3 })
		p.back()
	}()
	summary, err := p.run(t.Context())
	if err != nil || summary.Finished != 2 || len(summary.Alarms) != 0 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	p.installed(2)
}

// TestADrainWithoutPCSCDSaysSo: no token can be seen, so nothing is claimed; the
// drain does not end as if there were nothing to do.
func TestADrainWithoutPCSCDSaysSo(t *testing.T) {
	p := newPCSCD(t, 1, "C_GetSlotList return 0x6")
	p.order(1)
	p.config.AlarmPatience = 500 * time.Millisecond
	p.away(gone())
	summary, err := p.run(t.Context())
	if err != nil || len(summary.Alarms) != 1 || summary.FreeTokens != 0 || len(summary.Waiting) != 0 {
		t.Errorf("%+v (%v)", summary, err)
	}
}

// TestWhoIsToBlame: only what a module or a token has answered is asked about.
func TestWhoIsToBlame(t *testing.T) {
	parked := func(err error) error { return &provision.StepError{Step: provision.StepIdentify, Err: err} }
	for _, err := range []error{&pkcs11.Error{Op: "C_Login", Kind: pkcs11.ErrDevice}, fmt.Errorf("verify: %w", pkcs11.ErrNotFound)} {
		if !ofToken(parked(err)) {
			t.Errorf("%v is not of a token", err)
		}
	}
	for _, err := range []error{nil, context.Canceled, provision.ErrLeaseLost, provision.ErrJournal, errors.New("the network")} {
		if ofToken(parked(err)) {
			t.Errorf("%v is of a token", err)
		}
	}
}
