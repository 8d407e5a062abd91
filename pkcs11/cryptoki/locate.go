package cryptoki

import (
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// place is where a token was seen. It is good for the operation at hand only.
type place struct {
	slot uint
	info pkcs11.TokenInfo
}

// scan reads the tokens of all slots. Slots whose token cannot be read are left
// out and counted.
func (m *module) scan() (places []place, unread int, err error) {
	ids, err := m.slotList(true)
	if err != nil {
		return nil, 0, err
	}
	for _, id := range ids {
		info, err := m.tokenInfo(id)
		switch {
		case err == nil:
			places = append(places, place{id, info})
		case errors.Is(err, pkcs11.ErrTokenRemoved):
		default:
			unread++
		}
	}
	return places, unread, nil
}

// locate looks through all slots for the one token that the identity names.
// When there is none the error is of kind missing.
func (m *module) locate(op string, id pkcs11.Identity, missing pkcs11.Sentinel) (place, error) {
	places, unread, err := m.scan()
	if err != nil {
		return place{}, err
	}
	return m.pick(op, id, places, unread, missing)
}

func (m *module) pick(op string, id pkcs11.Identity, places []place, unread int, missing pkcs11.Sentinel) (place, error) {
	if id == (pkcs11.Identity{}) {
		return place{}, &pkcs11.Error{Op: op, Kind: missing, Detail: "neither serial nor slot is given"}
	}
	var found []place
	for _, p := range places {
		if m.matches(p, id) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		detail := id.String()
		if unread > 0 {
			detail += fmt.Sprintf(" is not there, and the tokens of %d slots could not be read", unread)
		}
		return place{}, &pkcs11.Error{Op: op, Kind: missing, Detail: detail}
	default:
		return place{}, &pkcs11.Error{
			Op: op, Kind: pkcs11.ErrAmbiguous,
			Detail: fmt.Sprintf("%d tokens show the identity %s", len(found), id),
		}
	}
}

func (m *module) matches(p place, id pkcs11.Identity) bool {
	if p.info.Serial != id.Serial {
		return false
	}
	bySlot := id.Serial == "" || id.SlotDescription != ""
	return !bySlot || m.slotDescription(p.slot) == id.SlotDescription
}

// slotDescription is "" when the slot is gone.
func (m *module) slotDescription(slot uint) string {
	info, err := m.ctx.GetSlotInfo(slot)
	if err != nil {
		return ""
	}
	return text(info.SlotDescription)
}

// expect checks that the token now in a slot is the one held by id and last
// seen as seen. The label changes only by C_InitToken, and the user PIN only
// vanishes by it, so both tell of a token initialised again behind our back,
// which keeps its serial (and, in SoftHSM, leaves an open session usable).
func expect(op string, now, seen pkcs11.TokenInfo, id pkcs11.Identity) error {
	detail := ""
	switch {
	case now.Serial != id.Serial:
		detail = fmt.Sprintf("expected %s, the token there says its serial is %q", id, string(now.Serial))
	case now.Initialized() != seen.Initialized(),
		now.Initialized() && now.Label != seen.Label,
		seen.Flags.Has(pkcs11.FlagUserPINInitialized) && !now.Flags.Has(pkcs11.FlagUserPINInitialized):
		detail = fmt.Sprintf("%s was initialised by someone else since it was last seen", id)
	default:
		return nil
	}
	return &pkcs11.Error{Op: op, Kind: pkcs11.ErrTokenReplaced, Detail: detail}
}
