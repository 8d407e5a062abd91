package provision

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Central is what a job needs of the central server. Errors other than
// ErrLeaseLost, ErrCancelled and ErrRefused are taken for passing ones.
type Central interface {
	// Escrow returns once the sealed SO PIN is durable there.
	Escrow(ctx context.Context, e Escrow) error
	// NameEscrow tells which token the escrowed SO PIN is on.
	NameEscrow(ctx context.Context, escrowID string, serial pkcs11.TokenSerial) error
	// Bind sends the request; the certs-only PKCS#7 (DER) if it is there at once, else nil.
	Bind(ctx context.Context, b Bind) ([]byte, error)
	// Collect waits a while for the certificate; nil when it is not there yet.
	Collect(ctx context.Context, unitID string, generation int) ([]byte, error)
}

// Escrow is a sealed SO PIN on its way to the central server.
type Escrow struct {
	ID         string
	UnitID     string
	Epoch      int64
	Envelope   []byte // CMS EnvelopedData, DER
	Recipients []string
}

// Bind is a certification request on its way to the central server.
type Bind struct {
	UnitID      string
	Generation  int
	Epoch       int64
	CSR         []byte // DER
	TokenSerial pkcs11.TokenSerial
	TokenModel  string
	KeyID       pkcs11.KeyID
	EscrowID    string
}

// Lease is the station's hold on the unit.
type Lease interface {
	// Epoch is the number that every call to the central server names.
	Epoch() int64
	// Check returns nil when at least need of the lease is left. Once a key is
	// bound only what the central server has said counts, not the clock.
	// ErrLeaseLost, ErrLeaseTooShort, ErrCancelled.
	Check(need time.Duration, bound bool) error
	// Cancelled reports that the central server has withdrawn the unit.
	Cancelled() bool
}

// Recipients are those to whom PINs are sealed, checked against the configuration.
type Recipients struct {
	UserPIN []envelope.Recipient
	SOPIN   []envelope.Recipient
}

// Progress is told as a job goes on.
type Progress struct {
	Job   Job
	Token TokenRef
	State State
	// Step is the step now at work, Index of Steps (from 0).
	Step  StepName
	Index int
	Steps int
	// Reason and Hint are set when the job stopped.
	Reason string
	Hint   string
}

// Runner runs jobs. It holds what all jobs share and is safe for concurrent use.
type Runner struct {
	Journal *Journal
	Vault   *Vault
	Central Central
	// Keys is the quality gate of new keys.
	Keys *KeyGate
	// Anchors are the roots of the customers' CA.
	Anchors []*x509.Certificate
	// Product and TokenProfile look settings up; an error ends the job untouched.
	Product      func(code string) (Product, error)
	TokenProfile func(pkcs11.TokenInfo) (TokenProfile, error)
	// Recipients returns the checked recipients of both kinds of PIN.
	Recipients func() (Recipients, error)
	// DeliveredOnly says that a token is written only when it is on the list of delivered ones.
	DeliveredOnly bool
	// Settle is how long modules may take to notice that a token was pulled.
	Settle time.Duration
	// Now is time.Now outside tests.
	Now func() time.Time
	// Observe hears of every step; it may be nil.
	Observe func(Progress)
}

// run is one job at work.
type run struct {
	*Runner
	rec    *Record
	module pkcs11.Module
	lease  Lease

	steps   []Step
	dirty   bool     // facts that the journal does not have yet
	ahead   StepName // recorded with the intent of the step before it
	token   pkcs11.Token
	info    *pkcs11.TokenInfo
	login   login
	product *Product
	profile *TokenProfile
	chain   *csr.Chain
	waited  time.Duration     // time spent on waiting for others
	unsent  bool              // the request was never sent before this run
	made    *pkcs11.KeyClaims // of the key that this run made, as the module gave it out
}

type login int

const (
	loginNone login = iota
	loginSO
	loginUser
)

