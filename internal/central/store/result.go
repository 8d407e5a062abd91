package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Outcomes of a bound unit that mean something to its life.
const OutcomeInstalled = "installed"

// Result is what a station reports of a bound unit. Absent fields are empty.
type Result struct {
	UnitID            string
	Generation        int32
	Epoch             int64
	Station           string
	Outcome           string
	Reason            string
	TokenSerial       string
	TokenLabel        string
	KeyID             string
	CertificateSerial string
	CertificateSHA256 string
	EscrowID          string
	SealedUserPIN     []byte
	UserPINRecipients []string
	// PINDelivery is how the user PIN gets to the token's holder; "" for sealed, as in
	// results that were written before there was anything else.
	PINDelivery string `json:",omitempty"`
	Seconds     *float64
}

// digest is over everything but the epoch: the same fact told again after the
// epoch moved on is the same fact.
func (r Result) digest() (string, error) {
	r.Epoch = 0
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("digest of result: %w", err)
	}
	return hexSum(text), nil
}

// PutResult takes a result. A late one on an old epoch is taken when generation,
// token and certificate match, because it is a fact and not a claim; an identical
// repeat changes nothing; a different one is ResultConflict.
func (s *Store) PutResult(ctx context.Context, r Result) (u Unit, err error) {
	sum, err := r.digest()
	if err != nil {
		return Unit{}, err
	}
	err = s.write(ctx, "take the result of unit "+r.UnitID, func(t *txn) error {
		unit, binding := t.askUnit(ctx, r.UnitID), t.askBinding(ctx, r.UnitID, r.Generation)
		told := t.Ask(ctx, `SELECT content_sha256 FROM results WHERE unit_id = $1 AND generation = $2`, r.UnitID, r.Generation)
		if u, err = unit(); err != nil {
			return err
		}
		b, bound, err := binding()
		if err != nil {
			return err
		}
		late, floor, err := t.late(ctx, u, b, bound, r)
		if err != nil {
			return err
		}
		if late {
			u, err = t.keepLate(ctx, u, r, sum, floor)
			return err
		}
		if err := reportable(u, b, bound, r); err != nil {
			return err
		}
		recipients, err := json.Marshal(r.UserPINRecipients)
		if err != nil {
			return fmt.Errorf("write result: %w", err)
		}
		again, err := repeated(told, r, sum)
		if err != nil || again {
			return err
		}
		err = t.One(ctx, "write result",
			`INSERT INTO results (unit_id, generation, epoch, content_sha256, outcome, reason, token_label, sealed_user_pin, recipients, seconds, created_at, pin_delivery)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
			r.UnitID, r.Generation, r.Epoch, sum, r.Outcome, r.Reason, r.TokenLabel, r.SealedUserPIN, string(recipients), r.Seconds, t.now(), r.PINDelivery)
		if err != nil {
			return err
		}
		if fields := mismatches(b, r); len(fields) > 0 {
			return &Refusal{Reason: ResultMismatch, Fields: fields}
		}
		if b.Certificate != nil && u.Generation == r.Generation {
			u.told = &serials{b.TokenSerial, b.Certificate.Serial}
		}
		u, err = t.applyResult(ctx, u, r)
		return err
	})
	return u, err
}

// reportable checks who reports, and that there is something to report on.
func reportable(u Unit, b Binding, bound bool, r Result) error {
	switch {
	case !bound:
		if err := u.held(r.Station, r.Epoch); err != nil {
			return err
		}
		return refuse(WrongState, "no request is bound to generation %d of unit %s; release it instead", r.Generation, r.UnitID)
	case b.Station != r.Station:
		return refuse(NotYours, "unit %s was bound by another station", r.UnitID)
	case r.Epoch > u.Epoch:
		return &Refusal{Reason: StaleEpoch, CurrentEpoch: u.Epoch,
			Detail: fmt.Sprintf("unit %s has never been at epoch %d", r.UnitID, r.Epoch)}
	}
	return nil
}

// repeated says whether a result is the one that was told before, and refuses another one.
// Nobody else tells one meanwhile: its unit is locked.
func repeated(told rowScanner, r Result, sum string) (bool, error) {
	var known string
	err := told.Scan(&known)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read result: %w", err)
	case known != sum:
		return false, refuse(ResultConflict, "another result of generation %d of unit %s was reported before", r.Generation, r.UnitID)
	}
	return true, nil
}

// mismatches compares a result with what was bound and issued. An installed unit
// must say all of it; a failed one must not contradict it.
func mismatches(b Binding, r Result) []Field {
	installed := r.Outcome == OutcomeInstalled
	var out []Field
	match := func(name, got, want, whose string) {
		switch {
		case got == "" && installed:
			out = append(out, Field{name, "is required for an installed unit"})
		case got != "" && got != want:
			out = append(out, Field{name, "is not the one that was " + whose})
		}
	}
	match("tokenSerial", r.TokenSerial, b.TokenSerial, "bound")
	match("keyId", r.KeyID, b.KeyID, "bound")
	match("escrowId", r.EscrowID, b.EscrowID, "bound")
	if installed {
		var c Certificate
		if b.Certificate != nil {
			c = *b.Certificate
		}
		match("certificateSerial", r.CertificateSerial, c.Serial, "issued")
		match("certificateSha256", r.CertificateSHA256, c.SHA256, "issued")
		switch sealed := len(r.SealedUserPIN) > 0; {
		case r.PINDelivery == "" && !sealed:
			out = append(out, Field{"sealedUserPin", "is required for an installed unit"})
		case r.PINDelivery != "" && sealed:
			out = append(out, Field{"sealedUserPin", "is not for a PIN that is delivered by " + r.PINDelivery})
		}
	}
	return out
}

func (t *txn) applyResult(ctx context.Context, u Unit, r Result) (Unit, error) {
	reason := r.Outcome
	if r.Reason != "" {
		reason += ": " + r.Reason
	}
	switch {
	case u.Generation != r.Generation:
		// A fact about a generation that was given up; it is kept and moves nothing.
		return u, nil
	case u.State.Over():
		u, err := t.advance(ctx, u, EventAcknowledged, reason, func(u *Unit) { u.ExpiresAt = time.Time{} })
		if err != nil {
			return Unit{}, err
		}
		return t.settle(ctx, u)
	case r.Outcome == OutcomeInstalled && (u.State == Issued || u.State == Stranded && u.StrandedFrom == Issued):
		if err := t.succeeded(ctx, r.Station); err != nil {
			return Unit{}, err
		}
		return t.advance(ctx, u, EventInstalled, "token "+r.TokenSerial, nil)
	case r.Outcome == OutcomeInstalled:
		return Unit{}, refuse(WrongState, "unit %s is %s; only an issued one can be installed", u.ID, u.State)
	case u.State == Held:
		// Whose failure it is was counted when the unit was held, if it was one.
		u.HeldReason += "; then reported " + reason
		return u, t.save(ctx, &u)
	}
	if err := t.failed(ctx, r.Station); err != nil {
		return Unit{}, err
	}
	return t.advance(ctx, u, EventFailed, reason, func(u *Unit) { u.HeldReason = reason })
}

// SealedUserPIN is the user PIN's envelope of a unit's present generation.
func (s *Store) SealedUserPIN(ctx context.Context, unitID string) ([]byte, error) {
	var sealed []byte
	err := s.db.Read.QueryRowContext(ctx, `SELECT r.sealed_user_pin FROM units u
		LEFT JOIN results r ON r.unit_id = u.unit_id AND r.generation = u.generation WHERE u.unit_id = $1`, unitID).Scan(&sealed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, refuse(NotFound, "there is no unit %s", unitID)
	case err != nil:
		return nil, fmt.Errorf("read the sealed PIN of unit %s: %w", unitID, err)
	case len(sealed) == 0:
		return nil, refuse(NotFound, "no user PIN was reported for unit %s yet", unitID)
	}
	return sealed, nil
}
