package qualify_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/qualify"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// TestMain makes this test binary its own children, as main does.
func TestMain(m *testing.M) {
	worker.ServeIfChild(openPicky) // picky_test.go
	os.Exit(m.Run())
}

// keeper is where the SO PINs of a test are kept.
type keeper struct {
	pins   []pkcs11.SOPIN
	forgot bool
}

func (k *keeper) keep(pins ...pkcs11.SOPIN) error {
	k.pins, k.forgot = pins, false
	return nil
}

func (k *keeper) forget() error {
	k.pins, k.forgot = nil, true
	return nil
}

// spoken is what was said to the person.
type spoken struct {
	mu    sync.Mutex
	lines []string
	hear  func(string)
}

func (s *spoken) say(format string, _ ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, format)
	if s.hear != nil {
		s.hear(format)
	}
}

// impatient are deadlines for modules that hang: long enough for all but RSA keys.
func impatient() worker.Deadlines {
	const limit = 5 * time.Second
	return worker.Deadlines{Call: limit, Init: limit, KeyGeneration: limit}
}

// reading are the options of a run that only reads, on a bay in child processes.
func reading(bay pkcs11test.Bay) qualify.Options {
	return within(worker.Deadlines{}, bay)
}

func within(limits worker.Deadlines, bay pkcs11test.Bay) qualify.Options {
	spec := worker.Spec{Path: bay.Path, Env: bay.Env, Trust: worker.TrustUnchecked, Deadlines: limits}
	return qualify.Options{
		Start: func(ctx context.Context) (pkcs11.Module, error) {
			p, err := worker.Start(ctx, spec)
			if err != nil {
				return nil, err
			}
			return p, nil
		},
		Say: new(spoken).say, Repeat: 1,
	}
}

// writingTo are the options of a run that writes the token, with P-256 alone.
func writingTo(t *testing.T, bay pkcs11test.Bay, token string) (qualify.Options, *keeper) {
	t.Helper()
	k := new(keeper)
	a, err := pkcs11.AlgorithmByName("ec-p256")
	if err != nil {
		t.Fatal(err)
	}
	o := reading(bay)
	o.Write = &qualify.Write{
		Token: token, Keep: k.keep, Forget: k.forget, KeptIn: "the test", Algorithms: []pkcs11.Algorithm{a}, KeyGenerations: 2,
	}
	return o, k
}

// qualified is the report of a run that comes to its end.
func qualified(t *testing.T, o qualify.Options) *qualify.Report {
	t.Helper()
	r, err := qualify.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Findings {
		t.Logf("%-5s %s: %s", f.Severity, f.Probe, f.Text)
	}
	t.Logf("%s; %s", r.Verdict, r.State)
	return r
}

// finds wants a finding of a severity and probe that says something.
func finds(t *testing.T, r *qualify.Report, severity qualify.Severity, probe, says string) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Severity == severity && f.Probe == probe && strings.Contains(f.Text, says) {
			return
		}
	}
	t.Errorf("no finding %s of %s says %q", severity, probe, says)
}

// findsNone wants no finding of a severity.
func findsNone(t *testing.T, r *qualify.Report, severity qualify.Severity) {
	t.Helper()
	for _, f := range r.Findings {
		if f.Severity == severity {
			t.Errorf("finding %s: %s: %s", f.Severity, f.Probe, f.Text)
		}
	}
}

// blank is the description of the slot of the blank token in a bay.
func blank(t *testing.T, bay pkcs11test.Bay) string {
	t.Helper()
	return slot(t, bay, func(info pkcs11.TokenInfo) bool { return !info.Initialized() }).Description
}

func slot(t *testing.T, bay pkcs11test.Bay, which func(pkcs11.TokenInfo) bool) pkcs11.Slot {
	t.Helper()
	m, err := reading(bay).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	slots, err := m.Slots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if s.Token != nil && which(*s.Token) {
			return s
		}
	}
	t.Fatal("there is no such token")
	return pkcs11.Slot{}
}

// opens wants an SO PIN to open a token.
func opens(t *testing.T, bay pkcs11test.Bay, serial string, pin pkcs11.SOPIN) {
	t.Helper()
	m, err := reading(bay).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	token, err := m.Open(t.Context(), pkcs11.Identity{Serial: pkcs11.TokenSerial(serial)})
	if err != nil {
		t.Fatal(err)
	}
	if err := token.LoginSO(t.Context(), pin); err != nil {
		t.Errorf("the SO PIN does not open the token: %v", err)
	}
}
