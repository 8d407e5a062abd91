package qualify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// ErrRefused is the kind of every refusal to write a token: nothing was written.
var ErrRefused = errors.New("the token is not written")

// Options say what is looked at.
type Options struct {
	// Start starts a module of its own, in a process of its own, and initialises it.
	Start func(context.Context) (pkcs11.Module, error)
	// Say tells a person what goes on.
	Say func(format string, args ...any)
	// Repeat is how often quick calls are measured, 5 when 0.
	Repeat int
	// HotPlug asks the person to pull and insert the token, each within this time;
	// 0 does not.
	HotPlug time.Duration
	// Write is nil when the token is only read.
	Write *Write
}

// Write has a token written; everything on it is destroyed.
type Write struct {
	// Token is its serial, or the description of its slot.
	Token string
	// FactorySO and FactoryUser are the PINs that it came with, if it came with any.
	// Their files stand in the profile.
	FactorySO                            pkcs11.SOPIN
	FactoryUser                          pkcs11.UserPIN
	FactorySOPINFile, FactoryUserPINFile string
	// Keep makes durable that the token's SO PIN is one of these, and replaces what
	// was kept before. Forget is called when nothing that was kept is needed any
	// more. KeptIn says where, for people.
	Keep   func(...pkcs11.SOPIN) error
	Forget func() error
	KeptIn string
	// Algorithms are those to be tried if the token claims them; all when nil.
	Algorithms []pkcs11.Algorithm
	// KeyGenerations is how many keys of each are made, 3 when 0.
	KeyGenerations int
	// PINTry spends one try of the user PIN to see what the token shows of it.
	PINTry bool
}

// run is one qualification.
type run struct {
	bench
	Options
	report *Report
	stop   context.Context // ends when a person stops the run; calls that write are not cut off by it

	slot       pkcs11.Slot // the token's, as it was found
	mechanisms []pkcs11.MechanismInfo
	alone      bool // a second process cannot use the module
	profile    Profile
	makers     []string // what the token showed as manufacturer and model
	models     []string
}

// Run looks at a module. It returns what was found out up to an error: the module
// cannot be loaded (pkcs11.ErrModuleUnusable), the token may not be written
// (ErrRefused), or ctx has ended. What a module or token does wrong is a finding.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.Repeat = cmp.Or(o.Repeat, 5)
	r := &run{
		bench: bench{start: o.Start}, Options: o, stop: ctx,
		report:  &Report{Tokens: []Token{}, Findings: []Finding{}, Timings: []Timing{}, Algorithms: []Algorithm{}},
		profile: Profile{Identity: identitySerial, UserPIN: userPINInit, KeyLogin: keyLoginUser},
	}
	defer r.drop()
	err := r.all(ctx)
	r.report.judge()
	if err == nil && r.report.Fit {
		r.conclude()
	}
	return r.report, err
}

