package provision

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// forcing is a module whose tokens have a PIN that the SO has set changed by the user
// before anything else (PKCS#11 v2.40, CKF_USER_PIN_TO_BE_CHANGED). silent ones do not show it.
type forcing struct {
	pkcs11.Module
	due    *atomic.Bool
	silent bool
}

func (m forcing) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	return forcingToken{t, m}, err
}

type forcingToken struct {
	pkcs11.Token
	m forcing
}

func (t forcingToken) expired(op string) error {
	if t.m.due.Load() {
		return &pkcs11.Error{Op: op, Code: 0xA3} // CKR_PIN_EXPIRED
	}
	return nil
}

func (t forcingToken) Info(ctx context.Context) (pkcs11.TokenInfo, error) {
	info, err := t.Token.Info(ctx)
	if t.m.due.Load() && !t.m.silent {
		info.Flags |= pkcs11.FlagUserPINToBeChanged
	}
	return info, err
}

func (t forcingToken) InitUserPIN(ctx context.Context, pin pkcs11.UserPIN) error {
	err := t.Token.InitUserPIN(ctx, pin)
	t.m.due.Store(t.m.due.Load() || err == nil)
	return err
}

func (t forcingToken) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	err := t.Token.SetUserPIN(ctx, old, new)
	t.m.due.Store(t.m.due.Load() && err != nil)
	return err
}

func (t forcingToken) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	if err := t.expired("C_GenerateKeyPair"); err != nil {
		return pkcs11.Object{}, err
	}
	return t.Token.GenerateKeyPair(ctx, k)
}

func (t forcingToken) Sign(ctx context.Context, id pkcs11.KeyID, m pkcs11.Mechanism, in []byte) ([]byte, error) {
	if err := t.expired("C_Sign"); err != nil {
		return nil, err
	}
	return t.Token.Sign(ctx, id, m, in)
}

func (t forcingToken) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	if err := t.expired("C_CreateObject"); err != nil {
		return err
	}
	return t.Token.WriteCertificate(ctx, c)
}

func (t forcingToken) Destroy(ctx context.Context, q pkcs11.Query) (int, error) {
	if err := t.expired("C_DestroyObject"); err != nil {
		return 0, err
	}
	return t.Token.Destroy(ctx, q)
}

const samplePIN = "246802" // not drawn

// delivering is a station whose product delivers in a way, on tokens that enforce a change or not.
func delivering(t *testing.T, d Delivery, forces bool) *station {
	s := newStation(t)
	product, profile := s.runner.Product, s.runner.TokenProfile
	s.runner.Product = func(code string) (Product, error) {
		p, err := product(code)
		p.Delivery, p.FirstPIN = d, samplePIN
		return p, err
	}
	s.runner.TokenProfile = func(info pkcs11.TokenInfo) (TokenProfile, error) {
		p, err := profile(info)
		p.ForcesChange = forces
		return p, err
	}
	return s
}

func (s *station) opens(m pkcs11.Module, rec *Record, pin pkcs11.UserPIN) error {
	token, err := m.Open(s.t.Context(), rec.Token.Identity)
	if err != nil {
		s.t.Fatal(err)
	}
	err = token.LoginUser(s.t.Context(), pin)
	return errors.Join(err, token.Close())
}