// Run takes the job as far as it goes on the tokens of module, and leaves rec as
// the journal has it. It returns nil when the job finished, else the *StepError
// that parked or ended it. A job that was at work before (after a crash, or
// parked) goes on where the journal says, and the token outranks the journal.
//
// When ctx ends, the call into the module that is under way comes to its end and
// the job is parked before the next step.
func (r *Runner) Run(ctx context.Context, rec *Record, module pkcs11.Module, lease Lease) (err error) {
	j := &run{Runner: r, rec: rec, module: labelled(module), lease: lease, steps: planOf(rec)}
	if len(j.steps) == 0 {
		return fmt.Errorf("job %s: unknown kind %q", rec.Job.ID, rec.Job.Kind)
	}
	begun := r.Now()
	defer func() {
		if j.token != nil {
			_ = j.token.Close() // whoever uses the token next finds out how it is
		}
	}()
	first, resumed, err := j.start()
	if err != nil {
		return err
	}
	i, err := j.through(ctx, first, resumed)
	if errors.Is(err, ErrCancelled) && !rec.Facts.Withdrawn && j.mayHaveKey() {
		if err = j.withdraw(); err == nil {
			i, err = j.through(ctx, 0, true)
		}
	}
	rec.Busy += r.Now().Sub(begun) - j.waited
	switch {
	case err != nil:
		return j.stop(i, err)
	case rec.Facts.Withdrawn:
		return j.withdrawn()
	}
	return j.complete()
}

// through does the steps of the plan from one on, and gives the one that failed.
func (j *run) through(ctx context.Context, first int, resumed bool) (int, error) {
	for i := first; i < len(j.steps); i++ {
		if when := j.steps[i].when; when != nil && !when(j.rec.Facts) {
			continue
		}
		j.tell(i)
		err := ctx.Err()
		if err == nil && j.lease.Cancelled() && !j.rec.Facts.Withdrawn {
			err = ErrCancelled
		}
		if err == nil {
			err = j.do(ctx, i, resumed && i == first)
		}
		if err != nil {
			return i, j.judge(ctx, j.steps[i], err)
		}
	}
	return 0, nil
}

// start finds the step to go on with.
func (j *run) start() (first int, resumed bool, err error) {
	resumed = j.rec.State != StateQueued
	state, err := Advance(j.rec.State, EventStart)
	if err != nil {
		return 0, false, fmt.Errorf("job %s: %w", j.rec.Job.ID, err)
	}
	first = slices.IndexFunc(j.steps, func(s Step) bool { return s.Name == j.rec.Step })
	if first < 0 {
		return 0, false, fmt.Errorf("job %s: the journal names the step %q, which this program does not know", j.rec.Job.ID, j.rec.Step)
	}
	// What the journal has may lag behind what an earlier try found out.
	j.dirty = resumed
	j.rec.State, j.rec.Epoch = state, j.lease.Epoch()
	j.rec.Reason, j.rec.Hint, j.rec.Waiting = "", "", WaitingNothing
	return first, resumed, nil
}

// do runs one step: intent into the journal, what does the token say, run, verify.
func (j *run) do(ctx context.Context, i int, resumed bool) error {
	s := j.steps[i]
	if !s.Network {
		ctx = context.WithoutCancel(ctx)
	}
	observed := NotDone
	if resumed && s.observe != nil {
		var err error
		if observed, err = s.observe(ctx, j); err != nil {
			return err
		}
	}
	if observed == NotDone {
		if err := j.intend(s); err != nil {
			return err
		}
		if err := s.run(ctx, j); err != nil {
			return err
		}
	}
	if s.verify != nil {
		return s.verify(ctx, j)
	}
	return nil
}

// judge lets a verdict on a token stand only when the token is there to be judged.
// One that is pulled can look like a bad one: ykcs11 leaves out the objects that it
// could not read any more, and says that a PIN is wrong when nobody was there to take it.
func (j *run) judge(ctx context.Context, s Step, verdict error) error {
	if s.Network || classify(s, verdict).Class != ClassTerminal || OrderAtFault(verdict) || errors.Is(verdict, ErrCancelled) {
		return verdict
	}
	if err := j.stillThere(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("%w (before that: %v)", err, verdict)
	}
	return verdict
}

