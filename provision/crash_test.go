package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The power goes out at every call in turn, once just before it and once just
// after it: the call is made or not, its answer is never heard, and nothing more
// is journalled. A restarted station then brings the job to its end.

var errPowerCut = errors.New("power cut")

// powerCut lets a number of calls through, and then none.
type powerCut struct {
	at      int  // the call, from 1, at which the power goes out; 0 for never
	after   bool // the call is made, but its answer is lost
	calls   int
	names   []string
	journal *Journal
}

func (p *powerCut) call(name string, do func() error) error {
	p.calls++
	p.names = append(p.names, name)
	if p.at == 0 || p.calls < p.at {
		return do()
	}
	if p.calls == p.at && p.after {
		_ = do()
	}
	_ = p.journal.Close()
	return errPowerCut
}

func cut[T any](p *powerCut, name string, do func() (T, error)) (out T, err error) {
	err = p.call(name, func() (err error) { out, err = do(); return err })
	return out, err
}

type cutModule struct {
	pkcs11.Module
	p *powerCut
}

func (m cutModule) Slots(ctx context.Context) ([]pkcs11.Slot, error) {
	return cut(m.p, "Slots", func() ([]pkcs11.Slot, error) { return m.Module.Slots(ctx) })
}

func (m cutModule) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := cut(m.p, "Open", func() (pkcs11.Token, error) { return m.Module.Open(ctx, id) })
	return cutToken{t, m.p}, err
}

type cutToken struct {
	pkcs11.Token
	p *powerCut
}

func (t cutToken) Info(ctx context.Context) (pkcs11.TokenInfo, error) {
	return cut(t.p, "Info", func() (pkcs11.TokenInfo, error) { return t.Token.Info(ctx) })
}

func (t cutToken) Init(ctx context.Context, so pkcs11.SOPIN, l pkcs11.TokenLabel) (pkcs11.TokenInfo, error) {
	return cut(t.p, "Init", func() (pkcs11.TokenInfo, error) { return t.Token.Init(ctx, so, l) })
}

func (t cutToken) LoginSO(ctx context.Context, so pkcs11.SOPIN) error {
	return t.p.call("LoginSO", func() error { return t.Token.LoginSO(ctx, so) })
}

func (t cutToken) LoginUser(ctx context.Context, u pkcs11.UserPIN) error {
	return t.p.call("LoginUser", func() error { return t.Token.LoginUser(ctx, u) })
}

func (t cutToken) Logout(ctx context.Context) error {
	return t.p.call("Logout", func() error { return t.Token.Logout(ctx) })
}

func (t cutToken) InitUserPIN(ctx context.Context, u pkcs11.UserPIN) error {
	return t.p.call("InitUserPIN", func() error { return t.Token.InitUserPIN(ctx, u) })
}

func (t cutToken) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	return t.p.call("SetUserPIN", func() error { return t.Token.SetUserPIN(ctx, old, new) })
}

func (t cutToken) SetSOPIN(ctx context.Context, old, new pkcs11.SOPIN) error {
	return t.p.call("SetSOPIN", func() error { return t.Token.SetSOPIN(ctx, old, new) })
}

func (t cutToken) Objects(ctx context.Context, q pkcs11.Query) ([]pkcs11.Object, error) {
	return cut(t.p, "Objects", func() ([]pkcs11.Object, error) { return t.Token.Objects(ctx, q) })
}

func (t cutToken) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	return cut(t.p, "GenerateKeyPair", func() (pkcs11.Object, error) { return t.Token.GenerateKeyPair(ctx, k) })
}

func (t cutToken) Sign(ctx context.Context, id pkcs11.KeyID, m pkcs11.Mechanism, in []byte) ([]byte, error) {
	return cut(t.p, "Sign", func() ([]byte, error) { return t.Token.Sign(ctx, id, m, in) })
}

func (t cutToken) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	return t.p.call("WriteCertificate", func() error { return t.Token.WriteCertificate(ctx, c) })
}

func (t cutToken) Destroy(ctx context.Context, q pkcs11.Query) (int, error) {
	return cut(t.p, "Destroy", func() (int, error) { return t.Token.Destroy(ctx, q) })
}

func (t cutToken) Close() error {
	if t.Token == nil {
		return nil
	}
	return t.Token.Close()
}

type cutCentral struct {
	Central
	p *powerCut
}

func (c cutCentral) Escrow(ctx context.Context, e Escrow) error {
	return c.p.call("Escrow", func() error { return c.Central.Escrow(ctx, e) })
}

func (c cutCentral) NameEscrow(ctx context.Context, id string, s pkcs11.TokenSerial) error {
	return c.p.call("NameEscrow", func() error { return c.Central.NameEscrow(ctx, id, s) })
}

func (c cutCentral) Bind(ctx context.Context, b Bind) ([]byte, error) {
	return cut(c.p, "Bind", func() ([]byte, error) { return c.Central.Bind(ctx, b) })
}

func (c cutCentral) Collect(ctx context.Context, unit string, generation int) ([]byte, error) {
	return cut(c.p, "Collect", func() ([]byte, error) { return c.Central.Collect(ctx, unit, generation) })
}

// delivered is how tokens come from their maker.
type delivered struct {
	name    string
	profile func(pkcs11.TokenInfo) (TokenProfile, error) // nil for the blank one of the bay
	make    func(*station, *testing.T)
}

func deliveries() []delivered {
	return []delivered{
		{name: "blank"},
		{"factory", factoryProfile, (*station).factoryToken},
		{"as made", asMadeProfile, (*station).asMadeToken},
		{name: "blank with a factory SO PIN", profile: factoryProfile},
	}
}

