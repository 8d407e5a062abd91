package provision

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/keycheck"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// create journals a job for the bay's blank token.
func (s *station) create(m pkcs11.Module, sequence int) *Record {
	s.t.Helper()
	rec, err := s.runner.Journal.Create(sampleJob(sequence), 1, s.blank(m))
	if err != nil {
		s.t.Fatal(err)
	}
	return rec
}

// openPIN opens an envelope with openssl, a witness that shares no code with us.
func (s *station) openPIN(envelope []byte) string {
	s.t.Helper()
	dir := s.t.TempDir()
	key, err := x509.MarshalPKCS8PrivateKey(s.pinKey)
	if err != nil {
		s.t.Fatal(err)
	}
	p7m, keyFile := filepath.Join(dir, "pin.p7m"), filepath.Join(dir, "key.der")
	for path, data := range map[string][]byte{p7m: envelope, keyFile: key} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(s.t.Context(), "openssl", "cms", "-decrypt", "-inform", "DER", "-in", p7m, "-inkey", keyFile, "-keyform", "DER").Output()
	if err != nil {
		s.t.Fatalf("openssl cms -decrypt: %v", err)
	}
	return string(out)
}

// checkToken looks at a finished token with eyes of its own: one key pair, the
// leaf and its issuer, the PIN from the envelope logs in, the escrowed one too.
func (s *station) checkToken(rec *Record) {
	s.t.Helper()
	ctx := s.t.Context()
	m := s.module()
	token, err := m.Open(ctx, rec.Token.Identity)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = token.Close() }()
	escrow, ok := s.central.escrowed[rec.Facts.EscrowID]
	if !ok {
		s.t.Fatal("the SO PIN is not in escrow")
	}
	if err := token.LoginSO(ctx, pkcs11.NewSOPIN(s.openPIN(escrow.Envelope))); err != nil {
		s.t.Errorf("login with the escrowed SO PIN: %v", err)
	}
	if err := token.Logout(ctx); err != nil {
		s.t.Error(err)
	}
	if err := token.LoginUser(ctx, pkcs11.NewUserPIN(s.openPIN(rec.Facts.UserPINEnvelope))); err != nil {
		s.t.Fatalf("login with the delivered PIN: %v", err)
	}
	objects, err := token.Objects(ctx, pkcs11.Query{})
	if err != nil {
		s.t.Fatal(err)
	}
	count := map[pkcs11.ObjectClass]int{}
	for _, o := range objects {
		count[o.Class]++
	}
	if count[pkcs11.ClassPrivateKey] != 1 || count[pkcs11.ClassPublicKey] != 1 || count[pkcs11.ClassCertificate] != 2 || len(objects) != 4 {
		s.t.Errorf("the token holds %v, wanted one key pair and two certificates", count)
	}
}

func TestInitialKey(t *testing.T) {
	for _, algorithm := range []string{"ec-p256", "ec-p384", "rsa2048"} {
		t.Run(algorithm, func(t *testing.T) {
			s := newStation(t)
			s.runner.Product = func(string) (Product, error) { return sampleProduct(t, algorithm), nil }
			m := s.module()
			rec := s.create(m, 1)
			if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
				t.Fatal(err)
			}
			if rec.State != StateFinished {
				t.Errorf("state %s", rec.State)
			}
			s.checkToken(rec)
			reports, err := s.runner.Journal.PendingReports(10)
			if err != nil {
				t.Fatal(err)
			}
			if len(reports) != 1 || reports[0].Outcome != OutcomeInstalled || reports[0].TokenSerial != rec.Token.Identity.Serial {
				t.Errorf("outbox: %+v", reports)
			}
			if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err == nil {
				t.Error("a finished job ran again")
			}
		})
	}
}