// stillThere fails when the token is not in the module any more.
func (j *run) stillThere(ctx context.Context) error {
	time.Sleep(j.Settle)
	slots, err := j.module.Slots(ctx)
	if err != nil {
		return err
	}
	id := j.rec.Token.Identity
	if !slices.ContainsFunc(slots, func(s pkcs11.Slot) bool { return s.Is(id) }) {
		return fmt.Errorf("%s: %w", id, pkcs11.ErrTokenRemoved)
	}
	return nil
}

// intend looks at the lease and makes the intent durable. What is refused here has
// not touched the token.
func (j *run) intend(s Step) error {
	if s.WritesToken && !j.rec.Facts.Withdrawn { // to destroy the key is right whoever has the unit
		if err := j.lease.Check(0, j.rec.Facts.Bound); err != nil {
			return err
		}
	}
	recorded := !s.WritesToken || j.ahead == s.Name
	if s.Effect == EffectReads || s.Effect == EffectRepeatable && !j.dirty && recorded {
		return nil
	}
	touched := j.rec.Facts.Touched
	j.rec.Facts.Touched = touched || s.WritesToken
	if err := j.commit(s.Name); err != nil {
		j.rec.Facts.Touched = touched
		return err
	}
	return nil
}

// commit makes the facts and the intent of a step durable.
func (j *run) commit(step StepName) error {
	before := j.rec.Step
	j.rec.Step, j.rec.Epoch = step, j.lease.Epoch()
	ahead := j.writeAfter(step)
	if err := j.Journal.Save(j.rec, string(step), ahead); err != nil {
		j.rec.Step = before
		return err
	}
	j.dirty, j.ahead = false, ahead
	return nil
}

// writeAfter is the step after this one, if it writes the token under the intent of the
// one before. It is recorded with that, for nothing is done to a token that is not on
// record, and a transaction of its own would cost a sync.
func (j *run) writeAfter(step StepName) StepName {
	at := slices.IndexFunc(j.steps, func(s Step) bool { return s.Name == step })
	for _, s := range j.steps[at+1:] {
		if s.when == nil || s.when(j.rec.Facts) {
			if s.WritesToken && s.Effect == EffectRepeatable {
				return s.Name
			}
			break
		}
	}
	return ""
}

// complete ends a job whose steps are all done.
func (j *run) complete() error {
	state, err := Advance(j.rec.State, EventFinish)
	if err != nil {
		return err
	}
	report := j.report()
	report.Outcome = OutcomeInstalled
	if err := j.end(state, report); err != nil {
		return j.stop(len(j.steps)-1, err)
	}
	j.tell(len(j.steps) - 1)
	return nil
}

// stop parks or ends the job after a failed step.
func (j *run) stop(i int, cause error) error {
	e := classify(j.steps[i], cause)
	j.rec.Reason, j.rec.Hint, j.rec.Waiting = e.Error(), e.Hint, e.Waiting
	if errors.Is(cause, ErrJournal) {
		// The journal keeps what it had; the job goes on from there.
		return e
	}
	event := EventPark
	if e.Class == ClassTerminal || e.Waiting == WaitingLease && !j.rec.Facts.Touched {
		event = EventFail
		if j.rec.Facts.Touched {
			event = EventIsolate
		}
	}
	state, err := Advance(j.rec.State, event)
	if err != nil {
		return errors.Join(e, err)
	}
	defer j.tell(i)
	if event == EventPark {
		j.rec.State, j.rec.Step = state, j.resumeAt(i)
		if err := j.Journal.Save(j.rec, "parked", ""); err != nil {
			return errors.Join(e, err)
		}
		return e
	}
	j.rec.Step = j.steps[i].Name
	return errors.Join(e, j.end(state, j.endReport(cause)))
}

// resumeAt is the step at which a job that stopped at step i goes on: i itself,
// except that reading steps hand on what they read in memory only, so the work
// starts again from the first of them in a row.
func (j *run) resumeAt(i int) StepName {
	for before := j.before(i); before >= 0 && j.steps[i].Effect == EffectReads && j.steps[before].Effect == EffectReads; before = j.before(i) {
		i = before
	}
	return j.steps[i].Name
}

