package cryptoki

import (
	"context"
	"errors"
	"fmt"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// LoginSO implements pkcs11.Token.
func (t *token) LoginSO(ctx context.Context, so pkcs11.SOPIN) error {
	return t.login(ctx, p11.CKU_SO, so, pkcs11.FlagSOPINLocked, pkcs11.FlagSOPINFinalTry)
}

// LoginUser implements pkcs11.Token.
func (t *token) LoginUser(ctx context.Context, user pkcs11.UserPIN) error {
	return t.login(ctx, p11.CKU_USER, user, pkcs11.FlagUserPINLocked, pkcs11.FlagUserPINFinalTry)
}

// pin is either kind of PIN.
type pin interface {
	Reveal() string
	IsZero() bool
	Len() int
}

func (t *token) login(ctx context.Context, who uint, with pin, locked, finalTry pkcs11.TokenFlags) error {
	const op = "C_Login"
	if with.IsZero() { // no PIN at all would mean "ask on the PIN pad" (section 5.6)
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINInvalid, Detail: "the PIN is empty"}
	}
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	defer t.leave()
	handle, err := t.verified(op)
	if err != nil {
		return err
	}
	if t.seen.Initialized() {
		if t.seen.Flags.Has(pkcs11.FlagProtectedAuthenticationPath) {
			return &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINPad}
		}
		if err := triesLeft(op, t.seen.Flags, locked, finalTry); err != nil {
			return err
		}
	}
	t.made = nil
	// CKR_USER_ALREADY_LOGGED_IN is an error like any other: the PIN was not looked at.
	if err := t.call(op, t.m.ctx.Login(handle, who, with.Reveal())); err != nil {
		return err
	}
	t.sess.login = who
	return nil
}

// triesLeft refuses a PIN that is locked or has one try left.
func triesLeft(op string, flags, locked, finalTry pkcs11.TokenFlags) error {
	switch {
	case flags.Has(locked):
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINLocked, Detail: "the token says so before any try"}
	case flags.Has(finalTry):
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINLastTry}
	}
	return nil
}

// Logout implements pkcs11.Token.
func (t *token) Logout(ctx context.Context) error {
	const op = "C_Logout"
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	defer t.leave()
	if t.sess == nil {
		return nil
	}
	t.made = nil
	err := t.call(op, t.m.ctx.Logout(t.sess.handle))
	if t.sess != nil {
		t.sess.login = nobody
	}
	if errors.Is(err, pkcs11.ErrNotLoggedIn) {
		return nil
	}
	return err
}

// SetUserPIN implements pkcs11.Token.
func (t *token) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	return t.setPIN(ctx, p11.CKU_USER, old, new, pkcs11.FlagUserPINLocked, pkcs11.FlagUserPINFinalTry)
}

// InitUserPIN implements pkcs11.Token.
func (t *token) InitUserPIN(ctx context.Context, user pkcs11.UserPIN) error {
	const op = "C_InitPIN"
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	defer t.leave()
	handle, err := t.verified(op)
	if err != nil {
		return err
	}
	// Checked here because modules that get it wrong leave a PIN nobody can enter.
	// The bounds say nothing reliable of SO PINs (ykcs11: 48 hexadecimal digits).
	if err := t.fits(op, user); err != nil {
		return err
	}
	return t.call(op, t.m.ctx.InitPIN(handle, user.Reveal()))
}

// fits refuses a user PIN of a length that the token says it does not take.
func (t *token) fits(op string, user pin) error {
	low, high := t.seen.MinPINLen, t.seen.MaxPINLen
	if user.IsZero() || user.Len() < low || high > 0 && user.Len() > high {
		return &pkcs11.Error{
			Op: op, Kind: pkcs11.ErrPINInvalid,
			Detail: fmt.Sprintf("%d bytes, the token takes %d to %d", user.Len(), low, high),
		}
	}
	return nil
}

// SetSOPIN implements pkcs11.Token.
func (t *token) SetSOPIN(ctx context.Context, old, new pkcs11.SOPIN) error {
	return t.setPIN(ctx, p11.CKU_SO, old, new, pkcs11.FlagSOPINLocked, pkcs11.FlagSOPINFinalTry)
}

func (t *token) setPIN(ctx context.Context, who uint, old, new pin, locked, finalTry pkcs11.TokenFlags) error {
	const op = "C_SetPIN"
	if old.IsZero() || new.IsZero() {
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINInvalid, Detail: "the PIN is empty"}
	}
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	defer t.leave()
	handle, err := t.verified(op)
	if err != nil {
		return err
	}
	if who == p11.CKU_USER {
		if err := t.fits(op, new); err != nil {
			return err
		}
	}
	if t.sess.login != who {
		// C_SetPIN changes the PIN of whoever is logged in, and without a login the
		// user's (section 5.5).
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrNotLoggedIn}
	}
	// A wrong old PIN spends a try like a login does.
	if err := triesLeft(op, t.seen.Flags, locked, finalTry); err != nil {
		return err
	}
	return t.call(op, t.m.ctx.SetPIN(handle, old.Reveal(), new.Reveal()))
}
