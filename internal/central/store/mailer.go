package store

import (
	"context"
	"fmt"
	"slices"
)

// DeliveryMailer is a result's PINDelivery of a unit whose PIN comes in a letter.
const DeliveryMailer = "mailer"

// Mailer says that a person has seen the letter with a unit's PIN, whole and readable.
type Mailer struct {
	UnitID      string
	Generation  int32
	Station     string
	ConfirmedBy string
}

// PutMailer notes a confirmation. The same again changes nothing; further persons, who
// confirm a reprint, are noted beside the first. Whoever packed the token is SamePerson.
func (s *Store) PutMailer(ctx context.Context, m Mailer) (u Unit, err error) {
	err = s.write(ctx, "confirm the mailer of unit "+m.UnitID, func(t *txn) error {
		if u, err = t.unit(ctx, m.UnitID); err != nil {
			return err
		}
		if err := t.comesByMailer(ctx, m); err != nil {
			return err
		}
		n, err := t.number(ctx, `SELECT COUNT(*) FROM shipments WHERE unit_id = $1 AND generation = $2 AND packed_by = $3`, m.UnitID, m.Generation, m.ConfirmedBy)
		if err != nil {
			return err
		}
		if n > 0 {
			return refuse(SamePerson, "%s packed the token of unit %s; somebody else must see to its mailer", m.ConfirmedBy, u.ID)
		}
		_, err = t.count(ctx, "write mailer", `INSERT INTO mailers (unit_id, generation, confirmed_by, station, confirmed_at)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT (unit_id, generation, confirmed_by) DO NOTHING`,
			m.UnitID, m.Generation, m.ConfirmedBy, m.Station, t.now())
		return err
	})
	return u, err
}

// comesByMailer checks that this station has reported a PIN that comes in a letter. After
// a recovery that may be a late result, of a binding that was lost.
func (t *txn) comesByMailer(ctx context.Context, m Mailer) error {
	b, bound, err := binding(ctx, t, m.UnitID, m.Generation)
	if err != nil {
		return err
	}
	late, err := collect(ctx, t, func(r rowScanner) (delivery string, err error) { return delivery, r.Scan(&delivery) },
		`SELECT pin_delivery FROM late_results WHERE unit_id = $1 AND generation = $2 AND station = $3 AND outcome = $4`,
		m.UnitID, m.Generation, m.Station, OutcomeInstalled)
	if err != nil {
		return fmt.Errorf("read late results: %w", err)
	}
	mine := bound && b.Station == m.Station
	switch {
	case !mine && len(late) == 0:
		return refuse(NotYours, "generation %d of unit %s is not of this station", m.Generation, m.UnitID)
	case slices.Contains(late, DeliveryMailer):
		return nil
	}
	n, err := t.number(ctx, `SELECT COUNT(*) FROM results WHERE unit_id = $1 AND generation = $2 AND outcome = $3 AND pin_delivery = $4`,
		m.UnitID, m.Generation, OutcomeInstalled, DeliveryMailer)
	if err == nil && (!mine || n == 0) {
		err = refuse(WrongState, "no PIN of generation %d of unit %s was reported that comes by a mailer", m.Generation, m.UnitID)
	}
	return err
}

// apart checks that whoever packs a unit has not had its PIN in the hand.
func (t *txn) apart(ctx context.Context, p Shipment) error {
	n, err := t.number(ctx, `SELECT COUNT(*) FROM mailers WHERE unit_id = $1 AND generation = $2 AND confirmed_by = $3`, p.UnitID, p.Generation, p.PackedBy)
	if err != nil {
		return err
	}
	if n > 0 {
		return refuse(SamePerson, "%s saw to the mailer of unit %s; somebody else must pack its token", p.PackedBy, p.UnitID)
	}
	return nil
}

func (t *txn) number(ctx context.Context, query string, args ...any) (n int, err error) {
	if err := t.QueryRowContext(ctx, query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("read mailers: %w", err)
	}
	return n, nil
}
