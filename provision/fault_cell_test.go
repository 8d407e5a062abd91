package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker/workertest"
)

// scene is what a job begins with: the token that it writes, and a neighbour in the
// same module, which nobody may touch.
type scene struct {
	delivered
	// critical are the calls whose cells are always run: those that change the token
	// for good, as far as another scene does not have them in the same way.
	critical []string
	// spare is how many wrong PINs in a row may be tried: a factory PIN is tried after
	// the one that should have replaced it.
	spare int

	tokens    string // a token directory of SoftHSM, copied for every cell
	neighbour string // the neighbour's folder in it
	token     TokenRef
	// The serials of both; the job's is empty as long as its token is blank.
	serial, neighbourSerial pkcs11.TokenSerial
}

// scenes are the ways in which tokens are delivered. Beside a blank token is one that
// somebody uses; beside one from the factory is the next of its lot, with the same PINs.
func scenes(t *testing.T) []*scene {
	t.Helper()
	var all []*scene
	for _, as := range deliveries() {
		s := &scene{delivered: as}
		neighbour := (*station).factoryToken
		switch as.name {
		case "blank":
			s.critical = []string{"C_InitToken", "C_InitPIN", "C_GenerateKeyPair", "C_CreateObject"}
			neighbour = (*station).usedToken
		case "factory":
			s.critical = []string{"C_InitToken", "C_SetPIN"}
		case "as made":
			neighbour = (*station).nextAsMade
		}
		if as.profile != nil {
			s.spare = 1
		}
		s.lay(t, neighbour)
		all = append(all, s)
	}
	return all
}

func (s *station) usedToken(t *testing.T) {
	t.Helper()
	s.bay.InitToken(t, "somebody's", "12345678", "123456")
	s.bay.PutCertificate(t, "somebody's", "123456", "01", "somebody's", s.central.ca.Raw)
}

func (s *station) nextAsMade(t *testing.T) {
	t.Helper()
	s.bay.InitToken(t, "factory", "87654321", "123456")
}

// lay makes both tokens.
func (s *scene) lay(t *testing.T, neighbour func(*station, *testing.T)) {
	t.Helper()
	st := newStation(t)
	s.tokens = tokenDir(st.bay)
	if s.make != nil {
		s.make(st, t)
		s.serial = st.initialised(t).Serial
	}
	own := folders(t, s.tokens)
	neighbour(st, t)
	for _, name := range folders(t, s.tokens) {
		if !slices.Contains(own, name) {
			s.neighbour = name
		}
	}
	slots, err := st.module().Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		if slot.Token.Serial == s.serial {
			s.token = TokenRef{Module: "bay", Identity: slot.Identity(), Model: slot.Token.Model}
		} else if slot.Token.Initialized() {
			s.neighbourSerial = slot.Token.Serial
		}
	}
	if s.neighbour == "" || s.neighbourSerial == "" || s.token.Module == "" {
		t.Fatalf("%s: the two tokens cannot be told from each other: %+v", s.name, slots)
	}
}

// lane is a bay that is used by one cell after another, and the shim before it.
type lane struct {
	bay  pkcs11test.Bay
	shim pkcs11test.Shim
}

func newLane(t *testing.T) *lane {
	t.Helper()
	bay := pkcs11test.NewBay(t)
	return &lane{bay, pkcs11test.NewShim(t, bay)}
}

// attempt is one job on its way through a fault.
type attempt struct {
	*station
	*lane
	cell   cell
	rec    *Record
	logins loginWatch
	binds  [][]byte
	calls  []string // of the first run
	told   []error  // what every run returned
}

// begin lays the scene in the lane, and makes a station and a job for it.
func (c cell) begin(t *testing.T, l *lane) *attempt {
	t.Helper()
	if err := errors.Join(os.RemoveAll(tokenDir(l.bay)), os.CopyFS(tokenDir(l.bay), os.DirFS(c.scene.tokens))); err != nil {
		t.Fatal(err)
	}
	a := &attempt{station: newStation(t), lane: l, cell: c}
	a.station.bay = l.bay
	a.logins.spare = c.scene.spare
	if c.scene.profile != nil {
		a.runner.TokenProfile = c.scene.profile
	}
	a.runner.Central = countedBinds{a.central, a}
	rec, err := a.runner.Journal.Create(sampleJob(1), 1, c.scene.token)
	if err != nil {
		t.Fatal(err)
	}
	a.rec = rec
	l.shim.Rules(t)
	l.shim.Calls(t)
	return a
}

