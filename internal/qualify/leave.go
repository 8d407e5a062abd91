package qualify

import (
	"context"
	"fmt"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// empty takes from the token what the questions have left on it.
func (w *writing) empty(ctx context.Context) {
	w.drop() // with whatever is left of the last question
	if w.uncertain != "" {
		return
	}
	w.Say("emptying the token")
	switch {
	case w.keptAsIs:
		w.restoreUser(ctx)
	case w.askedSO:
		w.clear(ctx)
		w.left = "a user PIN that nobody knows"
		w.report.add(Note, "init again", "not tried: the SO PIN had to be changed before, and there are tokens that are lost by it")
	default:
		w.initAgain(ctx)
	}
}

// initAgain is C_InitToken of a token that is initialised, with its SO PIN.
func (w *writing) initAgain(ctx context.Context) {
	had := w.id.Serial
	w.left = "what was last on it"
	var after pkcs11.TokenInfo
	_, err := w.timedAs(ctx, kindInit, nobody, func(t pkcs11.Token) (err error) {
		after, err = t.Init(ctx, w.so, labelAfter)
		return err
	})
	if err != nil {
		if lost(err) {
			w.uncertain = "the last C_InitToken did not come to a good end"
		}
		w.report.add(Note, "init again", "an initialised token cannot be initialised again with its SO PIN: %s", blame(err))
		return
	}
	w.id, w.info = w.token.Identity(), after
	if w.info.Serial != had {
		w.report.add(Note, "init again", "the serial changed from %q to %q", string(had), string(w.info.Serial))
	}
	var objects []pkcs11.Object
	err = w.as(ctx, nobody, func(t pkcs11.Token) (err error) { objects, err = t.Objects(ctx, pkcs11.Query{}); return err })
	switch {
	case err != nil:
		w.report.add(Note, "init again", "the objects cannot be listed after C_InitToken: %s", blame(err))
	case w.info.Flags.Has(pkcs11.FlagUserPINInitialized):
		w.report.add(Note, "init again", "C_InitToken leaves a user PIN on an initialised token")
	case len(objects) > 0:
		w.report.add(Note, "init again", "C_InitToken leaves %d objects on an initialised token", len(objects))
	default:
		w.left = ""
		w.report.add(OK, "init again", "an initialised token can be initialised again with its SO PIN; user PIN and objects are gone")
	}
}

// restoreSO gives the token the SO PIN back that it came with.
func (w *writing) restoreSO(ctx context.Context) {
	factory := w.Write.FactorySO
	if factory.IsZero() || !w.changed || w.uncertain != "" {
		return
	}
	if w.so.Reveal() != factory.Reveal() {
		err := w.as(ctx, officer, func(t pkcs11.Token) error { return t.SetSOPIN(ctx, w.so, factory) })
		if err != nil {
			w.report.add(Note, "leaving", "the factory SO PIN could not be put back: %s", blame(err))
			if err := w.settleSO(ctx, w.so, factory); err != nil {
				w.report.add(Note, "leaving", "the SO PIN that was found right could not be kept by itself: %v", err)
			}
			return
		}
		w.so = factory
		w.drop()
	}
	if err := w.as(ctx, officer, nothing); err != nil {
		w.uncertain = "its SO PIN should be the factory's, and does not open it"
		return
	}
	w.forget()
}

// forget lets go of the SO PINs that were kept.
func (w *writing) forget() {
	w.changed = false
	if err := w.Write.Forget(); err != nil {
		w.report.add(Note, "leaving", "an SO PIN that is of no use any more could not be removed: %v", err)
	}
}

// restoreUser gives a token that is used as it came its user PIN back.
func (w *writing) restoreUser(ctx context.Context) {
	factory := w.Write.FactoryUser
	if !w.hasUser || w.userPIN.Reveal() == factory.Reveal() {
		return
	}
	err := w.as(ctx, user, func(t pkcs11.Token) error { return t.SetUserPIN(ctx, w.userPIN, factory) })
	if err != nil {
		w.uncertain = "its user PIN is one that nobody knows"
		w.report.add(Note, "leaving", "the factory user PIN could not be put back: %s", blame(err))
	}
}

// state names what the token is left as.
func (w *writing) state(ready bool) string {
	pin := "its SO PIN is the one that was given"
	if w.changed {
		pin = "its SO PIN is in " + w.Write.KeptIn
	}
	switch {
	case w.uncertain != "" && w.changed:
		return fmt.Sprintf("in doubt: %s; %s (in each line one that it may be)", w.uncertain, pin)
	case w.uncertain != "":
		return fmt.Sprintf("in doubt: %s; %s", w.uncertain, pin)
	case !ready:
		return "as it was"
	case w.keptAsIs:
		return "as it came, with the PINs that were given; the keys made on it were destroyed"
	}
	holds := "no user PIN, no objects"
	if w.left != "" {
		holds = "it holds " + w.left
	}
	return fmt.Sprintf("%s, initialised, label %q, %s; %s", w.id, string(w.info.Label), holds, pin)
}
