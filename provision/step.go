package provision

import "context"

// StepName names a step. Names are journalled and shown, so they never change meaning.
type StepName string

// The steps of an initial key, in their order.
const (
	StepIdentify    StepName = "identify"
	StepCheckBlank  StepName = "check-blank"
	StepPrepare     StepName = "prepare"
	StepEscrowSOPIN StepName = "escrow-so-pin"
	StepInitialise  StepName = "initialise"
	StepSetSOPIN    StepName = "set-so-pin"
	StepNameEscrow  StepName = "name-escrow"
	StepSetUserPIN  StepName = "set-user-pin"
	StepGenerateKey StepName = "generate-key"
	StepCheckKey    StepName = "check-key"
	StepBuildCSR    StepName = "build-csr"
	StepBindCSR     StepName = "bind-csr"
	StepCollect     StepName = "collect-certificate"
	StepCheckCert   StepName = "check-certificate"
	StepInstall     StepName = "install-certificate"
	StepReadBack    StepName = "read-back"
	StepSetFirstPIN StepName = "set-first-pin"
	StepFinish      StepName = "finish"
)

// The steps of a job whose order was cancelled when there may have been a key on its token.
const (
	StepWipe       StepName = "wipe"
	StepProveWiped StepName = "prove-wiped"
)

// Effect says what a step does to the world.
type Effect string

// Effects.
const (
	// EffectReads changes nothing outside the process; such a step is simply done again.
	EffectReads Effect = "reads only"
	// EffectRepeatable may be done twice with the same outcome.
	EffectRepeatable Effect = "repeatable"
	// EffectIrreversible must never be repeated blindly: after a crash its Observe asks the token first.
	EffectIrreversible Effect = "irreversible"
)

// Observed is what the token says about a step whose intent is journalled.
type Observed int

// Observations.
const (
	NotDone Observed = iota
	Done
)

// Step is one named step of a job.
type Step struct {
	Name   StepName
	Effect Effect
	// WritesToken says that Run changes the token, so that the lease is looked at first.
	WritesToken bool
	// Network says that Run talks to the central server and touches no token: only
	// such a step is broken off by a stop; a call into a module always ends by itself.
	Network bool
	// when says whether the step is needed at all; nil means always.
	when func(Facts) bool
	// observe asks the token whether Run has happened; nil means that Run is simply done again.
	observe func(context.Context, *run) (Observed, error)
	// run does it; verify reads back whether it holds, and may be nil.
	run    func(context.Context, *run) error
	verify func(context.Context, *run) error
}

// Plan returns the steps of a job, in order. It is a pure function of the job's
// kind, so the plan can be printed before anything is touched.
func Plan(job Job) []Step {
	switch job.Kind {
	case KindInitial:
		return []Step{
			{Name: StepIdentify, Effect: EffectReads, run: identify},
			{Name: StepCheckBlank, Effect: EffectReads, run: checkBlank},
			{Name: StepPrepare, Effect: EffectReads, run: prepare},
			{Name: StepEscrowSOPIN, Effect: EffectRepeatable, Network: true, run: escrowSOPIN},
			{Name: StepInitialise, Effect: EffectIrreversible, WritesToken: true, when: isInitialised, observe: observeInitialise, run: initialise, verify: verifyInitialise},
			{Name: StepSetSOPIN, Effect: EffectIrreversible, WritesToken: true, when: hasFactoryPIN, observe: observeSetSOPIN, run: setSOPIN, verify: verifySOPIN},
			{Name: StepNameEscrow, Effect: EffectRepeatable, Network: true, run: nameEscrow},
			{Name: StepSetUserPIN, Effect: EffectRepeatable, WritesToken: true, observe: observeSetUserPIN, run: setUserPIN},
			{Name: StepGenerateKey, Effect: EffectIrreversible, WritesToken: true, observe: observeGenerateKey, run: generateKey},
			{Name: StepCheckKey, Effect: EffectReads, run: checkKey},
			{Name: StepBuildCSR, Effect: EffectReads, run: buildCSR},
			{Name: StepBindCSR, Effect: EffectRepeatable, Network: true, run: bindCSR},
			{Name: StepCollect, Effect: EffectReads, Network: true, run: collectCertificate},
			{Name: StepCheckCert, Effect: EffectReads, run: checkCertificate},
			{Name: StepInstall, Effect: EffectIrreversible, WritesToken: true, observe: observeInstall, run: install},
			{Name: StepReadBack, Effect: EffectReads, run: readBack},
			{Name: StepSetFirstPIN, Effect: EffectIrreversible, WritesToken: true, when: changesAtFirstUse, run: setFirstPIN, verify: verifyFirstPIN},
			{Name: StepFinish, Effect: EffectReads, run: finish},
		}
	default:
		return nil
	}
}

// Weight is how much of the work the first steps of a job are: next to the key
// generation all the others together are quickly done.
func Weight(job Job, steps int) int {
	const keyGeneration = 30
	n := steps
	for i, s := range Plan(job) {
		if s.Name == StepGenerateKey && i < steps {
			n += keyGeneration
		}
	}
	return n
}