func TestFirstUse(t *testing.T) {
	s := delivering(t, DeliverFirstUse, true)
	m := forcing{Module: s.module(), due: &atomic.Bool{}}
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	if !m.due.Load() {
		t.Error("the holder need not change the PIN")
	}
	var set []string
	for _, act := range acts(t, s.runner.Journal) {
		if act.Kind == audit.KindPINSet {
			set = append(set, act.Step)
		}
	}
	if !slices.Contains(set, string(StepSetFirstPIN)) {
		t.Errorf("PINs on record: %v", set)
	}
	if err := s.opens(m.Module, rec, pkcs11.NewUserPIN(samplePIN)); err != nil {
		t.Errorf("the first PIN does not open the token: %v", err)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 {
		t.Fatalf("outbox %+v (%v)", reports, err)
	}
	if r := reports[0]; r.Delivery != DeliverFirstUse || len(r.UserPINEnvelope) > 0 {
		t.Errorf("reported is delivery %q with an envelope of %d bytes", r.Delivery, len(r.UserPINEnvelope))
	}
}

// TestFirstUseInterrupted: wherever a job stops after the token had its first PIN, it goes on.
func TestFirstUseInterrupted(t *testing.T) {
	s := delivering(t, DeliverFirstUse, true)
	m := forcing{Module: s.module(), due: &atomic.Bool{}}
	rec := s.create(m, 1)
	for _, step := range []StepName{StepGenerateKey, StepSetFirstPIN, StepFinish} {
		ctx, stop := context.WithCancel(t.Context())
		s.runner.Observe = func(p Progress) {
			if p.Step == step {
				stop()
			}
		}
		if err := s.runner.Run(ctx, rec, m, alwaysOurs{}); !errors.Is(err, context.Canceled) || rec.State != StateParked {
			t.Fatalf("at %s: %s, %v", step, rec.State, err)
		}
		stop()
	}
	s.runner.Observe = nil
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
}

// TestFirstUseKilled: what the journal holds once the token has its first PIN leads to
// the end, too.
func TestFirstUseKilled(t *testing.T) {
	s := delivering(t, DeliverFirstUse, true)
	m := forcing{Module: s.module(), due: &atomic.Bool{}}
	var left *Record
	s.runner.Observe = func(p Progress) {
		if p.Step == StepFinish && left == nil {
			var err error
			if left, err = s.runner.Journal.Job(p.Job.ID); err != nil {
				t.Error(err)
			}
			panic("killed")
		}
	}
	func() {
		defer func() { _ = recover() }()
		_ = s.runner.Run(t.Context(), s.create(m, 1), m, alwaysOurs{})
	}()
	if left == nil {
		t.Fatal("the job never came to its last step")
	}
	if err := s.runner.Run(t.Context(), left, m, alwaysOurs{}); err != nil {
		t.Errorf("%s: %v", left.State, err)
	}
}

func TestFirstUseCancelledAtTheEnd(t *testing.T) {
	s := delivering(t, DeliverFirstUse, true)
	m := forcing{Module: s.module(), due: &atomic.Bool{}}
	lease := &withdrawable{}
	s.runner.Observe = func(p Progress) {
		if p.Step == StepFinish {
			lease.cancelled.Store(true)
		}
	}
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, lease); !errors.Is(err, ErrCancelled) || !rec.Facts.Withdrawn {
		t.Fatalf("withdrawn is %v: %v", rec.Facts.Withdrawn, err)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Outcome != OutcomeDestroyed {
		t.Errorf("outbox %+v (%v)", reports, err)
	}
}

// TestFirstUseIsRefused: a PIN that everybody knows stays on no token that does not have it changed.
func TestFirstUseIsRefused(t *testing.T) {
	rows := []struct {
		name     string
		delivery Delivery
		forces   bool
		silent   bool
		want     error
		state    State
	}{
		{"the profile does not say so", DeliverFirstUse, false, false, ErrProfileMisfit, StateFailed},
		{"the profile says so of a sealed PIN", DeliverSealed, true, false, ErrProfileMisfit, StateFailed},
		{"the profile says so of a mailer", DeliverMailer, true, false, ErrProfileMisfit, StateFailed},
		{"the token does not say so", DeliverFirstUse, true, true, ErrReadBack, StateQuarantined},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := delivering(t, row.delivery, row.forces)
			m := forcing{s.module(), &atomic.Bool{}, row.silent}
			rec := s.create(m, 1)
			if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, row.want) || rec.State != row.state {
				t.Errorf("%s, %v", rec.State, err)
			}
		})
	}
}

func TestFirstPINTheTokenDoesNotTake(t *testing.T) {
	s := delivering(t, DeliverFirstUse, true)
	product := s.runner.Product
	s.runner.Product = func(code string) (Product, error) {
		p, err := product(code)
		p.FirstPIN = "246" // SoftHSM takes 4 to 255
		return p, err
	}
	m := forcing{Module: s.module(), due: &atomic.Bool{}}
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrProfileMisfit) || rec.Facts.Touched {
		t.Errorf("touched is %v: %v", rec.Facts.Touched, err)
	}
}

