package ca

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrUnsupported says that this kind of CA cannot do what it was asked for.
	ErrUnsupported = errors.New("this CA cannot do that")
	// ErrUnknownCertificate says that the CA did not issue such a certificate.
	ErrUnknownCertificate = errors.New("the CA did not issue this certificate")
	// ErrBadReason says that a certificate is not revoked for good for such a reason.
	ErrBadReason = errors.New("not a reason to revoke a certificate")
)

// RefusedError says that the CA will never issue for this request.
type RefusedError struct{ Reason string }

// Error implements error.
func (e *RefusedError) Error() string { return fmt.Sprintf("the CA refused the request: %s", e.Reason) }

// PendingError says that there is no certificate yet, for certain, and that the
// same request may go to the CA again: it still decides, or it never got the
// request (not reached, not logged in, too busy).
type PendingError struct {
	Reason string
	// After is the time to wait, as the CA asked for; zero if it did not say.
	After time.Duration
}

// Error implements error.
func (e *PendingError) Error() string { return fmt.Sprintf("no certificate yet: %s", e.Reason) }

// TwiceError says that the CA made more than one certificate for one request. A
// person keeps one and revokes the others.
type TwiceError struct{ Serials []string }

// Error implements error.
func (e *TwiceError) Error() string {
	return fmt.Sprintf("the CA issued more than once for one request: certificate serials %s; keep one, revoke the others", strings.Join(e.Serials, ", "))
}
