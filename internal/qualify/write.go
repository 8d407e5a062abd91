package qualify

import (
	"context"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Labels of a token under test, and of one that was.
const (
	labelDuring pkcs11.TokenLabel = "usbkeyd qualification"
	labelAfter  pkcs11.TokenLabel = "usbkeyd qualified"
)

// writing is the part of a qualification that writes the token.
type writing struct {
	*run
	info      pkcs11.TokenInfo // as last read
	hasSO     bool             // the SO can log in
	askedSO   bool             // a change of the SO PIN has been tried
	hasUser   bool             // the user PIN is known and works
	keptAsIs  bool             // C_InitToken is not supported: the token is used as it came
	changed   bool             // the SO PIN is not the one that the token came with, or may not be
	left      string           // what is left on the token in the end
	uncertain string           // why it is not known what the token is, "" when it is
}

// nothing is a call that only wants the login before it.
func nothing(pkcs11.Token) error { return nil }

// admit decides whether the token may be written. An initialised one must open with
// its factory SO PIN: only somebody who has that may destroy what is on it.
func (r *run) admit(ctx context.Context) (bool, error) {
	i, w := r.slot.Token, r.Write
	switch {
	case i.Flags.Has(pkcs11.FlagProtectedAuthenticationPath), i.Flags.Has(pkcs11.FlagWriteProtected):
		return false, nil // a finding says so
	case !i.Initialized():
		r.so = w.FactorySO
		return true, nil
	case w.FactorySO.IsZero():
		return false, fmt.Errorf("%w: %s is initialised (label %q); give the SO PIN that opens it in a file (--factory-so-pin-file), or take a blank one", ErrRefused, r.id, string(i.Label))
	}
	r.so = w.FactorySO
	err := r.as(ctx, officer, nothing)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, pkcs11.ErrPINIncorrect), errors.Is(err, pkcs11.ErrPINLocked), errors.Is(err, pkcs11.ErrPINLastTry):
		return false, fmt.Errorf("%w: the factory SO PIN does not open %s; a wrong one has spent a try: %w", ErrRefused, r.id, err)
	}
	r.fault(Unfit, "so login", err)
	return false, nil
}

// write asks the questions that destroy what is on the token. Whatever happens, also
// an end of ctx, the token is put into a state that the report can name. It fails
// only when an SO PIN cannot be kept; the token has not got it then.
func (r *run) write(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // a call that writes always comes to its end
	w := &writing{run: r, info: *r.slot.Token}
	r.report.Destroyed = r.destroys(ctx)
	r.Say("%s", r.report.Destroyed)
	ready, err := w.initialise(ctx)
	if ready {
		err = w.questions(ctx)
	}
	r.report.State = w.state(ready)
	return err
}

// questions are asked of a token that is initialised. The change of the SO PIN comes
// last, when the token is empty again: openCryptoki's tokens open to nobody any more
// when they are initialised after it.
func (w *writing) questions(ctx context.Context) error {
	var err error
	if w.hasSO {
		if err = w.setUser(ctx); err == nil {
			for _, probe := range []func(context.Context){w.keys, w.changeUser, w.limits, w.pinTry} {
				if !w.stopped() {
					probe(ctx)
				}
			}
		}
	}
	w.empty(ctx)
	if err == nil && w.hasSO && !w.askedSO && !w.stopped() {
		err = w.changeSO(ctx)
	}
	w.restoreSO(ctx)
	return err
}

// destroys says what this run puts an end to.
func (r *run) destroys(ctx context.Context) string {
	what := "it is blank"
	if i := r.slot.Token; i.Initialized() {
		what = fmt.Sprintf("label %q", string(i.Label))
		if i.Flags.Has(pkcs11.FlagUserPINInitialized) {
			what += ", a user PIN"
		}
		var objects []pkcs11.Object
		err := r.as(ctx, nobody, func(t pkcs11.Token) (err error) { objects, err = t.Objects(ctx, pkcs11.Query{}); return err })
		if err == nil {
			what += fmt.Sprintf(", %d public objects", len(objects))
		}
	}
	return fmt.Sprintf("everything on %s is destroyed: %s", r.id, what)
}

