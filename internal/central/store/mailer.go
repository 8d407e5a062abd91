package store

import (
	"context"
	"fmt"
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
		b, bound, err := binding(ctx, t, m.UnitID, m.Generation)
		if err != nil {
			return err
		}
		if !bound || b.Station != m.Station {
			return refuse(NotYours, "generation %d of unit %s is not of this station", m.Generation, u.ID)
		}
		n, err := t.number(ctx, `SELECT COUNT(*) FROM results WHERE unit_id = $1 AND generation = $2 AND outcome = $3 AND pin_delivery = $4`,
			m.UnitID, m.Generation, OutcomeInstalled, DeliveryMailer)
		if err != nil {
			return err
		}
		if n == 0 {
			return refuse(WrongState, "no PIN of generation %d of unit %s was reported that comes by a mailer", m.Generation, u.ID)
		}
		n, err = t.number(ctx, `SELECT COUNT(*) FROM shipments WHERE unit_id = $1 AND generation = $2 AND packed_by = $3`, m.UnitID, m.Generation, m.ConfirmedBy)
		if err != nil {
			return err
		}
		if n > 0 {
			return refuse(SamePerson, "%s packed the token of unit %s; somebody else must see to its mailer", m.ConfirmedBy, u.ID)
		}
		_, err = t.count(ctx, "write mailer", `INSERT INTO mailers (unit_id, generation, confirmed_by, station, confirmed_at)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT (unit_id, generation, confirmed_by) DO NOTHING`,
			m.UnitID, m.Generation, m.ConfirmedBy, m.Station, t.now)
		return err
	})
	return u, err
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