// cells counts the calls of an undisturbed job and makes a cell of each and each fault.
func (s *scene) cells(t *testing.T, l *lane) []cell {
	t.Helper()
	a := cell{scene: s}.begin(t, l)
	a.toTheEnd(t)
	if a.rec.State != StateFinished || len(a.told) != 1 {
		t.Fatalf("%s: an undisturbed job is %s: %v", s.name, a.rec.State, a.told)
	}
	a.check(t)
	t.Logf("%s: %d calls", s.name, len(a.calls))
	var cells []cell
	for i, call := range a.calls {
		for _, f := range faults() {
			if f.name == swapped && call == "C_InitToken" {
				continue // it names a slot and nothing else, so no check can come between
			}
			cells = append(cells, cell{s, f, i + 1, call})
		}
	}
	return cells
}

// run runs the job through the fault.
func (c cell) run(t *testing.T, l *lane) *attempt {
	a := c.begin(t, l)
	if c.fault.name == swapped {
		a.swapFrom(t, c.n, c.scene.serial)
	} else {
		l.shim.Rules(t, fmt.Sprintf(c.fault.rule, c.n))
	}
	a.toTheEnd(t)
	if len(a.calls) < c.n || a.calls[c.n-1] != c.call {
		t.Errorf("not reached: the calls were %v", a.calls)
	}
	a.check(t)
	return a
}

// swapFrom exchanges the job's token and its neighbour from the n-th call on.
func (a *attempt) swapFrom(t *testing.T, n int, own pkcs11.TokenSerial) {
	t.Helper()
	a.shim.Rules(t, fmt.Sprintf(a.cell.fault.rule, n, cmp.Or(own, "-"), a.cell.scene.neighbourSerial)) // - is the blank one
}

// maxRuns is how often a job is run before it counts as one that never ends. The
// agent tries that often quickly.
const maxRuns = 5

// toTheEnd runs the job until it has ended, as the agent does: in one process as long
// as that lives, again after a failure that passes by itself, and again when the token
// can be seen after one that a person has to put right. The fault hits one call alone;
// tokens that were exchanged are put back when the job has stopped.
func (a *attempt) toTheEnd(t *testing.T) {
	t.Helper()
	spec := workertest.With(t, worker.Spec{Path: a.shim.Path, Env: a.shim.Env, MaxProcesses: 1})
	if a.cell.fault.name == hang {
		spec.Deadlines = worker.Deadlines{KeyGeneration: hangs, Init: 5 * hangs, Call: hangs}
	}
	pool := worker.NewPool(spec)
	defer func() { a.close(t, pool) }()
	for len(a.told) < maxRuns && !a.rec.State.Final() {
		a.told = append(a.told, a.once(t, pool))
		if len(a.told) > 1 {
			continue
		}
		a.calls = append(a.calls, a.counted(t)...)
		a.shim.Rules(t)
		if a.cell.fault.name == hang { // no other call is to be taken for hung
			a.close(t, pool)
			spec.Deadlines = worker.Deadlines{}
			pool = worker.NewPool(spec)
		}
	}
}

// hangs is how long a module that hangs is waited for. A process starts in less than
// five times that, also with the race detector.
const hangs = 200 * time.Millisecond

func (a *attempt) close(t *testing.T, pool *worker.Pool) {
	t.Helper()
	if err := pool.Close(); err != nil {
		t.Errorf("close the module's process: %v", err)
	}
}

// once is one run of the job.
func (a *attempt) once(t *testing.T, pool *worker.Pool) error {
	t.Helper()
	child, err := pool.Acquire(t.Context())
	if err != nil {
		return &StepError{Step: a.rec.Step, Class: ClassRetry, Waiting: WaitingToken, Err: err}
	}
	defer func() { _ = pool.Release(child) }() // a child that does not come back is ended
	if !a.due(t, child) {
		return fmt.Errorf("nobody sees the token %s", a.rec.Token.Identity)
	}
	return a.runner.Run(t.Context(), a.rec, watchedModule{child, t, a}, alwaysOurs{})
}

