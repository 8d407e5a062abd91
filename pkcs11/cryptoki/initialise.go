package cryptoki

import (
	"context"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Init implements pkcs11.Token.
func (t *token) Init(ctx context.Context, so pkcs11.SOPIN, label pkcs11.TokenLabel) (pkcs11.TokenInfo, error) {
	const op = "C_InitToken"
	if err := label.Validate(); err != nil {
		return pkcs11.TokenInfo{}, &pkcs11.Error{Op: op, Kind: pkcs11.ErrGeneral, Detail: err.Error()}
	}
	if so.IsZero() {
		return pkcs11.TokenInfo{}, &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINInvalid, Detail: "the SO PIN is empty"}
	}
	if err := t.enter(ctx, op); err != nil {
		return pkcs11.TokenInfo{}, err
	}
	defer t.leave()

	at, others, err := t.init(op, so, label)
	if errors.Is(err, pkcs11.ErrSessionExists) && t.m.sessions == 0 {
		// Nothing was done. If the session is one of this process, its closing has failed,
		// or its opening took effect and failed; it ends with C_Finalize.
		if err = t.m.restart(); err == nil {
			at, others, err = t.init(op, so, label)
		}
	}
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}

	now, err := t.refind(op, at, label, others)
	if err != nil {
		return pkcs11.TokenInfo{}, err
	}
	t.seen, t.fresh = now.info, true
	t.id = t.identityAfter(now)
	// A session from here on holds the token; without one the next call looks
	// through the slots and reports what is wrong.
	if err := t.openSession(now.slot); err != nil {
		t.sess = nil
	}
	return now.info, nil
}

// init makes the call, and says where the token was and what others there are. Nothing
// comes between the last look at the token and the call, which names a slot only.
func (t *token) init(op string, so pkcs11.SOPIN, label pkcs11.TokenLabel) (place, map[pkcs11.TokenSerial]bool, error) {
	at, others, err := t.findForInit(op)
	if err != nil {
		return place{}, nil, err
	}
	if err := initAllowed(op, at.info); err != nil {
		return place{}, nil, err
	}
	return at, others, t.call(op, t.m.ctx.InitToken(at.slot, so.Reveal(), string(label)))
}

// identityAfter is how the token is held once it is initialised: by its serial, and
// still by its slot when it was held by both or got none (kryoptic).
func (t *token) identityAfter(now place) pkcs11.Identity {
	id := pkcs11.Identity{Serial: now.info.Serial}
	if id.Serial == "" || t.id.Serial != "" && t.id.SlotDescription != "" {
		id.SlotDescription = t.m.slotDescription(now.slot)
	}
	return id
}

// findForInit closes the session, beside which a token is not initialised
// (CKR_SESSION_EXISTS), and finds the token and, for one without a serial, the serials
// of all the others, which the new serial must differ from.
func (t *token) findForInit(op string) (place, map[pkcs11.TokenSerial]bool, error) {
	if t.sess != nil && t.id.Serial != "" {
		slot := t.slotOf(t.sess)
		_ = t.dropSession() // C_InitToken says if it is still open
		info, err := t.m.tokenInfo(slot)
		if err != nil {
			return place{}, nil, err
		}
		at := place{slot, info}
		return at, nil, t.note(op, at)
	}
	_ = t.dropSession()
	places, unread, err := t.m.scan()
	if err != nil {
		return place{}, nil, err
	}
	at, err := t.m.pick(op, t.id, places, unread, pkcs11.ErrTokenRemoved)
	if err != nil {
		return place{}, nil, err
	}
	others := make(map[pkcs11.TokenSerial]bool)
	for _, p := range places {
		if p.slot != at.slot {
			others[p.info.Serial] = true
		}
	}
	return at, others, t.note(op, at)
}

// initAllowed refuses what would spend the last try of the SO PIN or cannot
// work. The PIN flags of a blank token mean nothing: SoftHSM sets SO_PIN_LOCKED.
func initAllowed(op string, info pkcs11.TokenInfo) error {
	if info.Flags.Has(pkcs11.FlagWriteProtected) {
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrWriteProtected}
	}
	if info.Flags.Has(pkcs11.FlagProtectedAuthenticationPath) {
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrPINPad}
	}
	if !info.Initialized() {
		return nil
	}
	return triesLeft(op, info.Flags, pkcs11.FlagSOPINLocked, pkcs11.FlagSOPINFinalTry)
}

// refind finds the token again after C_InitToken: in the slot where it was, else
// by label and serial in any slot, else in the same way after C_Finalize and
// C_Initialize. A blank token must have got a serial that no other token shows;
// one that had a serial keeps it.
func (t *token) refind(op string, before place, label pkcs11.TokenLabel, others map[pkcs11.TokenSerial]bool) (place, error) {
	is := func(p place) bool {
		if !p.info.Initialized() || p.info.Label != label {
			return false
		}
		if before.info.Serial != "" {
			return p.info.Serial == before.info.Serial
		}
		return p.slot == before.slot && p.info.Serial == "" || p.info.Serial != "" && !others[p.info.Serial]
	}
	if info, err := t.m.tokenInfo(before.slot); err == nil && is(place{before.slot, info}) {
		return place{before.slot, info}, nil
	}
	for _, prepare := range []func() error{func() error { return nil }, t.m.restart} {
		if err := prepare(); err != nil {
			return place{}, err
		}
		places, _, err := t.m.scan()
		if err != nil {
			return place{}, err
		}
		var found []place
		for _, p := range places {
			if is(p) {
				found = append(found, p)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return place{}, &pkcs11.Error{
				Op: op, Kind: pkcs11.ErrAmbiguous,
				Detail: fmt.Sprintf("the token was initialised, and %d tokens now show the label %q", len(found), string(label)),
			}
		}
	}
	return place{}, &pkcs11.Error{
		Op: op, Kind: pkcs11.ErrTokenRemoved,
		Detail: fmt.Sprintf("the token was initialised but none with the label %q and a serial of its own is to be found", string(label)),
	}
}
