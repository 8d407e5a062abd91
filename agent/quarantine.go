package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// Wipe empties the token of a job in quarantine, by a person and, where one was needed, a
// second one. pkcs11.ErrNotFound when it is not plugged in; errors of provision.Runner.Wipe.
func (a *Agent) Wipe(ctx context.Context, rec *provision.Record, by, second string) error {
	return a.atQuarantined(ctx, rec, func(m pkcs11.Module) error { return a.runner.Wipe(ctx, rec, m, by, second) })
}

// Release puts the token of a job in quarantine back into stock once it proves blank: from
// then on it may be chosen. pkcs11.ErrNotFound; errors of provision.Runner.Release.
func (a *Agent) Release(ctx context.Context, rec *provision.Record, by string) error {
	err := a.atQuarantined(ctx, rec, func(m pkcs11.Module) error { return a.runner.Release(ctx, rec, m, by) })
	if err != nil {
		return err
	}
	a.inventory.readmit(rec.Token)
	if err := a.Runner.Journal.Shred(ctx); err != nil && !errors.Is(err, provision.ErrBeingRead) {
		a.forget("PINs of a released token may still be in the journal's log", err)
	}
	a.poke()
	return nil
}

// atQuarantined has nobody else use a token meanwhile, nor choose it afterwards.
func (a *Agent) atQuarantined(ctx context.Context, rec *provision.Record, act func(pkcs11.Module) error) error {
	if here, _ := a.inventory.present(rec.Token); !here {
		return fmt.Errorf("%s: %w", rec.Token.Identity, pkcs11.ErrNotFound)
	}
	hold := "quarantine of " + rec.Job.ID
	if !a.inventory.holdAside(rec.Token, hold) {
		return fmt.Errorf("%s is at work", rec.Token.Identity)
	}
	defer func() {
		a.inventory.setAside(rec.Token) // it may show another serial by now
		a.inventory.vacate(rec.Token, hold, false)
		signal(a.look[rec.Token.Module])
		a.poke()
	}()
	a.poke()
	return a.Borrow(ctx, rec.Token.Module, act)
}

// holdAside gives a token to whoever decides about it, unless somebody has it.
func (inv *inventory) holdAside(t provision.TokenRef, hold string) bool {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	i := inv.instance(t.Module)
	if i == nil || i.busy[t.Identity] != "" {
		return false
	}
	i.busy[t.Identity], i.working[hold] = hold, true
	return true
}

// readmit lets a token be chosen again.
func (inv *inventory) readmit(t provision.TokenRef) {
	inv.mu.Lock()
	defer inv.mu.Unlock()
	if i := inv.instance(t.Module); i != nil {
		delete(i.aside, t.Identity)
		delete(i.refused, t.Identity)
	}
}
