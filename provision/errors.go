package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/keycheck"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Class says what follows from a failed step.
type Class string

// Classes.
const (
	ClassRetry    Class = "retry"    // the same again, by itself, later
	ClassOperator Class = "operator" // parked until a person has put something right
	ClassTerminal Class = "terminal" // this job is over
)

// Sentinel is a constant error of this package.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// What Central returns, beside errors of its own that are retried.
const (
	// ErrLeaseLost: the unit is not ours any more under this epoch. Nothing more is written to the token.
	ErrLeaseLost Sentinel = "the lease on the unit is lost"
	// ErrCancelled: the order was withdrawn.
	ErrCancelled Sentinel = "the order was cancelled"
	// ErrNotBound comes with ErrLeaseLost or ErrRefused when the answer also says that
	// this request has bound nothing.
	ErrNotBound Sentinel = "nothing was bound"
	// ErrRefused: the central server will never accept this request.
	ErrRefused Sentinel = "refused by the central server"
)

// What steps return.
const (
	ErrNotBlank           Sentinel = "the token is not blank"
	ErrNotDelivered       Sentinel = "the token is not on the list of delivered tokens"
	ErrFactorySOPIN       Sentinel = "the factory SO PIN does not open the token"
	ErrFactoryUserPIN     Sentinel = "the factory user PIN does not open"
	ErrNotAttested        Sentinel = "the token's maker does not vouch for the key"
	ErrFactoryTried       Sentinel = "a factory PIN was tried before, and how that ended is not known"
	ErrUnexpected         Sentinel = "the token holds something that this job did not put there"
	ErrKeyUnfit           Sentinel = "the generated key is not as ordered"
	ErrRefusedCertificate Sentinel = "the CA's answer does not fit the order"
	ErrNotWiped           Sentinel = "the token is not empty after it was wiped"
	ErrReadBack           Sentinel = "what was read back is not what was written"
	ErrProfileMisfit      Sentinel = "the profile does not fit the token"
	ErrLeaseTooShort      Sentinel = "too little of the lease is left to begin"
	ErrJournal            Sentinel = "the journal cannot be written"
	ErrSecretLost         Sentinel = "a secret in the journal cannot be opened"
	ErrTokenIdentity      Sentinel = "the token cannot be told from others"
)

// StepError is why a job stopped at a step.
type StepError struct {
	Step  StepName
	Class Class
	// Waiting says what a parked job waits for.
	Waiting Waiting
	// Hint is the next action, in words, for the operator.
	Hint string
	Err  error
}

// Error implements error.
func (e *StepError) Error() string { return fmt.Sprintf("%s: %v", e.Step, e.Err) }

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }

// classify is the one place where a cause becomes a class and a hint.
func classify(at Step, err error) *StepError {
	step := at.Name
	var done *StepError
	if errors.As(err, &done) {
		return done
	}
	for _, r := range rules() {
		if errors.Is(err, r.is) {
			return &StepError{Step: step, Class: r.class, Waiting: r.waiting, Hint: r.hint, Err: err}
		}
	}
	var device *pkcs11.Error
	switch {
	case at.Network:
		return &StepError{Step: step, Class: ClassRetry, Waiting: WaitingNetwork, Hint: hintByItself, Err: err}
	case errors.As(err, &device):
		return &StepError{Step: step, Class: ClassOperator, Waiting: WaitingToken, Hint: hintReseat, Err: err}
	}
	// What nobody foresaw is tried a few times, then it waits for a person.
	return &StepError{Step: step, Class: ClassRetry, Waiting: WaitingPerson, Hint: hintShow, Err: err}
}

// Hints that stand outside the table, or more than once in it.
const (
	hintByItself = "The job is tried again by itself."
	hintReseat   = "Take the token out and put it back."
	hintShow     = "Show the reason to whoever runs the station."
	hintWiped    = "Put the token aside: it is empty, and opens only with the SO PIN in escrow."
)

// rule is what follows from a cause.
type rule struct {
	is      error
	class   Class
	waiting Waiting
	hint    string
}