// due is whether the agent lets the job go on.
func (a *attempt) due(t *testing.T, m pkcs11.Module) bool {
	t.Helper()
	if a.rec.Waiting != WaitingToken || a.rec.Step == StepInitialise {
		return true
	}
	var why *StepError
	if errors.As(a.told[len(a.told)-1], &why) && why.Class == ClassRetry {
		return true
	}
	slots, err := m.Slots(t.Context())
	if err != nil {
		t.Errorf("the slots cannot be read any more: %v", err)
	}
	return slices.ContainsFunc(slots, func(s pkcs11.Slot) bool { return s.Is(a.rec.Token.Identity) })
}

// counted are the calls made under the present rules, without those that only ask for
// a length, which the shim does not count. The binding makes such a call before each
// call of three functions.
func (a *attempt) counted(t *testing.T) []string {
	t.Helper()
	var calls []string
	asked := false
	for _, call := range a.shim.Calls(t) {
		inTwo := call == "C_GetSlotList" || call == "C_GetAttributeValue" || call == "C_Sign"
		if inTwo && !asked {
			asked = true
			continue
		}
		asked = false
		calls = append(calls, call)
	}
	if n := a.shim.Counted(t); a.cell.fault.name == "" && n != len(calls) {
		t.Fatalf("the shim has counted %d calls, here are %d: %v", n, len(calls), calls)
	}
	return calls
}

// countedBinds remembers the requests that reach the central server.
type countedBinds struct {
	*central
	a *attempt
}

func (c countedBinds) Bind(ctx context.Context, b Bind) ([]byte, error) {
	if !slices.ContainsFunc(c.a.binds, func(old []byte) bool { return string(old) == string(b.CSR) }) {
		c.a.binds = append(c.a.binds, b.CSR)
	}
	return c.central.Bind(ctx, b)
}

// loginWatch counts the wrong PINs that were tried, and the longest row of them.
type loginWatch struct{ spare, now, worst int }

func (w *loginWatch) note(err error) error {
	if errors.Is(err, pkcs11.ErrPINIncorrect) {
		w.now++
		w.worst = max(w.worst, w.now)
	} else if err == nil {
		w.now = 0
	}
	return err
}

// watchedModule looks on while a job uses a module.
type watchedModule struct {
	pkcs11.Module
	t *testing.T
	a *attempt
}

func (m watchedModule) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return watchedToken{t, m}, nil
}

type watchedToken struct {
	pkcs11.Token
	m watchedModule
}

func (t watchedToken) LoginSO(ctx context.Context, pin pkcs11.SOPIN) error {
	return t.m.a.logins.note(t.Token.LoginSO(ctx, pin))
}

func (t watchedToken) LoginUser(ctx context.Context, pin pkcs11.UserPIN) error {
	return t.m.a.logins.note(t.Token.LoginUser(ctx, pin))
}

func (t watchedToken) SetSOPIN(ctx context.Context, old, new pkcs11.SOPIN) error {
	return t.m.a.logins.note(t.Token.SetSOPIN(ctx, old, new))
}

func (t watchedToken) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	return t.m.a.logins.note(t.Token.SetUserPIN(ctx, old, new))
}

// Init: only from here on does a token that came blank have a serial to be exchanged by.
func (t watchedToken) Init(ctx context.Context, pin pkcs11.SOPIN, label pkcs11.TokenLabel) (pkcs11.TokenInfo, error) {
	info, err := t.Token.Init(ctx, pin, label)
	a := t.m.a
	if err != nil || a.cell.fault.name != swapped || a.cell.scene.serial != "" || len(a.told) > 0 {
		return info, err
	}
	a.calls = a.counted(t.m.t)
	if a.cell.n > len(a.calls) {
		a.swapFrom(t.m.t, a.cell.n-len(a.calls), info.Serial)
	}
	return info, nil
}

// words are what was said about the job, to people and to the central server.
func (a *attempt) words() string {
	var all []string
	for _, err := range a.told {
		if err != nil {
			all = append(all, err.Error())
		}
	}
	return strings.Join(append(all, a.rec.Reason, a.rec.Hint), "\n")
}
