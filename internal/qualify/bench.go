package qualify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Kinds of calls, each with a deadline of its own in a profile.
type kind int

const (
	kindCall kind = iota
	kindInit
	kindKeyGeneration
)

// login is who is logged in to the token.
type login int

const (
	nobody login = iota
	officer
	user
)

// bench holds the module and the token under test, starts the module afresh when it
// crashed or hung, and times every call.
type bench struct {
	start func(context.Context) (pkcs11.Module, error)

	module pkcs11.Module // nil until it is needed
	token  pkcs11.Token  // nil until it is needed
	id     pkcs11.Identity
	login  login

	so      pkcs11.SOPIN
	userPIN pkcs11.UserPIN

	slowest [kindKeyGeneration + 1]time.Duration
}

// lost reports whether a module is of no use after an error.
func lost(err error) bool {
	return errors.Is(err, pkcs11.ErrModuleCrashed) || errors.Is(err, pkcs11.ErrModuleHung) || errors.Is(err, pkcs11.ErrClosed)
}

// timed makes a call and drops a module that did not survive it.
func (b *bench) timed(k kind, call func() error) (time.Duration, error) {
	begun := time.Now()
	err := call()
	took := time.Since(begun)
	if err == nil {
		b.slowest[k] = max(b.slowest[k], took)
	}
	if lost(err) {
		b.drop()
	}
	return took, err
}

// drop ends the module; the next question starts another. How it ends does not
// matter: a module that is dropped has been reported on, or has done its work.
func (b *bench) drop() {
	if b.module != nil {
		_ = b.module.Close()
	}
	b.module, b.token, b.login = nil, nil, nobody
}

// needModule starts the module unless it runs.
func (b *bench) needModule(ctx context.Context) error {
	if b.module != nil {
		return nil
	}
	begun := time.Now()
	m, err := b.start(ctx)
	if err != nil {
		return err
	}
	b.slowest[kindInit] = max(b.slowest[kindInit], time.Since(begun))
	b.module = m
	return nil
}

// needToken opens the token and logs in, unless that is so already.
func (b *bench) needToken(ctx context.Context, as login) error {
	if err := b.needModule(ctx); err != nil {
		return err
	}
	if b.token == nil {
		_, err := b.timed(kindCall, func() (err error) {
			b.token, err = b.module.Open(ctx, b.id)
			return err
		})
		if err != nil {
			b.token = nil
			return err
		}
		b.login = nobody
	}
	return b.needLogin(ctx, as)
}

func (b *bench) needLogin(ctx context.Context, as login) error {
	if b.login == as {
		return nil
	}
	if b.login != nobody {
		b.login = nobody
		if _, err := b.timed(kindCall, func() error { return b.token.Logout(ctx) }); err != nil {
			return err
		}
	}
	if as == nobody {
		return nil
	}
	_, err := b.timed(kindCall, func() error {
		if as == officer {
			return b.token.LoginSO(ctx, b.so)
		}
		return b.token.LoginUser(ctx, b.userPIN)
	})
	if err == nil {
		b.login = as
	}
	return err
}

// as makes a call on the token with somebody logged in.
func (b *bench) as(ctx context.Context, who login, call func(pkcs11.Token) error) error {
	_, err := b.timedAs(ctx, kindCall, who, call)
	return err
}

func (b *bench) timedAs(ctx context.Context, k kind, who login, call func(pkcs11.Token) error) (time.Duration, error) {
	if err := b.needToken(ctx, who); err != nil {
		return 0, err
	}
	return b.timed(k, func() error { return call(b.token) })
}

// slots lists the slots of the module.
func (b *bench) slots(ctx context.Context) (slots []pkcs11.Slot, err error) {
	if err := b.needModule(ctx); err != nil {
		return nil, err
	}
	_, err = b.timed(kindCall, func() error {
		slots, err = b.module.Slots(ctx)
		return err
	})
	return slots, err
}

// info reads the token's info anew.
func (b *bench) info(ctx context.Context) (info pkcs11.TokenInfo, err error) {
	if err := b.needToken(ctx, b.login); err != nil {
		return info, err
	}
	_, err = b.timed(kindCall, func() error {
		info, err = b.token.Info(ctx)
		return err
	})
	return info, err
}

// blame says in words what a module did instead of answering.
func blame(err error) string {
	e, ok := errors.AsType[*pkcs11.Error](err)
	switch {
	case !ok:
		return err.Error()
	case e.Kind == pkcs11.ErrModuleCrashed:
		return fmt.Sprintf("%s crashes the module's process (%s)", e.Op, e.Detail)
	case e.Kind == pkcs11.ErrModuleHung:
		return fmt.Sprintf("%s hangs (%s)", e.Op, e.Detail)
	}
	return err.Error()
}