// rules are tried in this order.
func rules() []rule {
	return []rule{
		{context.Canceled, ClassRetry, WaitingNothing, "The job goes on when the service runs again."},
		{ErrJournal, ClassRetry, WaitingPerson, "Make room on the disk that holds the state folder; the job then goes on by itself."},
		{ErrSecretLost, ClassTerminal, WaitingNothing, "The journal key was replaced or damaged. Ask the recovery officer for the SO PIN, wipe the token, then return it to stock."},
		{ErrLeaseLost, ClassOperator, WaitingLease, "The unit went back to the queue. The job goes on if this station gets the unit again."},
		{ErrLeaseTooShort, ClassRetry, WaitingNetwork, "The job goes on once the lease is renewed."},
		{ErrCancelled, ClassTerminal, WaitingNothing, "Put the token aside: no key was made on it, but it opens only with the SO PIN in escrow."},
		{ErrRefused, ClassTerminal, WaitingNothing, "Show the reason to whoever runs the central server. Put the token aside."},
		{ErrNotBlank, ClassTerminal, WaitingNothing, "Take the token out: it has been used before. Wipe it only with an approval."},
		{ErrNotDelivered, ClassTerminal, WaitingNothing, "Take the token out. If it came with a delivery, take in the supplier's list with usbkeyd stock import; if not, find out where it is from."},
		{ErrFactorySOPIN, ClassTerminal, WaitingNothing, "Stop using this lot of tokens and ask the supplier for its factory SO PIN."},
		{ErrFactoryTried, ClassTerminal, WaitingNothing, "Put the token aside: another try could lock it. Its unit is written on another one."},
		{ErrFactoryUserPIN, ClassTerminal, WaitingNothing, "Put the token aside: its user PIN is not the factory's, so it has been used before."},
		{ErrNotAttested, ClassTerminal, WaitingNothing, "Put the token aside: nothing proves that its key was made on it. Check the attestation roots in the token profile."},
		{ErrUnexpected, ClassTerminal, WaitingNothing, "Put the token aside for inspection."},
		{keycheck.ErrSharedFactor, ClassTerminal, WaitingNothing, "Stop this lot of tokens. The keys named in the reason are broken too: have their certificates revoked."},
		{keycheck.ErrDuplicate, ClassTerminal, WaitingNothing, "Stop this lot of tokens: they make the same key twice. Have the certificate of the key named in the reason revoked."},
		{ErrKeyUnfit, ClassTerminal, WaitingNothing, "Put the token aside: this token model does not make the key that was ordered."},
		{ErrNotWiped, ClassTerminal, WaitingNothing, "Destroy the token, or have the recovery officer wipe it: its key must never be used."},
		{ErrReadBack, ClassTerminal, WaitingNothing, "Put the token aside: it does not keep what is written to it."},
		{ErrProfileMisfit, ClassTerminal, WaitingNothing, "Correct the product or token profile in the configuration."},
		{ErrTokenIdentity, ClassTerminal, WaitingNothing, "Put the token aside: the module gives it no usable serial number."},
		{ErrRefusedCertificate, ClassTerminal, WaitingNothing, "The CA's answer was not written to the token. Put the token aside and show the reason to the CA."},
		{csr.ErrBadOrder, ClassTerminal, WaitingNothing, "The order does not fit the product's certificate profile. Show the reason to whoever approved the order."},
		{pkcs11.ErrTokenReplaced, ClassOperator, WaitingToken, "Another token is in its place. Put the right token back."},
		{pkcs11.ErrTokenRemoved, ClassOperator, WaitingToken, "Put the token back."},
		{pkcs11.ErrAmbiguous, ClassOperator, WaitingToken, "Two tokens show the same serial number. Take one of them out."},
		{pkcs11.ErrNotFound, ClassOperator, WaitingToken, "Put the token back."},
		{pkcs11.ErrModuleCrashed, ClassRetry, WaitingToken, "The token's library crashed. The job is tried again by itself."},
		{pkcs11.ErrModuleHung, ClassRetry, WaitingToken, "The token's library did not answer. The job is tried again by itself."},
		{pkcs11.ErrNotLoggedIn, ClassRetry, WaitingToken, "Another program has disturbed the token. The job is tried again by itself."},
		{pkcs11.ErrPINIncorrect, ClassTerminal, WaitingNothing, "The token does not take the PIN that was set on it. Put it aside; do not try other PINs."},
		{pkcs11.ErrPINLocked, ClassTerminal, WaitingNothing, "The token's PIN is locked. Put it aside."},
		{pkcs11.ErrPINLastTry, ClassTerminal, WaitingNothing, "Only one PIN try is left on the token. Put it aside."},
		{pkcs11.ErrPINInvalid, ClassTerminal, WaitingNothing, "Correct the PIN length and alphabet in the profile: the token does not take such a PIN."},
		{pkcs11.ErrPINPad, ClassTerminal, WaitingNothing, "Tokens with a PIN pad cannot be written unattended. Use another token."},
		{pkcs11.ErrTemplateRefused, ClassTerminal, WaitingNothing, "Add the refused attributes to omitAttributes in the token profile."},
		{pkcs11.ErrUnsupported, ClassTerminal, WaitingNothing, "This token model cannot do what the product asks for. Use another model."},
		{pkcs11.ErrTokenFull, ClassTerminal, WaitingNothing, "The token's memory is full. Put it aside."},
		{pkcs11.ErrWriteProtected, ClassTerminal, WaitingNothing, "The token is write-protected. Use another token."},
		{pkcs11.ErrModuleUnusable, ClassOperator, WaitingPerson, "Correct the module's path in the configuration."},
		{pkcs11.ErrDevice, ClassOperator, WaitingToken, hintReseat},
		{pkcs11.ErrGeneral, ClassOperator, WaitingToken, hintReseat},
	}
}

// Hints are all that a StepError of this package may say a person does next, so that whoever
// shows them in another language can know them all.
func Hints() []string {
	out := []string{hintByItself, hintReseat, hintShow, hintWiped}
	for _, r := range rules() {
		if !slices.Contains(out, r.hint) {
			out = append(out, r.hint)
		}
	}
	return out
}
