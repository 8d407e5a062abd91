package qualify

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// The questions that only read.

// describe says what is in the slots.
func (r *run) describe(slots []pkcs11.Slot) {
	blank := map[string]int{}
	for _, s := range slots {
		if s.Fault != nil {
			r.report.add(Note, "slots", "the token in slot %q cannot be read: %s", s.Description, blame(s.Fault))
		}
		if s.Token == nil {
			continue
		}
		r.report.Tokens = append(r.report.Tokens, newToken(s))
		if s.Token.Serial == "" {
			blank[s.Description]++
		}
		for _, field := range []string{string(s.Token.Label), s.Token.Manufacturer, s.Token.Model, string(s.Token.Serial)} {
			if strings.ContainsRune(field, '\uFFFD') || strings.ContainsFunc(field, func(c rune) bool { return c < ' ' }) {
				r.report.add(Note, "text", "the token in slot %q shows a text that is not UTF-8 or has control characters: %q", s.Description, field)
			}
		}
	}
	for description, n := range blank {
		if n > 1 {
			r.report.add(Note, "slots", "%d tokens without a serial are in slots that are all called %q, so they cannot be told apart: one at a time may be plugged in", n, description)
		}
	}
	r.report.add(OK, "slots", "%d slots, %d tokens", len(slots), len(r.report.Tokens))
}

// serials asks what tells tokens of this model apart.
func (r *run) serials(ctx context.Context) {
	slots, err := r.slots(ctx)
	if err != nil {
		r.fault(Unfit, "serial", err)
		return
	}
	var same []pkcs11.Slot // of the model, without blank tokens that have no serial yet
	for _, s := range slots {
		if s.Token == nil || !s.Token.Initialized() && s.Token.Serial == "" {
			continue
		}
		if s.Token.Manufacturer == r.slot.Token.Manufacturer && s.Token.Model == r.slot.Token.Model {
			same = append(same, s)
		}
	}
	bySerial := map[pkcs11.TokenSerial]int{}
	byBoth := map[pkcs11.Identity]int{}
	for _, s := range same {
		bySerial[s.Token.Serial]++
		byBoth[pkcs11.Identity{Serial: s.Token.Serial, SlotDescription: s.Description}]++
	}
	if bySerial[""] > 0 {
		r.report.add(Unfit, "serial", "%d initialised tokens show no serial, and usbkeyd reports every key with its token's", bySerial[""])
		return
	}
	for serial, n := range bySerial {
		if n > 1 {
			r.sameSerial(serial, n, byBoth)
			return
		}
	}
	switch {
	case len(same) > 1:
		r.report.add(OK, "serial", "%d tokens show different serials", len(same))
	case len(same) == 1 && placeholder(same[0].Token.Serial):
		r.report.add(Note, "serial", "the serial %q does not look like one; qualify with two tokens plugged in, or set identity: reader if all show the same", string(same[0].Token.Serial))
	default:
		r.report.add(OK, "serial", "at most one token with a serial is plugged in: whether serials differ shows only with two")
	}
}

func (r *run) sameSerial(serial pkcs11.TokenSerial, n int, byBoth map[pkcs11.Identity]int) {
	r.profile.Identity = identityReader
	for id, m := range byBoth {
		if id.Serial == serial && m > 1 {
			r.profile.Identity = identitySingle
		}
	}
	how := "the slot's description tells them apart (identity: reader)"
	if r.profile.Identity == identitySingle {
		how = "their slots have one description, too: one token at a time may be in the module (identity: single)"
	}
	r.report.add(Note, "serial", "%d tokens show the same serial %q; %s", n, string(serial), how)
}

// placeholder reports whether a serial looks like one that all tokens show: very
// short (openCryptoki: 123), or of one character only (NSS: sixteen zeros).
func placeholder(s pkcs11.TokenSerial) bool {
	const short = 4
	return len(s) < short || strings.Trim(string(s), string(s[:1])) == ""
}

