package store

import (
	"context"
	"encoding/json"
	"fmt"
)

const (
	// GenerationsAhead is how many generations after the last one known somebody may have
	// come to since a backup was made: reissues, of which some may have issued nothing.
	GenerationsAhead = 4
	// lateResults is how many a station may have told of one unit, all generations together.
	lateResults = 2 * (1 + GenerationsAhead)
)

// late says whether a result is of a lease from before a recovery, whose binding or
// certificate the restored store does not know. floor is above the epochs of then.
func (t *txn) late(ctx context.Context, u Unit, b Binding, bound bool, r Result) (late bool, floor int64, err error) {
	if bound && (b.Station != r.Station || b.Certificate != nil || r.Outcome != OutcomeInstalled) {
		return false, 0, nil
	}
	if r.Generation > u.Generation+GenerationsAhead {
		return false, 0, nil
	}
	a, err := t.store.age(ctx, t)
	return r.Epoch < a.EpochFloor, a.EpochFloor, err
}

// keepLate keeps what a station did before the server was restored: refused, it would
// never be told again. A token that is finished holds its unit, for a person to look at.
func (t *txn) keepLate(ctx context.Context, u Unit, r Result, sum string, floor int64) (Unit, error) {
	recipients, err := json.Marshal(r.UserPINRecipients)
	if err != nil {
		return Unit{}, fmt.Errorf("write late result: %w", err)
	}
	n, err := t.count(ctx, "write late result",
		`INSERT INTO late_results (unit_id, generation, content_sha256, epoch, station, outcome, reason, token_serial, token_label, key_id,
			certificate_serial, certificate_sha256, escrow_id, sealed_user_pin, recipients, created_at, pin_delivery)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT (unit_id, generation, content_sha256) DO NOTHING`,
		r.UnitID, r.Generation, sum, r.Epoch, r.Station, r.Outcome, r.Reason, r.TokenSerial, r.TokenLabel, r.KeyID,
		r.CertificateSerial, r.CertificateSHA256, r.EscrowID, r.SealedUserPIN, string(recipients), t.now(), r.PINDelivery)
	if err != nil || n == 0 {
		return u, err
	}
	var told int
	if err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM late_results WHERE unit_id = $1 AND station = $2`, r.UnitID, r.Station).Scan(&told); err != nil {
		return Unit{}, fmt.Errorf("count late results: %w", err)
	}
	if told > lateResults {
		return Unit{}, refuse(ResultConflict, "station %s has told too many different results of unit %s", r.Station, r.UnitID)
	}
	if u.Station != "" && u.Station != r.Station && u.Epoch > floor {
		return u, nil
	}
	why := fmt.Sprintf("station %s reports %s for generation %d: token %s", r.Station, r.Outcome, r.Generation, r.TokenSerial)
	if r.CertificateSerial != "" {
		why += ", certificate " + r.CertificateSerial
	}
	why += ", made before the server was restored"
	switch {
	case u.State == Held, r.Outcome == OutcomeInstalled && !u.State.Over():
		return t.holdFound(ctx, u, r.Generation, why)
	}
	return u, nil
}