// initialise is C_InitToken; it reports whether the token can be gone on with.
func (w *writing) initialise(ctx context.Context) (bool, error) {
	if w.so.IsZero() {
		w.so = drawSO(w.info)
		if err := w.Write.Keep(w.so); err != nil {
			return false, fmt.Errorf("%w: its new SO PIN cannot be kept: %w", ErrRefused, err)
		}
		w.changed = true
	}
	w.Say("initialising %s", w.id)
	beside := bench{start: w.Start} // a process that looked before and looks again after
	defer beside.drop()
	if !w.alone {
		_, _ = beside.slots(ctx) // judged by what it sees afterwards
	}
	before := w.info
	var after pkcs11.TokenInfo
	took, err := w.timedAs(ctx, kindInit, nobody, func(t pkcs11.Token) (err error) {
		after, err = t.Init(ctx, w.so, labelDuring)
		return err
	})
	if err != nil {
		return w.notInitialised(ctx, before, err), nil
	}
	w.id, w.info, w.login = w.token.Identity(), after, nobody
	w.makers, w.models = append(w.makers, after.Manufacturer), append(w.models, after.Model)
	w.report.add(OK, "init", "C_InitToken took %.2f s; the label was kept", took.Seconds())
	w.afterInit(ctx, before, after)
	if !w.alone {
		w.besides(ctx, &beside)
	}
	w.afresh(ctx)
	if err := w.as(ctx, officer, nothing); err != nil {
		w.report.add(Unfit, "so login", "the SO cannot log in after C_InitToken: %s", blame(err))
		return true, nil
	}
	w.hasSO = true
	w.report.add(OK, "so login", "the SO can log in")
	return true, nil
}

// notInitialised sorts out a C_InitToken that failed. A token that came initialised
// can perhaps be used without.
func (w *writing) notInitialised(ctx context.Context, before pkcs11.TokenInfo, err error) bool {
	if errors.Is(err, pkcs11.ErrUnsupported) && before.Initialized() && !w.Write.FactoryUser.IsZero() {
		w.keptAsIs, w.profile.KeepAsMade = true, true
		w.hasSO = true // else it would not have been admitted
		w.report.add(Note, "init", "C_InitToken is not supported; the token is used as it came (initialise: false)")
		return true
	}
	if errors.Is(err, pkcs11.ErrPINIncorrect) {
		w.report.add(Unfit, "init", "a blank token wants its factory SO PIN at C_InitToken; give it by --factory-so-pin-file, and the right one")
	} else {
		w.fault(Unfit, "init", err)
	}
	slots, slotsErr := w.slots(ctx)
	now := w.find(slots)
	untouched := slotsErr == nil && !lost(err) && now != nil && now.Token.Initialized() == before.Initialized() && now.Token.Label == before.Label
	if !untouched {
		w.uncertain = "C_InitToken did not come to a good end"
		return false
	}
	w.forget()
	return false
}

// afterInit compares the token with what it was.
func (w *writing) afterInit(ctx context.Context, before, after pkcs11.TokenInfo) {
	switch {
	case after.Serial == "":
		w.report.add(Unfit, "init", "an initialised token shows no serial, and usbkeyd reports every key with its token's")
	case before.Serial == "":
		w.report.add(OK, "init", "the token got its serial by C_InitToken")
	case before.Serial == after.Serial:
		w.report.add(OK, "init", "the serial stayed the same")
	}
	if before.Manufacturer != after.Manufacturer || before.Model != after.Model {
		w.report.add(Note, "init", "manufacturer and model changed from %q, %q to %q, %q", before.Manufacturer, before.Model, after.Manufacturer, after.Model)
	}
	slots, err := w.slots(ctx)
	if err != nil {
		w.fault(Unfit, "init", err)
		return
	}
	if now := w.find(slots); now != nil && now.Description != w.slot.Description {
		w.report.add(Note, "init", "the token moved to another slot: %q, before %q", now.Description, w.slot.Description)
	}
}

// afresh looks at the token in a new process: SoftHSM has it in another slot there.
func (w *writing) afresh(ctx context.Context) {
	w.drop()
	slots, err := w.slots(ctx)
	if err != nil {
		w.fault(Unfit, "init", err)
		return
	}
	now := w.find(slots)
	for i, s := range slots {
		if now == nil && s.Token != nil && s.Token.Label == labelDuring {
			now = &slots[i]
		}
	}
	switch {
	case now == nil:
		w.report.add(Unfit, "init", "a new process does not show the token that was initialised")
	case now.Description != w.slot.Description:
		w.report.add(Note, "init", "in a new process the token is in another slot: %q, before %q", now.Description, w.slot.Description)
		w.id = identify(*now, slots)
	}
}

