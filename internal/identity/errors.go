package identity

import (
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// Sentinel is a constant error of this package.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// What may be wrong with a TPM. All errors of a TPM that a person has to do something
// about are one of these.
const (
	// ErrAbsent: the device or socket cannot be opened.
	ErrAbsent Sentinel = "there is no TPM that can be opened"
	// ErrBusy: another program, or another call in this one, holds it; or it tests itself.
	ErrBusy Sentinel = "the TPM is busy"
	// ErrSlow: it has not answered a command within the deadline. The connection is given up.
	ErrSlow Sentinel = "the TPM does not answer"
	// ErrDied: the connection ended in the middle of a command. The next call opens it again.
	ErrDied Sentinel = "the TPM went away in the middle of a command"
	// ErrLockedOut: too many wrong authorisations; it opens again by itself, or by its owner.
	ErrLockedOut Sentinel = "the TPM is locked out after wrong authorisations"
	// ErrOwned: the owner hierarchy has a password.
	ErrOwned Sentinel = "the TPM belongs to another owner: its owner hierarchy has a password"
	// ErrCleared: what was made by a TPM does not load into this one.
	ErrCleared Sentinel = "this TPM did not make the key, or it was cleared since"
	// ErrPCRs: the machine was started by other firmware or settings than when the secret was sealed.
	ErrPCRs Sentinel = "the machine's measured start (PCRs) is not the one that the secret was sealed to"
	// ErrDamaged: kept bytes are not what this package wrote.
	ErrDamaged Sentinel = "what was kept of the TPM's keys is damaged"
)

// classify is the one place where a TPM's response code becomes an error of this package.
func classify(what string, err error) error {
	if err == nil {
		return nil
	}
	class := func(s Sentinel) error { return fmt.Errorf("%s: %w: %w", what, s, err) }
	is := func(codes ...tpm2.TPMRC) bool {
		for _, c := range codes {
			if errors.Is(err, c) {
				return true
			}
		}
		return false
	}
	switch {
	case is(tpm2.TPMRCLockout):
		return class(ErrLockedOut)
	case is(tpm2.TPMRCRetry, tpm2.TPMRCTesting, tpm2.TPMRCYielded, tpm2.TPMRCNVRate):
		return class(ErrBusy)
	case is(tpm2.TPMRCIntegrity):
		return class(ErrCleared)
	case is(tpm2.TPMRCAuthFail, tpm2.TPMRCBadAuth):
		return class(ErrOwned)
	case is(tpm2.TPMRCPolicyFail, tpm2.TPMRCValue) && what == doUnseal, is(tpm2.TPMRCPCRChanged):
		return class(ErrPCRs)
	}
	return fmt.Errorf("%s: %w", what, err)
}
