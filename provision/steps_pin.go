package provision

import (
	"context"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// observeSetSOPIN tries the new SO PIN, if C_SetPIN may have set it.
func observeSetSOPIN(ctx context.Context, j *run) (Observed, error) {
	return j.observePIN(ctx, loginSO, &j.rec.Facts.SettingSOPIN, StepSetSOPIN)
}

// observePIN tries a new PIN that replaces a factory's. It is tried only when C_SetPIN
// was about to be called, and once for each such call: that it was refused is durable
// before anything else is tried, so that wrong tries do not add up over crashes.
func (j *run) observePIN(ctx context.Context, who login, setting *bool, step StepName) (Observed, error) {
	if !*setting {
		return NotDone, nil
	}
	_, err := j.loginAs(ctx, who)
	switch {
	case err == nil:
		return Done, nil
	case !errors.Is(err, pkcs11.ErrPINIncorrect):
		return NotDone, err
	}
	if err := j.stillThere(ctx); err != nil {
		return NotDone, err
	}
	*setting = false
	return NotDone, j.commit(step)
}

// setSOPIN replaces the factory SO PIN. A token that came uninitialised got the
// new one by C_InitToken already.
func setSOPIN(ctx context.Context, j *run) error {
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	pin, err := j.soPIN()
	if err != nil {
		return err
	}
	if err := token.LoginSO(ctx, profile.FactorySOPIN); err != nil {
		return err
	}
	j.login = loginSO
	j.rec.Facts.SettingSOPIN = true
	if err := j.commit(StepSetSOPIN); err != nil {
		return err
	}
	if err := token.SetSOPIN(ctx, profile.FactorySOPIN, pin); err != nil {
		return err
	}
	return j.logout(ctx)
}

// verifySOPIN logs in with the new SO PIN, which nobody else may do on models whose user
// sets the user PIN and writes the keys. A token that kept its old one would lie.
func verifySOPIN(ctx context.Context, j *run) error {
	_, err := j.loginAs(ctx, loginSO)
	if errors.Is(err, pkcs11.ErrPINIncorrect) {
		if gone := j.stillThere(ctx); gone != nil {
			return gone
		}
		return fmt.Errorf("%w: the new SO PIN does not open the token (%v)", ErrReadBack, err)
	}
	return err
}

// observeSetUserPIN tries the new user PIN, if C_SetPIN may have set it. Where the
// security officer sets the PIN it is simply set again.
func observeSetUserPIN(ctx context.Context, j *run) (Observed, error) {
	profile, err := j.tokenProfile(ctx)
	if err != nil || profile.UserPIN != UserPINChange {
		return NotDone, err
	}
	return j.observePIN(ctx, loginUser, &j.rec.Facts.SettingUserPIN, StepSetUserPIN)
}

// setUserPIN sets the user PIN in the way of the model.
func setUserPIN(ctx context.Context, j *run) error {
	profile, err := j.tokenProfile(ctx)
	if err != nil {
		return err
	}
	pin, err := j.userPIN()
	if err != nil {
		return err
	}
	if profile.UserPIN == UserPINChange {
		return j.changeUserPIN(ctx, profile.FactoryUserPIN, pin)
	}
	if profile.ForcesChange {
		return j.setUserPINTwice(ctx, pin)
	}
	return j.initUserPIN(ctx, pin)
}

// initUserPIN has the security officer set the user PIN.
func (j *run) initUserPIN(ctx context.Context, pin pkcs11.UserPIN) error {
	token, err := j.loginAs(ctx, loginSO)
	if err != nil {
		return err
	}
	if err := token.InitUserPIN(ctx, pin); err != nil {
		return err
	}
	return j.logout(ctx)
}

// changeUserPIN replaces the factory's. That it is about to try the factory's is durable
// before, and so is that it is about to replace it: once that is done the factory's is a
// wrong one. A factory PIN whose tries ended twice without an answer is not tried again.
func (j *run) changeUserPIN(ctx context.Context, from, to pkcs11.UserPIN) error {
	token, err := j.open(ctx)
	if err != nil {
		return err
	}
	if err := j.logout(ctx); err != nil {
		return err
	}
	f := &j.rec.Facts
	if f.FactoryUserTries >= 2 {
		return fmt.Errorf("%s: %w", j.rec.Token.Identity, ErrFactoryTried)
	}
	f.FactoryUserTries++
	if err := j.commit(StepSetUserPIN); err != nil {
		f.FactoryUserTries--
		return err
	}
	if err := token.LoginUser(ctx, from); err != nil {
		if errors.Is(err, pkcs11.ErrPINIncorrect) {
			return fmt.Errorf("%w %s: %w", ErrFactoryUserPIN, j.rec.Token.Identity, err)
		}
		return err
	}
	j.login = loginUser
	f.SettingUserPIN, f.FactoryUserTries = true, 0
	if err := j.commit(StepSetUserPIN); err != nil {
		return err
	}
	if err := token.SetUserPIN(ctx, from, to); err != nil {
		return err
	}
	// The next step logs in with the new one, which proves it.
	return j.logout(ctx)
}