// besides asks whether a process that looked before sees the token now.
func (w *writing) besides(ctx context.Context, other *bench) {
	slots, err := other.slots(ctx)
	now := w.find(slots)
	switch {
	case w.stopped():
	case err != nil:
		w.report.add(Note, "other process", "beside C_InitToken another process fails: %s", blame(err))
	case now == nil || !now.Token.Initialized() || now.Token.Label != labelDuring:
		w.report.add(Note, "other process", "another process sees that the token was initialised only after C_Initialize anew: leave tokens: 1 in modules")
	default:
		w.report.add(OK, "other process", "another process sees at once that the token was initialised")
	}
}

// changeSO has the SO change its PIN, as the daemon does with a factory's.
func (w *writing) changeSO(ctx context.Context) error {
	old, new := w.so, drawSO(w.info)
	if err := w.Write.Keep(old, new); err != nil {
		return fmt.Errorf("the SO PIN cannot be kept and was not changed: %w", err)
	}
	w.Say("changing the SO PIN")
	w.changed, w.askedSO = true, true
	err := w.as(ctx, officer, func(t pkcs11.Token) error { return t.SetSOPIN(ctx, old, new) })
	if err == nil {
		w.so = new
		if err = w.needLogin(ctx, nobody); err == nil {
			err = w.as(ctx, officer, nothing)
		}
	}
	if err == nil {
		w.report.add(OK, "so pin", "the SO can change the SO PIN")
		return w.Write.Keep(w.so)
	}
	severity, why := Note, "that matters only to tokens that come with a factory SO PIN"
	if !w.Write.FactorySO.IsZero() {
		severity, why = Unfit, "usbkeyd replaces every factory SO PIN"
	}
	w.report.add(severity, "so pin", "the SO cannot change the SO PIN: %s; %s", blame(err), why)
	return w.settleSO(ctx, old, new)
}

// settleSO finds out which of two SO PINs the token has.
func (w *writing) settleSO(ctx context.Context, pins ...pkcs11.SOPIN) error {
	for _, pin := range pins {
		w.so, w.login = pin, nobody
		w.drop() // a login that is left would hide which PIN is right
		if err := w.as(ctx, officer, nothing); err == nil {
			return w.Write.Keep(pin)
		}
	}
	w.uncertain = "its SO PIN is one of two"
	return nil
}

// setUser has the SO set the user PIN. It fails only when an SO PIN cannot be kept.
func (w *writing) setUser(ctx context.Context) error {
	pin := drawUser(w.info, pkcs11.UserPIN{})
	set := func(t pkcs11.Token) error { return t.InitUserPIN(ctx, pin) }
	err := w.as(ctx, officer, set)
	if errors.Is(err, pkcs11.ErrPINExpired) { // an SO PIN that must be changed first, as the daemon does
		if err := w.changeSO(ctx); err != nil {
			return err
		}
		err = w.as(ctx, officer, set)
	}
	switch {
	case err == nil:
		w.userPIN = pin
		w.report.add(OK, "user pin", "the SO can set the user PIN (C_InitPIN)")
	case w.Write.FactoryUser.IsZero():
		w.report.add(Unfit, "user pin", "the SO cannot set the user PIN: %s; if such tokens come with one, give it by --factory-user-pin-file", blame(err))
		return nil
	default:
		w.userPIN, w.profile.UserPIN = w.Write.FactoryUser, userPINChange
		w.report.add(Note, "user pin", "the SO cannot set the user PIN: %s; the user changes the factory's (userPin: change)", blame(err))
	}
	if err := w.as(ctx, user, nothing); err != nil {
		w.report.add(Unfit, "user login", "the user cannot log in: %s", blame(err))
		return nil
	}
	w.hasUser = true
	w.report.add(OK, "user login", "the user can log in")
	if info, err := w.bench.info(ctx); err == nil {
		w.info = info
	}
	if w.profile.UserPIN == userPINInit && w.info.Flags.Has(pkcs11.FlagUserPINToBeChanged) {
		// Whether keys can be made all the same is the next question, under this very PIN.
		w.report.add(Note, "user pin", "the token wants its holder to change a user PIN that the SO has set")
	}
	return nil
}