// TestWrongCertificate has the CA send what it should not; no token gets it.
func TestWrongCertificate(t *testing.T) {
	otherKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		change func(*central)
		want   error
	}{
		{"of another unit", func(c *central) { c.misissue = func(l *x509.Certificate) { l.PublicKey = otherKey.Public() } }, csr.ErrWrongKey},
		{"another subject", func(c *central) {
			c.misissue = func(l *x509.Certificate) {
				l.RawSubject = nil
				l.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidCommonName(), Value: "另一家公司"}}}
			}
		}, csr.ErrWrongSubject},
		{"expired", func(c *central) {
			c.misissue = func(l *x509.Certificate) {
				l.NotBefore, l.NotAfter = time.Now().AddDate(-2, 0, 0), time.Now().AddDate(-1, 0, 0)
			}
		}, csr.ErrExpired},
		{"valid for too long", func(c *central) {
			c.misissue = func(l *x509.Certificate) { l.NotAfter = l.NotAfter.AddDate(1, 0, 0) }
		}, csr.ErrWrongValidity},
		{"from another root", func(c *central) { c.issuer = otherKey }, csr.ErrUntrusted},
		{"usable as a CA", func(c *central) { c.misissue = func(l *x509.Certificate) { l.IsCA = true } }, csr.ErrWrongUsage},
		{"without its issuer", func(c *central) {
			c.rebundle = func(cs []*x509.Certificate) []byte { return mustBundle(t, cs[:1]) }
		}, csr.ErrUntrusted},
		{"garbage", func(c *central) { c.rebundle = func([]*x509.Certificate) []byte { return []byte{0x30, 0x03, 1, 2, 3} } }, csr.ErrBadBundle},
		{"a web page", func(c *central) { c.rebundle = func([]*x509.Certificate) []byte { return []byte("<html>busy</html>") } }, csr.ErrBadBundle},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStation(t)
			row.change(s.central)
			m := s.module()
			rec := s.create(m, 1)
			err := s.runner.Run(t.Context(), rec, m, alwaysOurs{})
			if !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if rec.State != StateQuarantined || rec.Reason == "" || rec.Hint == "" {
				t.Errorf("state %s, reason %q, hint %q", rec.State, rec.Reason, rec.Hint)
			}
			class := pkcs11.ClassCertificate
			token, err := m.Open(t.Context(), rec.Token.Identity)
			if err != nil {
				t.Fatal(err)
			}
			found, err := token.Objects(t.Context(), pkcs11.Query{Class: &class})
			if err != nil || len(found) != 0 {
				t.Errorf("certificates on the token: %d (%v), wanted none", len(found), err)
			}
			reports, err := s.runner.Journal.PendingReports(10)
			if err != nil || len(reports) != 1 || reports[0].Outcome != OutcomeRefusedCertificate || reports[0].Reason == "" {
				t.Errorf("outbox: %+v (%v)", reports, err)
			}
		})
	}
}

// TestExtraCertificates shows that the leaf is chosen by its key, wherever it stands.
func TestExtraCertificates(t *testing.T) {
	s := newStation(t)
	s.central.rebundle = func(cs []*x509.Certificate) []byte {
		return mustBundle(t, []*x509.Certificate{s.central.root, cs[1], cs[0]})
	}
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	s.checkToken(rec)
}

func mustBundle(t *testing.T, certs []*x509.Certificate) []byte {
	t.Helper()
	b, err := csr.EncodeBundle(certs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestUsedToken shows that a token somebody has used is left exactly as it is.
func TestUsedToken(t *testing.T) {
	s := newStation(t)
	m := s.module()
	rec := s.create(m, 1)
	// It is initialised by somebody else between the look that found it blank and the job.
	s.bay.Tool(t, "softhsm2-util", "--init-token", "--free", "--label", "somebody", "--so-pin", "12345678", "--pin", "123456")
	rec.Token.Identity = pkcs11.Identity{Serial: s.initialised(t).Serial}
	before := s.initialised(t)
	err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{})
	if !errors.Is(err, ErrNotBlank) {
		t.Fatalf("got %v", err)
	}
	if rec.State != StateFailed {
		t.Errorf("state %s, wanted failed: nothing was written", rec.State)
	}
	if after := s.initialised(t); after != before {
		t.Errorf("the token changed from %+v to %+v", before, after)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Kind != ReportRelease || reports[0].Release != ReleaseTokenFaulty {
		t.Errorf("outbox: %+v (%v)", reports, err)
	}
}

// initialised is the bay's one initialised token.
func (s *station) initialised(t *testing.T) pkcs11.TokenInfo {
	t.Helper()
	slots, err := s.module().Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, slot := range slots {
		if slot.Token != nil && slot.Token.Initialized() {
			return *slot.Token
		}
	}
	t.Fatal("no initialised token in the bay")
	return pkcs11.TokenInfo{}
}

// TestFactorySOPIN walks the way of tokens that come initialised.
func TestFactorySOPIN(t *testing.T) {
	rows := []struct {
		name    string
		factory string
		want    error
		state   State
	}{
		{"right", "87654321", nil, StateFinished},
		{"wrong", "11112222", ErrFactorySOPIN, StateFailed},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStation(t)
			s.runner.TokenProfile = func(pkcs11.TokenInfo) (TokenProfile, error) {
				return TokenProfile{
					Name: "factory", SOPIN: PINPolicy{Length: 16, Alphabet: "0123456789"}, WorstKeyGeneration: time.Minute,
					FactorySOPIN: pkcs11.NewSOPIN(row.factory),
				}, nil
			}
			m := s.module()
			rec := s.create(m, 1)
			s.factoryToken(t)
			rec.Token.Identity = pkcs11.Identity{Serial: s.initialised(t).Serial}
			err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{})
			if !errors.Is(err, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			if rec.State != row.state {
				t.Errorf("state %s, want %s", rec.State, row.state)
			}
			if row.want == nil {
				s.checkToken(rec)
			}
		})
	}
}