// flags asks whether the daemon can write such a token at all.
func (r *run) flags(context.Context) {
	i := r.slot.Token
	before := len(r.report.Findings)
	if i.Flags.Has(pkcs11.FlagProtectedAuthenticationPath) {
		r.report.add(Unfit, "flags", "the PIN is typed on a PIN pad; such a token cannot be written unattended")
	}
	if i.Flags.Has(pkcs11.FlagWriteProtected) {
		r.report.add(Unfit, "flags", "the token is write-protected")
	}
	if !i.Flags.Has(pkcs11.FlagLoginRequired) && i.Initialized() {
		r.report.add(Note, "flags", "the token says that no login is needed for its private objects")
	}
	// The flags of a blank token mean nothing (SoftHSM says locked).
	for _, f := range []struct {
		flag pkcs11.TokenFlags
		text string
	}{
		{pkcs11.FlagSOPINLocked, "the SO PIN is locked"},
		{pkcs11.FlagSOPINFinalTry, "the SO PIN has one try left"},
		{pkcs11.FlagUserPINLocked, "the user PIN is locked"},
	} {
		if i.Initialized() && i.Flags.Has(f.flag) {
			r.report.add(Note, "flags", "%s", f.text)
		}
	}
	if len(r.report.Findings) == before {
		r.report.add(OK, "flags", "no PIN pad, not write-protected (%#x)", uint(i.Flags))
	}
	r.pinLengths(i)
}

func (r *run) pinLengths(i *pkcs11.TokenInfo) {
	n, ok := soPINLength(i.MinPINLen, i.MaxPINLen)
	switch {
	case i.MaxPINLen == 0:
		r.report.add(Unfit, "PIN lengths", "the token does not say how long a PIN may be, and usbkeyd compares PIN policies with that")
	case !ok:
		r.report.add(Unfit, "PIN lengths", "the token takes PINs of %d to %d bytes; usbkeyd makes none shorter than %d or longer than %d", i.MinPINLen, i.MaxPINLen, shortestPIN, longestPIN)
	case n != defaultSOPIN:
		r.report.add(Note, "PIN lengths", "the token takes PINs of %d to %d bytes, so SO PINs have %d", i.MinPINLen, i.MaxPINLen, n)
	default:
		r.report.add(OK, "PIN lengths", "%d to %d bytes", i.MinPINLen, i.MaxPINLen)
	}
}

// listMechanisms asks which of our algorithms the token claims.
func (r *run) listMechanisms(ctx context.Context) {
	err := r.as(ctx, nobody, func(t pkcs11.Token) (err error) {
		r.mechanisms, err = t.Mechanisms(ctx)
		return err
	})
	if err != nil {
		r.fault(Unfit, "mechanisms", err)
		return
	}
	var claimed []string
	hardware := false
	for _, a := range pkcs11.Algorithms() {
		entry := Algorithm{Name: a.Name, Omit: []string{}, Claimed: claims(r.mechanisms, a)}
		r.report.Algorithms = append(r.report.Algorithms, entry)
		if entry.Claimed {
			claimed = append(claimed, a.Name)
			hardware = hardware || mechanism(r.mechanisms, a.Generate).Flags.Has(pkcs11.FlagHardware)
		}
	}
	if len(claimed) == 0 {
		r.report.add(Unfit, "mechanisms", "of %d mechanisms none make and use a key that usbkeyd knows", len(r.mechanisms))
		return
	}
	r.report.add(OK, "mechanisms", "of %d mechanisms usbkeyd can use those for %s", len(r.mechanisms), strings.Join(claimed, ", "))
	if !hardware {
		r.report.add(Note, "mechanisms", "keys are not said to be made in hardware (CKF_HW)")
	}
}

// mechanism is the zero value for one that is not listed.
func mechanism(all []pkcs11.MechanismInfo, m pkcs11.Mechanism) pkcs11.MechanismInfo {
	i := slices.IndexFunc(all, func(i pkcs11.MechanismInfo) bool { return i.Mechanism == m })
	if i < 0 {
		return pkcs11.MechanismInfo{}
	}
	return all[i]
}

// claims reports whether a token lists what an algorithm needs, for its size.
func claims(all []pkcs11.MechanismInfo, a pkcs11.Algorithm) bool {
	generate, sign := mechanism(all, a.Generate), mechanism(all, a.Sign)
	return generate.Flags.Has(pkcs11.FlagGenerateKeyPair) && sign.Flags.Has(pkcs11.FlagSign) &&
		reaches(generate, keyBits(a)) && reaches(sign, keyBits(a))
}