// The configuration may be another one when a job goes on: no token gets an empty PIN.
func TestFirstPINIsGone(t *testing.T) {
	s := delivering(t, DeliverFirstUse, true)
	product, gone := s.runner.Product, false
	s.runner.Product = func(code string) (Product, error) {
		p, err := product(code)
		if gone {
			p.FirstPIN = ""
		}
		return p, err
	}
	m := forcing{Module: s.module(), due: &atomic.Bool{}}
	rec := s.create(m, 1)
	ctx, stop := context.WithCancel(t.Context())
	s.central.onBind = stop
	if err := s.runner.Run(ctx, rec, m, alwaysOurs{}); !errors.Is(err, context.Canceled) || rec.State != StateParked {
		t.Fatalf("%s, %v", rec.State, err)
	}
	gone = true
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrProfileMisfit) || rec.Step != StepSetFirstPIN || m.due.Load() {
		t.Errorf("%s at %s, %v", rec.State, rec.Step, err)
	}
}

// TestResumeAt: what reading steps have read is in memory only, so it is read again; steps
// that this job leaves out stand between none of them.
func TestResumeAt(t *testing.T) {
	for _, row := range []struct {
		delivery Delivery
		stopped  StepName
		want     StepName
	}{
		{DeliverSealed, StepIdentify, StepIdentify},
		{DeliverSealed, StepPrepare, StepIdentify},
		{DeliverSealed, StepEscrowSOPIN, StepEscrowSOPIN},
		{DeliverSealed, StepCheckCert, StepCollect},
		{DeliverSealed, StepFinish, StepReadBack},
		{DeliverFirstUse, StepFinish, StepFinish},
	} {
		j := &run{rec: &Record{Facts: Facts{Delivery: row.delivery}}, steps: Plan(sampleJob(1))}
		i := slices.IndexFunc(j.steps, func(s Step) bool { return s.Name == row.stopped })
		if got := j.resumeAt(i); got != row.want {
			t.Errorf("%s, stopped at %s: goes on at %s, want %s", row.delivery, row.stopped, got, row.want)
		}
	}
}

// TestMailerIsSealedToNobody: only the journal has the PIN of a letter.
func TestMailerIsSealedToNobody(t *testing.T) {
	s := delivering(t, DeliverMailer, false)
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	if f := rec.Facts; f.Delivery != DeliverMailer || len(f.UserPINEnvelope) > 0 || len(f.UserPINRecipients) > 0 {
		t.Errorf("delivery %q, envelope of %d bytes for %v", f.Delivery, len(f.UserPINEnvelope), f.UserPINRecipients)
	}
	pin, err := s.runner.Vault.open(rec.Job.ID, fieldUserPIN, rec.Facts.UserPINBox)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.opens(m, rec, pkcs11.NewUserPIN(pin)); err != nil {
		t.Error(err)
	}
}

// TestOrdersNumbersAreNoPIN: what prepare draws keeps clear of the order's own numbers.
func TestOrdersNumbersAreNoPIN(t *testing.T) {
	s := newStation(t)
	product := s.runner.Product
	s.runner.Product = func(code string) (Product, error) {
		p, err := product(code)
		p.UserPIN = PINPolicy{Length: 6, Alphabet: "0123456789", Deny: []PINRule{DenyOrder}}
		return p, err
	}
	m := s.module()
	job := sampleJob(1)
	for i := range 10_000 { // every PIN has four characters of this in a row
		job.Recipient.Phone += string([]byte{'0' + byte(i/1000), '0' + byte(i/100%10), '0' + byte(i/10%10), '0' + byte(i%10)})
	}
	rec, err := s.runner.Journal.Create(job, 1, s.blank(m))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrProfileMisfit) || rec.Facts.Touched {
		t.Errorf("touched is %v: %v", rec.Facts.Touched, err)
	}
}