// before is the step that was done before step i, -1 for none: some are left out.
func (j *run) before(i int) int {
	for i--; i >= 0 && j.steps[i].when != nil && !j.steps[i].when(j.rec.Facts); i-- {
	}
	return i
}

// end makes a final state and its report durable in one transaction.
func (j *run) end(state State, report *Report) error {
	was := j.rec.State
	j.rec.State = state
	if err := j.Journal.Finish(j.rec, report); err != nil {
		j.rec.State = was
		return err
	}
	return nil
}

// report is the report of a bound unit, without its outcome.
func (j *run) report() *Report {
	f := j.rec.Facts
	return &Report{
		JobID: j.rec.Job.ID, Kind: ReportResult,
		UnitID: j.rec.Job.UnitID(), Generation: j.rec.Job.Generation, Epoch: j.rec.Epoch,
		TokenSerial: j.rec.Token.Identity.Serial, TokenLabel: j.rec.TokenLabel(), KeyID: f.KeyID,
		CertificateSerial: f.CertificateSerial, CertificateSHA256: f.CertificateSHA256,
		EscrowID: f.EscrowID, Delivery: f.Delivery, UserPINEnvelope: f.UserPINEnvelope, UserPINRecipients: f.UserPINRecipients,
		Busy: j.rec.Busy,
	}
}

// endReport says what the central server hears about a job given up: nothing when
// the unit is not ours any more, a release before a key was bound, a result after.
func (j *run) endReport(cause error) *Report {
	if errors.Is(cause, ErrLeaseLost) {
		return nil
	}
	r := j.report()
	r.Reason = j.rec.Reason
	if j.rec.Facts.Bound {
		r.Outcome = OutcomeFaulty
		if errors.Is(cause, ErrRefusedCertificate) {
			r.Outcome = OutcomeRefusedCertificate
		}
		return r
	}
	r.Kind, r.Release = ReportRelease, ReleaseTokenFaulty
	if errors.Is(cause, ErrProfileMisfit) || OrderAtFault(cause) || errors.Is(cause, ErrCancelled) {
		r.Release = ReleaseOrderUnusable
	}
	return r
}

// OrderAtFault reports that a job ended because of its order; the token is as good as before.
func OrderAtFault(err error) bool {
	return errors.Is(err, ErrRefused) || errors.Is(err, csr.ErrBadOrder)
}

func (j *run) tell(i int) {
	if j.Observe == nil {
		return
	}
	j.Observe(Progress{
		Job: j.rec.Job, Token: j.rec.Token, State: j.rec.State,
		Step: j.steps[i].Name, Index: i, Steps: len(j.steps),
		Reason: j.rec.Reason, Hint: j.rec.Hint,
	})
}

// Abandon ends a job that cannot go on because its unit is not ours any more: the
// token is quarantined if it was written, else left as it was. The central server
// is told nothing.
func (r *Runner) Abandon(rec *Record, reason, hint string) error {
	return r.giveUp(rec, reason, hint, ErrLeaseLost)
}

// GiveUp ends an unfinished job by a person's decision, as Abandon does, and tells
// the central server that its unit needs another token.
func (r *Runner) GiveUp(rec *Record, reason, hint string) error {
	return r.giveUp(rec, reason, hint, nil)
}

func (r *Runner) giveUp(rec *Record, reason, hint string, cause error) error {
	event := EventFail
	if rec.Facts.Touched {
		event = EventIsolate
	}
	state, err := Advance(rec.State, event)
	if err != nil {
		return fmt.Errorf("job %s: %w", rec.Job.ID, err)
	}
	rec.Reason, rec.Hint, rec.Waiting = reason, hint, WaitingNothing
	j := &run{Runner: r, rec: rec, steps: planOf(rec)}
	if err := j.end(state, j.endReport(cause)); err != nil {
		return err
	}
	j.tell(max(0, slices.IndexFunc(j.steps, func(s Step) bool { return s.Name == rec.Step })))
	return nil
}

func sha256hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