// reaches compares a size in bits with what a mechanism takes, in bits or, on some
// modules, in bytes. Nothing is said where both bounds are 0.
func reaches(m pkcs11.MechanismInfo, bits uint) bool {
	const mostBytes = 1024 // 8192 bits; an upper bound of so few bits would take no key of ours
	low, high := m.MinKeySize, m.MaxKeySize
	if m.Mechanism == pkcs11.MechanismRSAPKCSKeyPairGen || m.Mechanism == pkcs11.MechanismRSAPKCS {
		if high > 0 && high <= mostBytes {
			low, high = low*8, high*8
		}
	}
	return low <= bits && (high == 0 || bits <= high)
}

func keyBits(a pkcs11.Algorithm) uint {
	switch {
	case a.ModulusBits > 0:
		return uint(a.ModulusBits)
	case a.Name == "ec-p384":
		return 384
	}
	return 256
}

// speed measures the calls that the daemon makes most.
func (r *run) speed(ctx context.Context) {
	r.Say("measuring")
	r.measure("C_GetSlotList and every token's info", func() error { _, err := r.slots(ctx); return err })
	r.measure("C_GetTokenInfo", func() error { _, err := r.info(ctx); return err })
	r.measure("opening the token", func() error {
		if r.token != nil {
			_, _ = r.timed(kindCall, r.token.Close) // told by the next open if it matters
			r.token, r.login = nil, nobody
		}
		return r.needToken(ctx, nobody)
	})
	r.measure("C_GetMechanismList with each one's info", func() error {
		return r.as(ctx, nobody, func(t pkcs11.Token) error { _, err := t.Mechanisms(ctx); return err })
	})
}

func (r *run) measure(what string, call func() error) {
	var took []time.Duration
	for range r.Repeat {
		begun := time.Now()
		if err := call(); err != nil {
			r.fault(Unfit, "speed", fmt.Errorf("%s: %w", what, err))
			return
		}
		took = append(took, time.Since(begun))
	}
	t := newTiming(what, took)
	r.report.Timings = append(r.report.Timings, t)
	const slow = 2.0 // seconds; the watcher looks twice a second
	if t.Median > slow {
		r.report.add(Note, "speed", "%s takes %.1f s, so tokens are seen late", what, t.Median)
	}
}

// twoProcesses asks whether a second process can use the module beside the first.
func (r *run) twoProcesses(ctx context.Context) {
	here, err := r.slots(ctx)
	if err != nil {
		r.fault(Unfit, "two processes", err)
		return
	}
	second := bench{start: r.Start}
	defer second.drop()
	there, err := second.slots(ctx)
	r.alone = true
	switch {
	case r.stopped():
	case err != nil:
		r.report.add(Note, "two processes", "a second process cannot use the module beside the first: %s; leave tokens: 1 in modules", blame(err))
	case !slices.Equal(names(here), names(there)):
		r.report.add(Note, "two processes", "two processes do not see the same tokens: %d and %d", len(names(here)), len(names(there)))
	default:
		r.alone = false
		r.report.add(OK, "two processes", "two processes can use the module at the same time")
	}
}

func names(slots []pkcs11.Slot) (out []string) {
	for _, s := range slots {
		if s.Token != nil {
			out = append(out, s.Description+"\x00"+string(s.Token.Serial))
		}
	}
	slices.Sort(out)
	return out
}

// again asks whether the module can be initialised a second time in one process. A
// process that is asked for a token that is not there does just that.
func (r *run) again(ctx context.Context) {
	if r.token != nil {
		r.drop() // with a token open it would not
	}
	err := r.needModule(ctx)
	if err == nil {
		_, err = r.timed(kindInit, func() error {
			_, err := r.module.Open(ctx, pkcs11.Identity{Serial: nowhere()})
			return err
		})
	}
	if errors.Is(err, pkcs11.ErrNotFound) {
		_, err = r.slots(ctx)
	}
	switch {
	case r.stopped():
	case err != nil:
		r.drop()
		r.report.add(Note, "again", "the module cannot be initialised a second time in one process: %s; usbkeyd then starts another process", blame(err))
	default:
		r.report.add(OK, "again", "the module can be finalised and initialised again in one process")
	}
}

// nowhere is a serial that no token has.
func nowhere() pkcs11.TokenSerial {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return pkcs11.TokenSerial(hex.EncodeToString(b[:]))
}