// factoryToken makes an initialised token without a user PIN, as a maker delivers it.
func (s *station) factoryToken(t *testing.T) {
	t.Helper()
	m := s.module()
	token, err := m.Open(t.Context(), s.blank(m).Identity)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Init(t.Context(), pkcs11.NewSOPIN("87654321"), "factory"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(token.Close(), m.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestLeaseLost shows that nothing more is written once the unit is not ours.
func TestLeaseLost(t *testing.T) {
	rows := []struct {
		name  string
		after int // checks that pass
		state State
	}{
		{"before the first write", 0, StateFailed},
		{"after the token was initialised", 1, StateParked},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStation(t)
			m := s.module()
			rec := s.create(m, 1)
			lease := &endingLease{left: row.after, verdict: ErrLeaseLost}
			if err := s.runner.Run(t.Context(), rec, m, lease); !errors.Is(err, ErrLeaseLost) {
				t.Fatalf("got %v", err)
			}
			if rec.State != row.state {
				t.Errorf("state %s, want %s", rec.State, row.state)
			}
			reports, err := s.runner.Journal.PendingReports(10)
			if err != nil || len(reports) != 0 {
				t.Errorf("outbox: %+v (%v), wanted nothing: the unit is somebody else's", reports, err)
			}
			if row.state == StateParked {
				if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
					t.Fatalf("under a new lease: %v", err)
				}
				s.checkToken(rec)
			}
		})
	}
}

// endingLease holds for a number of checks.
type endingLease struct {
	left    int
	verdict error
}

func (l *endingLease) Epoch() int64    { return 1 }
func (l *endingLease) Cancelled() bool { return false }
func (l *endingLease) Check(time.Duration, bool) error {
	if l.left == 0 {
		return l.verdict
	}
	l.left--
	return nil
}

func TestPlanIsPrintable(t *testing.T) {
	var names []string
	for _, step := range Plan(sampleJob(1)) {
		names = append(names, string(step.Name))
	}
	want := "identify check-blank prepare escrow-so-pin initialise set-so-pin name-escrow set-user-pin generate-key check-key build-csr bind-csr collect-certificate check-certificate install-certificate read-back set-first-pin finish"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("plan\n%s, want\n%s", got, want)
	}
	if Plan(Job{Kind: "other"}) != nil {
		t.Error("an unknown kind has a plan")
	}
}

// weakened gives out another token than the real one: what GenerateKeyPair tells is changed.
type weakened struct {
	pkcs11.Module
	change func(spki []byte) []byte
}

func (m weakened) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	return weakenedToken{t, m.change}, err
}

type weakenedToken struct {
	pkcs11.Token
	change func(spki []byte) []byte
}

func (t weakenedToken) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	o, err := t.Token.GenerateKeyPair(ctx, k)
	o.PublicKey = t.change(o.PublicKey)
	return o, err
}

