package provision

import (
	"context"
	"fmt"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Tokens that have their holder change the user PIN before anything else. While a job
// works on such a token its PIN is one that only the job knows; at the end the token
// gets the product's first PIN, which is no secret and opens nothing.

// changesAtFirstUse says that the unit's PIN is delivered so.
func changesAtFirstUse(f Facts) bool { return f.Delivery == DeliverFirstUse }

// delivers refuses a token that does not enforce what the product relies on, and one that
// would not take its PIN for good.
func delivers(product *Product, profile *TokenProfile, info pkcs11.TokenInfo) error {
	switch forced := product.Delivery == DeliverFirstUse; {
	case forced && !profile.ForcesChange:
		return fmt.Errorf("%w: product %s leaves it to the holder to change the PIN at first use, which token profile %s does not say the token enforces", ErrProfileMisfit, product.Code, profile.Name)
	case forced && !info.TakesPIN(len(product.FirstPIN)):
		return fmt.Errorf("%w: the first PIN of product %s has %d characters, the token takes %d to %d", ErrProfileMisfit, product.Code, len(product.FirstPIN), info.MinPINLen, info.MaxPINLen)
	case !forced && profile.ForcesChange:
		return fmt.Errorf("%w: tokens of profile %s have the holder change the PIN at first use, which is not how product %s delivers it", ErrProfileMisfit, profile.Name, product.Code)
	}
	return nil
}

// setUserPINTwice has the SO set the first PIN and the user change it to one that opens
// the token for the job. From any moment it may be done again from the beginning.
func (j *run) setUserPINTwice(ctx context.Context, to pkcs11.UserPIN) error {
	first, err := j.firstPIN()
	if err != nil {
		return err
	}
	if err := j.initUserPIN(ctx, first); err != nil {
		return err
	}
	if err := j.token.LoginUser(ctx, first); err != nil {
		return err
	}
	j.login = loginUser
	if err := j.token.SetUserPIN(ctx, first, to); err != nil {
		return err
	}
	return j.logout(ctx)
}

func (j *run) firstPIN() (pkcs11.UserPIN, error) {
	product, err := j.ordered()
	if err != nil {
		return pkcs11.UserPIN{}, err
	}
	if product.FirstPIN == "" { // the configuration is another one than when the job began
		return pkcs11.UserPIN{}, fmt.Errorf("%w: product %s has no first PIN any more", ErrProfileMisfit, product.Code)
	}
	return pkcs11.NewUserPIN(product.FirstPIN), nil
}

// setFirstPIN gives the finished token the PIN that its holder must change.
func setFirstPIN(ctx context.Context, j *run) error {
	first, err := j.firstPIN()
	if err != nil {
		return err
	}
	return j.initUserPIN(ctx, first)
}

// verifyFirstPIN lets no token leave with a PIN that everybody knows, unless it says that
// it enforces the change.
func verifyFirstPIN(ctx context.Context, j *run) error {
	info, err := j.tokenInfo(ctx, true)
	if err != nil {
		return err
	}
	if !info.Flags.Has(pkcs11.FlagUserPINToBeChanged) {
		return fmt.Errorf("%w: the token does not say that its user PIN must be changed (flags %#x), as its profile has it", ErrReadBack, uint(info.Flags))
	}
	return nil
}
