package store

import "fmt"

// Reason says why the store will not do something that it understood.
type Reason string

// Reasons.
const (
	NotFound         Reason = "not found"
	NotYours         Reason = "belongs to another station"
	SessionUnknown   Reason = "session unknown"
	SessionConflict  Reason = "another session lives"
	ClaimKeyReused   Reason = "idempotency key reused with another request"
	StaleEpoch       Reason = "stale epoch"
	WrongState       Reason = "unit is in another state"
	EscrowConflict   Reason = "escrow conflict"
	CSRConflict      Reason = "another request is bound"
	KeyReused        Reason = "public key was bound before"
	ResultConflict   Reason = "another result was reported"
	ResultMismatch   Reason = "result does not match what was bound and issued"
	OrderConflict    Reason = "order is known with other content"
	Busy             Reason = "another server is at it"
	StationConflict  Reason = "station is known with another key"
	UnitCancelled    Reason = "unit is cancelled"
	ProofInvalid     Reason = "proof does not fit what is bound"
	ShipmentConflict Reason = "another shipment was reported"
	SamePerson       Reason = "a second person must do it"
	RecordForked     Reason = "record is forked"
	NotAnchored      Reason = "unit is not on record here"
	TokenUnknown     Reason = "join token is unknown"
	TokenUsed        Reason = "join token was used"
	TokenExpired     Reason = "join token has expired"
)

// Refusal is an answer of the store's rules, as opposed to a failure.
type Refusal struct {
	Reason Reason
	// Detail is one sentence for people. It holds no name of a person and no secret.
	Detail string
	// CurrentEpoch is the unit's epoch, with StaleEpoch.
	CurrentEpoch int64
	// Fields are the wrong fields of the request, with ResultMismatch.
	Fields []Field
}

// Field is a wrong field by its name, or its path, in the request.
type Field struct{ Name, Detail string }

// Error implements error.
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Reason)
	}
	return string(r.Reason) + ": " + r.Detail
}

func refuse(reason Reason, format string, args ...any) error {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