// TestWeakKey: a key that was made here before, or is not what was ordered, never
// gets a request; the token is quarantined.
func TestWeakKey(t *testing.T) {
	rows := []struct {
		name   string
		change func(s *station, spki []byte) []byte
		want   error
	}{
		{"made here before", func(s *station, spki []byte) []byte {
			if err := s.runner.Keys.known.Add(keycheck.Known{ID: "another job", SPKI: spki}); err != nil {
				t.Error(err)
			}
			return spki
		}, keycheck.ErrDuplicate},
		{"on another curve", func(*station, []byte) []byte {
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Error(err)
				return nil
			}
			spki, err := x509.MarshalPKIXPublicKey(key.Public())
			if err != nil {
				t.Error(err)
			}
			return spki
		}, keycheck.ErrCurve},
		{"unreadable", func(_ *station, spki []byte) []byte { return append(spki, 0) }, keycheck.ErrMalformed},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStation(t)
			m := s.module()
			rec := s.create(m, 1)
			err := s.runner.Run(t.Context(), rec, weakened{m, func(spki []byte) []byte { return row.change(s, spki) }}, alwaysOurs{})
			if !errors.Is(err, ErrKeyUnfit) || !errors.Is(err, row.want) {
				t.Fatalf("got %v", err)
			}
			if rec.State != StateQuarantined || len(s.central.bound) != 0 {
				t.Errorf("state %s, %d requests sent", rec.State, len(s.central.bound))
			}
		})
	}
}

// TestKeysOfEarlierRunsAreKnown: the gate of a restarted station knows the keys in the journal.
func TestKeysOfEarlierRunsAreKnown(t *testing.T) {
	s := newStation(t)
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	s.reopen()
	err := s.runner.Keys.check("another job", rec.Facts.PublicKey, sampleProduct(t, "ec-p256").Algorithm)
	if !errors.Is(err, keycheck.ErrDuplicate) {
		t.Errorf("got %v", err)
	}
}

// TestFactoryTokenWithAUserPIN: what a user PIN protects is not seen, so such a
// token is not blank, and is left as it is.
func TestFactoryTokenWithAUserPIN(t *testing.T) {
	s := newStation(t)
	s.runner.TokenProfile = factoryProfile
	m := s.module()
	rec := s.create(m, 1)
	s.bay.InitToken(t, "customer", "87654321", "123456")
	rec.Token.Identity = pkcs11.Identity{Serial: s.initialised(t).Serial}
	before := s.initialised(t)
	if err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{}); !errors.Is(err, ErrNotBlank) {
		t.Fatalf("got %v", err)
	}
	if after := s.initialised(t); after != before || rec.State != StateFailed {
		t.Errorf("state %s; the token was %+v, is %+v", rec.State, before, after)
	}
}

func factoryProfile(pkcs11.TokenInfo) (TokenProfile, error) {
	return TokenProfile{
		Name: "factory", SOPIN: PINPolicy{Length: 16, Alphabet: "0123456789"}, WorstKeyGeneration: time.Minute,
		FactorySOPIN: pkcs11.NewSOPIN("87654321"),
	}, nil
}