// changeUser has the user change its PIN.
func (w *writing) changeUser(ctx context.Context) {
	if !w.hasUser {
		return
	}
	old, new := w.userPIN, drawUser(w.info, w.userPIN)
	err := w.as(ctx, user, func(t pkcs11.Token) error { return t.SetUserPIN(ctx, old, new) })
	if err == nil {
		w.userPIN = new
		if err = w.needLogin(ctx, nobody); err == nil {
			err = w.as(ctx, user, nothing)
		}
	}
	if err == nil {
		w.report.add(OK, "user pin change", "the user can change the user PIN (C_SetPIN)")
		return
	}
	severity := Note
	if w.profile.UserPIN != userPINInit {
		severity = Unfit
	}
	w.report.add(severity, "user pin change", "the user cannot change the user PIN: %s", blame(err))
	w.renewUser(ctx)
}

// renewUser gives the user a PIN that is known, after one that may not be.
func (w *writing) renewUser(ctx context.Context) {
	w.drop()
	pin := drawUser(w.info, w.userPIN)
	err := w.as(ctx, officer, func(t pkcs11.Token) error { return t.InitUserPIN(ctx, pin) })
	if err == nil {
		w.userPIN = pin
		err = w.as(ctx, user, nothing)
	}
	w.hasUser = err == nil
	if err != nil {
		w.report.add(Note, "user pin", "the user PIN cannot be set once more: %s", blame(err))
	}
}

// limits asks whether the shortest and the longest PIN that the token says it takes
// can be set and entered.
func (w *writing) limits(ctx context.Context) {
	if !w.hasUser || w.profile.UserPIN == userPINChange {
		return
	}
	good := true
	for _, n := range []int{w.info.MinPINLen, w.info.MaxPINLen} {
		if n < 1 {
			continue
		}
		w.userPIN = pkcs11.NewUserPIN(drawDigits(n))
		err := w.as(ctx, officer, func(t pkcs11.Token) error { return t.InitUserPIN(ctx, w.userPIN) })
		if err == nil {
			err = w.as(ctx, user, nothing)
		}
		if err != nil {
			good = false
			w.report.add(Note, "PIN lengths", "the token says that it takes user PINs of %d bytes, and does not: %s", n, blame(err))
		}
	}
	if good {
		w.report.add(OK, "PIN lengths", "user PINs of %d and of %d bytes can be set and entered", w.info.MinPINLen, w.info.MaxPINLen)
	}
	w.renewUser(ctx)
}

// pinTry enters one wrong user PIN, if that was asked for, and then the right one.
func (w *writing) pinTry(ctx context.Context) {
	if !w.Write.PINTry || !w.hasUser {
		return
	}
	right := w.userPIN
	w.drop()
	w.userPIN = drawUser(w.info, right)
	err := w.as(ctx, user, nothing)
	w.userPIN = right
	if !errors.Is(err, pkcs11.ErrPINIncorrect) {
		w.report.add(Unfit, "pin try", "a wrong user PIN is not answered with CKR_PIN_INCORRECT: %v", err)
		return
	}
	w.login = nobody
	wrong, err := w.bench.info(ctx)
	if err == nil {
		err = w.as(ctx, user, nothing)
	}
	if err != nil {
		w.report.add(Note, "pin try", "the right user PIN is not taken after one wrong one: %s", blame(err))
		return
	}
	shows := wrong.Flags&(pkcs11.FlagUserPINCountLow|pkcs11.FlagUserPINFinalTry|pkcs11.FlagUserPINLocked) != 0
	if !shows {
		w.report.add(Note, "pin try", "the flags do not show that a try was spent: a lock can come without warning")
		return
	}
	cleared := ""
	if now, err := w.bench.info(ctx); err == nil && !now.Flags.Has(pkcs11.FlagUserPINCountLow) {
		cleared = ", and the right PIN clears that"
	}
	w.report.add(OK, "pin try", "the flags show that a try was spent (%#x)%s", uint(wrong.Flags), cleared)
}
