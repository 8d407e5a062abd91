package cryptoki

import (
	"context"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Mechanisms implements pkcs11.Token. A mechanism that is listed but not described
// is left out: nothing can be asked of it.
func (t *token) Mechanisms(ctx context.Context) ([]pkcs11.MechanismInfo, error) {
	const op = "C_GetMechanismList"
	if err := t.enter(ctx, op); err != nil {
		return nil, err
	}
	defer t.leave()
	at, err := t.find(op)
	if err != nil {
		return nil, err
	}
	list, err := t.m.ctx.GetMechanismList(at.slot)
	if err != nil {
		return nil, t.call(op, err)
	}
	out := make([]pkcs11.MechanismInfo, 0, len(list))
	for _, m := range list {
		info, err := t.m.ctx.GetMechanismInfo(at.slot, []*p11.Mechanism{m})
		if err != nil {
			continue
		}
		out = append(out, pkcs11.MechanismInfo{
			Mechanism:  pkcs11.Mechanism(m.Mechanism),
			MinKeySize: info.MinKeySize, MaxKeySize: info.MaxKeySize,
			Flags: pkcs11.MechanismFlags(info.Flags),
		})
	}
	return out, nil
}
