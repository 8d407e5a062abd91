package provision

import (
	"context"
	"fmt"
	"slices"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// How the steps reach their token, and log in to it.

// open returns the job's token, found by its identity.
func (j *run) open(ctx context.Context) (pkcs11.Token, error) {
	if j.token != nil {
		return j.token, nil
	}
	token, err := j.module.Open(ctx, j.rec.Token.Identity)
	if err != nil {
		return nil, err
	}
	if err := j.checkMarker(ctx, token); err != nil {
		_ = token.Close() // the marker says more
		return nil, err
	}
	j.token, j.login = token, loginNone
	return j.token, j.bound(ctx)
}

// bound has the calls on the open token take no longer than its model may. A model
// that nothing is known of keeps the bounds of the module's process, and is refused
// by who asks for its profile.
func (j *run) bound(ctx context.Context) error {
	if j.profile == nil {
		info, err := j.token.Info(ctx)
		if err != nil {
			return err
		}
		p, err := j.TokenProfile(info)
		if err != nil {
			return nil
		}
		j.profile = &p
	}
	j.token = timed{j.token, j.profile}
	return nil
}

// checkMarker: a token that this job has initialised carries its label. One that
// shows the same serial and another label is another token, or is not ours any more.
func (j *run) checkMarker(ctx context.Context, token pkcs11.Token) error {
	if !j.marked() {
		return nil
	}
	info, err := token.Info(ctx)
	if err != nil {
		return err
	}
	if j.rec.Facts.Decision != nil && info.Label == wipedLabel {
		return nil
	}
	if info.Label != j.rec.Job.TokenLabel {
		return fmt.Errorf("%s carries the label %q, not %q: %w", j.rec.Token.Identity, string(info.Label), string(j.rec.Job.TokenLabel), pkcs11.ErrTokenReplaced)
	}
	return nil
}

// marked reports whether C_InitToken of this job is known to have happened: a later
// step has been journalled.
func (j *run) marked() bool {
	at := func(name StepName) int {
		return slices.IndexFunc(j.steps, func(s Step) bool { return s.Name == name })
	}
	return !j.rec.Facts.AsMade && at(j.rec.Step) > at(StepInitialise)
}

// tokenInfo reads the token's info once; refresh reads it anew.
func (j *run) tokenInfo(ctx context.Context, refresh bool) (pkcs11.TokenInfo, error) {
	if j.info != nil && !refresh {
		return *j.info, nil
	}
	token, err := j.open(ctx)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	info, err := token.Info(ctx)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	j.info = &info
	return info, nil
}

// tokenProfile is the profile of the token's model.
func (j *run) tokenProfile(ctx context.Context) (*TokenProfile, error) {
	if j.profile != nil {
		return j.profile, nil
	}
	info, err := j.tokenInfo(ctx, false)
	if err != nil {
		return nil, err
	}
	p, err := j.TokenProfile(info)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfileMisfit, err)
	}
	j.profile = &p
	return j.profile, nil
}

// ordered is the product that the unit was ordered as.
func (j *run) ordered() (*Product, error) {
	if j.product != nil {
		return j.product, nil
	}
	p, err := j.Product(j.rec.Job.Subject.ProductCode)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfileMisfit, err)
	}
	j.product = &p
	return j.product, nil
}

const (
	fieldSOPIN   = "so-pin"
	fieldUserPIN = "user-pin"
)

func (j *run) soPIN() (pkcs11.SOPIN, error) {
	v, err := j.Vault.open(j.rec.Job.ID, fieldSOPIN, j.rec.Facts.SOPINBox)
	return pkcs11.NewSOPIN(v), err
}

func (j *run) userPIN() (pkcs11.UserPIN, error) {
	v, err := j.Vault.open(j.rec.Job.ID, fieldUserPIN, j.rec.Facts.UserPINBox)
	return pkcs11.NewUserPIN(v), err
}

// loginAs makes sure that the token is open and the login is the wanted one.
func (j *run) loginAs(ctx context.Context, want login) (pkcs11.Token, error) {
	token, err := j.open(ctx)
	if err != nil || j.login == want {
		return token, err
	}
	if err := j.logout(ctx); err != nil {
		return nil, err
	}
	if want == loginSO {
		pin, err := j.soPIN()
		if err != nil {
			return nil, err
		}
		if err := token.LoginSO(ctx, pin); err != nil {
			return nil, err
		}
	} else {
		pin, err := j.userPIN()
		if err != nil {
			return nil, err
		}
		if err := token.LoginUser(ctx, pin); err != nil {
			return nil, err
		}
	}
	j.login = want
	return token, nil
}

func (j *run) logout(ctx context.Context) error {
	if j.login == loginNone {
		return nil
	}
	j.login = loginNone
	return j.token.Logout(ctx)
}

// reopen drops the handle; the token is found by its present identity when it is used next.
func (j *run) reopen(id pkcs11.Identity) {
	if j.token != nil {
		_ = j.token.Close() // the handle is gone either way
	}
	j.token, j.info, j.login = nil, nil, loginNone
	j.rec.Token.Identity = id
	j.dirty = true
}