// TestTheSameKeyTwice: the second token is quarantined, in the journal as well.
func TestTheSameKeyTwice(t *testing.T) {
	s := newStation(t)
	m := s.module()
	first := s.create(m, 1)
	if err := s.runner.Run(t.Context(), first, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	s.bay = pkcs11test.NewBay(t)
	m = s.module()
	second, err := s.runner.Journal.Create(sampleJob(2), 1, TokenRef{Module: "bay-2", Identity: s.blank(m).Identity})
	if err != nil {
		t.Fatal(err)
	}
	same := weakened{m, func([]byte) []byte { return first.Facts.PublicKey }}
	if err := s.runner.Run(t.Context(), second, same, alwaysOurs{}); !errors.Is(err, keycheck.ErrDuplicate) || errors.Is(err, ErrJournal) {
		t.Fatalf("got %v", err)
	}
	saved, err := s.runner.Journal.Job(second.Job.ID)
	if err != nil || saved.State != StateQuarantined {
		t.Errorf("the journal has %+v (%v)", saved, err)
	}
}

// TestOrderThatDoesNotFit costs no token: it is found before anything is written.
func TestOrderThatDoesNotFit(t *testing.T) {
	s := newStation(t)
	m := s.module()
	job := sampleJob(1)
	job.Subject.Company.Name = strings.Repeat("长", 72) // an organizationName holds 64
	rec, err := s.runner.Journal.Create(job, 1, s.blank(m))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, csr.ErrBadOrder) || !OrderAtFault(err) {
		t.Fatalf("got %v", err)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Release != ReleaseOrderUnusable || rec.State != StateFailed {
		t.Errorf("state %s, outbox %+v (%v)", rec.State, reports, err)
	}
}

// TestRequestIsJournalledBeforeItIsSent: a request that the journal could not take
// is not sent at the next try either before the journal has it.
func TestRequestIsJournalledBeforeItIsSent(t *testing.T) {
	s := newStation(t)
	m := s.module()
	rec := s.create(m, 1)
	readOnly := func(on int) {
		if _, err := s.runner.Journal.db.Exec(fmt.Sprintf("PRAGMA query_only = %d", on)); err != nil {
			t.Error(err)
		}
	}
	s.runner.Observe = func(p Progress) {
		if p.Step == StepBuildCSR {
			readOnly(1)
		}
	}
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrJournal) {
		t.Fatalf("got %v", err)
	}
	s.runner.Observe = nil
	readOnly(0)
	s.central.onBind = func() {
		saved, err := s.runner.Journal.Job(rec.Job.ID)
		if err != nil || !saved.Facts.Bound || len(saved.Facts.CSR) == 0 || saved.Step != StepBindCSR {
			t.Errorf("the request is sent while the journal has %+v (%v)", saved, err)
		}
	}
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
}

// TestRefusedAfterItWasBound: only the answer to the first sending can say that
// nothing was bound; otherwise the unit's end is told as a result.
func TestRefusedAfterItWasBound(t *testing.T) {
	rows := []struct {
		name   string
		answer error
		kind   ReportKind
	}{
		{"nothing was bound", fmt.Errorf("%w: %w", ErrRefused, ErrNotBound), ReportRelease},
		{"refused, who knows why", ErrRefused, ReportResult},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStation(t)
			s.central.bindError = row.answer
			m := s.module()
			rec := s.create(m, 1)
			if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrRefused) {
				t.Fatalf("got %v", err)
			}
			reports, err := s.runner.Journal.PendingReports(10)
			if err != nil || len(reports) != 1 || reports[0].Kind != row.kind {
				t.Errorf("outbox %+v (%v)", reports, err)
			}
		})
	}
}

// TestLeaseLostOnResume: a token that was not written yet is as blank as before.
func TestLeaseLostOnResume(t *testing.T) {
	s := newStation(t)
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, &endingLease{verdict: ErrLeaseTooShort}); !errors.Is(err, ErrLeaseTooShort) {
		t.Fatalf("got %v", err)
	}
	if rec.State != StateParked || rec.Step != StepInitialise || rec.Facts.Touched {
		t.Fatalf("state %s at %s, touched %v", rec.State, rec.Step, rec.Facts.Touched)
	}
	if err := s.runner.Run(t.Context(), rec, m, &endingLease{verdict: ErrLeaseLost}); !errors.Is(err, ErrLeaseLost) {
		t.Fatalf("got %v", err)
	}
	if rec.State != StateFailed {
		t.Errorf("state %s, wanted failed: nothing was written", rec.State)
	}
}

// TestAKeyThatIsGone: a token that is there and has lost its private key is faulty. To
// wait for it to be put back would be to wait for ever.
func TestAKeyThatIsGone(t *testing.T) {
	s := newStation(t)
	m := s.module()
	rec := s.create(m, 1)
	s.runner.Observe = func(p Progress) {
		if p.Step == StepReadBack && p.State == StateRunning {
			s.bay.Tool(t, "pkcs11-tool", "--module", s.bay.Path, "--token-label", string(rec.Job.TokenLabel),
				"--login", "--pin", s.openPIN(rec.Facts.UserPINEnvelope), "--delete-object", "--type", "privkey", "--id", rec.Facts.KeyID.String())
		}
	}
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); !errors.Is(err, ErrReadBack) {
		t.Fatalf("got %v", err)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Outcome != OutcomeFaulty || rec.State != StateQuarantined {
		t.Errorf("state %s, outbox %+v (%v)", rec.State, reports, err)
	}
}
