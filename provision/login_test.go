package provision

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// loginModule has its tokens answer the SO's login as refuse says, and counts them.
type loginModule struct {
	pkcs11.Module
	refuse error         // nil for the token's own answer
	begun  chan struct{} // gets one for each
	count  *int
}

type loginToken struct {
	pkcs11.Token
	m loginModule
}

func (m loginModule) Open(ctx context.Context, id pkcs11.Identity) (pkcs11.Token, error) {
	t, err := m.Module.Open(ctx, id)
	if err != nil {
		return nil, err
	}
	return loginToken{t, m}, nil
}

func (t loginToken) LoginSO(ctx context.Context, so pkcs11.SOPIN) error {
	*t.m.count++
	t.m.begun <- struct{}{}
	if t.m.refuse != nil {
		return t.m.refuse
	}
	return t.Token.LoginSO(ctx, so)
}

// slowNaming answers only when the SO is about to be logged in, and then as it is told.
type slowNaming struct {
	Central
	begun <-chan struct{}
	away  error
}

func (c slowNaming) NameEscrow(ctx context.Context, id string, serial pkcs11.TokenSerial) error {
	select {
	case <-c.begun:
	case <-time.After(20 * time.Second):
		return errors.New("nobody logs in meanwhile")
	}
	if c.away != nil {
		return c.away
	}
	return c.Central.NameEscrow(ctx, id, serial)
}

// TestLoginBesideTheNetwork: the SO is logged in while the central server notes down which token the
// escrow is for. A token that refuses its PIN ends the job whatever the network does, and is
// asked once; what else fails there is tried again.
func TestLoginBesideTheNetwork(t *testing.T) {
	away := errors.New("the network is away")
	for name, row := range map[string]struct {
		away, refuse error
		state        State
		waiting      Waiting
	}{
		"both succeed":                         {nil, nil, StateFinished, WaitingNothing},
		"the network is away":                  {away, nil, StateParked, WaitingNetwork},
		"the PIN is refused":                   {nil, pkcs11.ErrPINIncorrect, StateQuarantined, WaitingNothing},
		"the token fails":                      {nil, pkcs11.ErrDevice, StateParked, WaitingToken},
		"away, and the PIN is refused":         {away, pkcs11.ErrPINIncorrect, StateQuarantined, WaitingNothing},
		"away, and the token fails":            {away, pkcs11.ErrDevice, StateParked, WaitingNetwork},
		"the lease is lost, and it is refused": {ErrLeaseLost, pkcs11.ErrPINIncorrect, StateQuarantined, WaitingNothing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t)
			count, begun := 0, make(chan struct{}, 1)
			m := loginModule{s.module(), row.refuse, begun, &count}
			rec := s.create(m.Module, 1)
			r := s.runner
			r.Central = slowNaming{s.central, begun, row.away}
			err := r.Run(t.Context(), rec, m, alwaysOurs{})
			if rec.State != row.state || rec.Waiting != row.waiting || count != 1 {
				t.Fatalf("state %s, waiting %q, %d logins, %v", rec.State, rec.Waiting, count, err)
			}
			if row.state == StateParked {
				if err := m.Module.(interface{ Close() error }).Close(); err != nil {
					t.Fatal(err)
				}
				s.recover(t)
			}
		})
	}
}

// TestLoginBesideTheJournal: a key that cannot be noted down is not made, though the user is
// logged in by then.
func TestLoginBesideTheJournal(t *testing.T) {
	for name, order := range map[string]func(func()) func(){"login first": loginFirst, "login last": loginLast, "at once": besides} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStation(t)
			p := &powerCut{journal: s.runner.Journal}
			m := s.module()
			rec := s.create(m, 1)
			r := s.runner
			r.Observe = func(at Progress) {
				if at.Step == StepGenerateKey && at.State == StateRunning {
					_ = r.Journal.Close()
				}
			}
			r.beside = order
			if err := r.Run(t.Context(), rec, cutModule{m, p}, alwaysOurs{}); !errors.Is(err, ErrJournal) {
				t.Fatal(err)
			}
			if slices.Contains(p.names, "GenerateKeyPair") || !slices.Contains(p.names, "LoginUser") {
				t.Errorf("calls: %v", p.names)
			}
			if err := m.(interface{ Close() error }).Close(); err != nil {
				t.Fatal(err)
			}
			s.recover(t)
		})
	}
}