// runUntil runs a fresh job into the power cut and returns what was called.
func runUntil(t *testing.T, s *station, at int, after bool, as delivered) (*Record, *powerCut, error) {
	t.Helper()
	p := &powerCut{at: at, after: after, journal: s.runner.Journal}
	m := s.module()
	rec := s.create(m, 1)
	if as.make != nil {
		as.make(s, t)
		rec.Token.Identity = pkcs11.Identity{Serial: s.initialised(t).Serial}
		if err := s.runner.Journal.Save(rec, "factory token", ""); err != nil {
			t.Fatal(err)
		}
		m = s.module()
	}
	r := s.runner
	r.Central = cutCentral{s.central, p}
	err := r.Run(t.Context(), rec, cutModule{m, p}, alwaysOurs{})
	if closer, ok := m.(interface{ Close() error }); ok {
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return rec, p, err
}

func TestPowerCutAtEveryCall(t *testing.T) {
	for _, as := range deliveries() {
		prepare := func(t *testing.T) *station {
			s := newStation(t)
			if as.profile != nil {
				s.runner.TokenProfile = as.profile
			}
			return s
		}
		_, whole, err := runUntil(t, prepare(t), 0, false, as)
		if err != nil {
			t.Fatal(err)
		}
		for n, name := range whole.names {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%02d-%s/after=%v", as.name, n+1, name, after), func(t *testing.T) {
					t.Parallel()
					s := prepare(t)
					_, p, err := runUntil(t, s, n+1, after, as)
					if err == nil {
						t.Fatalf("the job finished though the power went out at call %d", n+1)
					}
					if got := p.names[n]; got != name {
						t.Fatalf("call %d was %s, not %s: the run is not the same every time", n+1, got, name)
					}
					if as.profile != nil && as.make == nil && name == "Init" && !after {
						s.recoverToSetAside(t, "Init")
						return
					}
					if as.make != nil && name == "LoginSO" && len(s.central.escrowed) == 0 {
						s.recoverToSetAside(t, "LoginSO")
						return
					}
					s.recover(t)
				})
			}
		}
		t.Logf("%s: %d calls, power cut before and after each", as.name, len(whole.names))
	}
}

// TestHalfMadeKey: a module died while it made the private key, before or after the public one was
// whole. The remains are found, though they do not belong to the token yet, and destroyed.
func TestHalfMadeKey(t *testing.T) {
	blank := delivered{name: "blank"}
	_, whole, err := runUntil(t, newStation(t), 0, false, blank)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.Index(whole.names, "GenerateKeyPair") + 1
	for _, public := range []bool{false, true} {
		s := newStation(t)
		rec, _, err := runUntil(t, s, at, public, blank)
		if !errors.Is(err, errPowerCut) {
			t.Fatal(err)
		}
		s.reopen()
		pin, err := s.runner.Vault.open(rec.Job.ID, fieldUserPIN, rec.Facts.UserPINBox)
		if err != nil {
			t.Fatal(err)
		}
		private := func(do ...string) string {
			return s.bay.Tool(t, "pkcs11-tool", append([]string{"--module", s.bay.Path, "--token-label", string(rec.Job.TokenLabel), "--login", "--pin", string(pin), "--type", "privkey"}, do...)...)
		}
		if public {
			private("--delete-object", "--id", rec.Facts.KeyID.String())
		}
		s.bay.LeaveHalfMade(t)
		if list := private("--list-objects"); !strings.Contains(list, "Private Key Object") {
			t.Fatalf("nothing is left half made:\n%s", list)
		}
		s.recover(t)
		if list := private("--list-objects"); strings.Count(list, "Private Key Object") != 1 {
			t.Errorf("on the token are\n%s", list)
		}
	}
}

// recover restarts the station and checks that the job ends well.
func (s *station) recover(t *testing.T) {
	t.Helper()
	s.reopen()
	unfinished, err := s.runner.Journal.Unfinished()
	if err != nil || len(unfinished) != 1 {
		t.Fatalf("unfinished jobs in the journal: %d (%v), wanted the one", len(unfinished), err)
	}
	rec := unfinished[0]
	if err := s.runner.Run(t.Context(), rec, s.module(), alwaysOurs{}); err != nil {
		t.Fatalf("after the restart: %v", err)
	}
	if s.central.issued != 1 {
		t.Errorf("%d certificates were issued for one unit", s.central.issued)
	}
	s.checkToken(rec)
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 {
		t.Errorf("%d reports in the outbox (%v), wanted one", len(reports), err)
	}
}

// recoverToSetAside restarts a station that lost power while the factory SO PIN was
// being tried: how that ended is not known, so it is not tried again, the token is
// set aside as it is, and the unit given back.
func (s *station) recoverToSetAside(t *testing.T, call string) {
	t.Helper()
	s.reopen()
	unfinished, err := s.runner.Journal.Unfinished()
	if err != nil || len(unfinished) != 1 {
		t.Fatalf("unfinished jobs in the journal: %d (%v), wanted the one", len(unfinished), err)
	}
	rec := unfinished[0]
	p := &powerCut{journal: s.runner.Journal}
	if err := s.runner.Run(t.Context(), rec, cutModule{s.module(), p}, alwaysOurs{}); !errors.Is(err, ErrFactoryTried) {
		t.Fatalf("after the restart: %v", err)
	}
	if slices.Contains(p.names, call) || !rec.State.Final() {
		t.Errorf("calls %v, state %s", p.names, rec.State)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Kind != ReportRelease {
		t.Errorf("outbox: %+v (%v)", reports, err)
	}
}