func (r *run) all(ctx context.Context) error {
	slots, listed, err := r.first(ctx)
	if err != nil || !listed {
		return err
	}
	if err := r.choose(slots); err != nil {
		return err
	}
	if r.slot.Token == nil {
		r.report.add(Unfit, "slots", "no token is plugged in, so nothing can be said of one")
		return nil
	}
	admitted := false
	if r.Write != nil {
		if admitted, err = r.admit(ctx); err != nil {
			return err
		}
	}
	for _, probe := range []func(context.Context){r.serials, r.flags, r.listMechanisms, r.speed, r.twoProcesses, r.again, r.hotPlug} {
		if r.stopped() {
			break
		}
		probe(ctx)
	}
	if admitted && !r.stopped() {
		if err := r.write(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// stopped reports whether a person has stopped the run: what a call says then is
// no finding.
func (r *run) stopped() bool { return r.stop.Err() != nil }

// first starts the module for the first time and lists its slots; false when a
// finding says why that cannot be.
func (r *run) first(ctx context.Context) ([]pkcs11.Slot, bool, error) {
	r.Say("starting the module")
	if err := r.startTimes(ctx); err != nil {
		return nil, false, err
	}
	if r.module == nil {
		return nil, false, nil
	}
	info, err := r.module.Info(ctx)
	if err != nil {
		r.fault(Unfit, "module", err)
		r.drop()
	}
	r.report.Module = Module(info)
	slots, err := r.slots(ctx)
	if err != nil {
		r.fault(Unfit, "slots", err)
		return nil, false, ctx.Err()
	}
	r.describe(slots)
	return slots, true, nil
}

// startTimes measures a start of the module, and leaves it started.
func (r *run) startTimes(ctx context.Context) error {
	const starts = 3
	var took []time.Duration
	for range starts {
		r.drop()
		begun := time.Now()
		err := r.needModule(ctx)
		switch {
		case errors.Is(err, pkcs11.ErrModuleUnusable), ctx.Err() != nil:
			return cmp.Or(ctx.Err(), err)
		case err != nil:
			r.report.add(Unfit, "start", "the module does not start: %s", blame(err))
			return nil
		}
		took = append(took, time.Since(begun))
	}
	r.report.Timings = append(r.report.Timings, newTiming("start of a process with C_Initialize", took))
	return nil
}

// fault makes a finding of what a call did wrong, unless it was stopped by a person.
func (r *run) fault(s Severity, probe string, err error) {
	if !r.stopped() {
		r.report.add(s, probe, "%s", blame(err))
	}
}

// choose picks the token to look at closely: the one to be written, else an
// initialised one, else the first.
func (r *run) choose(slots []pkcs11.Slot) error {
	var chosen []pkcs11.Slot
	for _, s := range slots {
		switch {
		case s.Token == nil:
		case r.Write != nil:
			if string(s.Token.Serial) == r.Write.Token || s.Description == r.Write.Token {
				chosen = append(chosen, s)
			}
		case len(chosen) == 0:
			chosen = append(chosen, s)
		case s.Token.Initialized() && !chosen[0].Token.Initialized():
			chosen[0] = s
		}
	}
	switch {
	case r.Write != nil && len(chosen) == 0:
		return fmt.Errorf("%w: no token has the serial or is in the slot %q; run without --write-token to see which there are: %w", ErrRefused, r.Write.Token, pkcs11.ErrNotFound)
	case len(chosen) > 1:
		return fmt.Errorf("%w: %d tokens have the serial or are in slots with the description %q; unplug the others: %w", ErrRefused, len(chosen), r.Write.Token, pkcs11.ErrAmbiguous)
	case len(chosen) == 1:
		r.slot = chosen[0]
		r.id = identify(r.slot, slots)
		r.report.Subject = r.id.String()
	}
	return nil
}

// identify names a token so that no other token of the module is meant, if possible.
func identify(s pkcs11.Slot, all []pkcs11.Slot) pkcs11.Identity {
	id := s.Identity()
	same := 0
	for _, other := range all {
		if other.Is(id) {
			same++
		}
	}
	if same > 1 {
		id.SlotDescription = s.Description
	}
	return id
}

// conclude makes the profile of what is fit.
func (r *run) conclude() {
	p := r.profile
	info := r.slot.Token
	p.Name = profileName(info.Model)
	p.Manufacturer = pattern(maxMaker, append([]string{info.Manufacturer}, r.makers...)...)
	p.Model = pattern(maxModel, append([]string{info.Model}, r.models...)...)
	p.SOPINLength, _ = soPINLength(info.MinPINLen, info.MaxPINLen)
	p.KeyGeneration = deadline(r.slowest[kindKeyGeneration], keyGenerationFactor, leastKeyGeneration, mostKeyGeneration)
	p.Init = deadline(r.slowest[kindInit], initFactor, leastInit, mostInit)
	p.Call = deadline(r.slowest[kindCall], callFactor, leastCall, mostCall)
	if r.Write != nil {
		p.FactorySOPINFile = r.Write.FactorySOPINFile
		if p.UserPIN == userPINChange {
			p.FactoryUserPINFile = r.Write.FactoryUserPINFile
		}
	}
	r.report.Profile, r.report.ProfileYAML = &p, p.YAML()
}
