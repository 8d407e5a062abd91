package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Shipment is a parcel that was handed to the courier, told for one unit of it.
type Shipment struct {
	UnitID     string
	Generation int32
	Station    string
	Waybill    string
	// Scans are the serials of the tokens in the parcel.
	Scans    []string
	PackedBy string
}

func (p Shipment) digest() (string, error) {
	p.Scans = slices.Sorted(slices.Values(p.Scans))
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("digest of shipment: %w", err)
	}
	return hexSum(text), nil
}

// PutShipment makes an INSTALLED unit SHIPPED. The same again changes nothing; a
// different one of the same generation is ShipmentConflict.
func (s *Store) PutShipment(ctx context.Context, p Shipment) (u Unit, err error) {
	sum, err := p.digest()
	if err != nil {
		return Unit{}, err
	}
	err = s.write(ctx, "ship unit "+p.UnitID, func(t *txn) error {
		if u, err = t.unit(ctx, p.UnitID); err != nil {
			return err
		}
		b, bound, err := binding(ctx, t, p.UnitID, p.Generation)
		if err != nil {
			return err
		}
		if bound && b.Station != p.Station || !bound && u.Station != "" && u.Station != p.Station {
			return refuse(NotYours, "unit %s is another station's", u.ID)
		}
		if done, err := t.shippedBefore(ctx, p, sum); done || err != nil {
			return err
		}
		if err := t.shippable(ctx, u, b, p); err != nil {
			return err
		}
		scans, err := json.Marshal(p.Scans)
		if err != nil {
			return fmt.Errorf("write shipment: %w", err)
		}
		err = t.One(ctx, "write shipment",
			`INSERT INTO shipments (unit_id, generation, content_sha256, waybill, scans, packed_by, station, shipped_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			p.UnitID, p.Generation, sum, p.Waybill, string(scans), p.PackedBy, p.Station, t.now())
		if err != nil {
			return err
		}
		u, err = t.advance(ctx, u, EventShip, "waybill "+p.Waybill+", packed by "+p.PackedBy, nil)
		return err
	})
	return u, err
}

func (t *txn) shippedBefore(ctx context.Context, p Shipment, sum string) (bool, error) {
	var was string
	err := t.QueryRowContext(ctx, `SELECT content_sha256 FROM shipments WHERE unit_id = $1 AND generation = $2`, p.UnitID, p.Generation).Scan(&was)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read shipment: %w", err)
	case was != sum:
		return false, refuse(ShipmentConflict, "another shipment of generation %d of unit %s was reported before", p.Generation, p.UnitID)
	}
	return true, nil
}

// shippable checks that the unit may leave, and that nothing strange is in its parcel.
func (t *txn) shippable(ctx context.Context, u Unit, b Binding, p Shipment) error {
	switch {
	case u.State.Over():
		return refuse(UnitCancelled, "unit %s is %s", u.ID, u.State)
	case u.State != Installed || u.Generation != p.Generation:
		return refuse(WrongState, "unit %s is %s at generation %d", u.ID, u.State, u.Generation)
	}
	second, err := unrevokedSurplus(ctx, t, u.ID)
	if err != nil {
		return err
	}
	if len(second) > 0 {
		return refuse(WrongState, "there is a second certificate for unit %s that is not revoked", u.ID)
	}
	if err := t.anchored(ctx, u, b); err != nil {
		return err
	}
	if err := t.apart(ctx, p); err != nil {
		return err
	}
	mine, err := collect(ctx, t, func(r rowScanner) (serial string, err error) { return serial, r.Scan(&serial) },
		`SELECT b.token_serial FROM bindings b JOIN units u ON u.unit_id = b.unit_id AND u.generation = b.generation
		 WHERE u.order_id = $1 AND u.state IN ($2, $3)`, u.OrderID, Installed, Shipped)
	if err != nil {
		return fmt.Errorf("list the tokens of order %s: %w", u.OrderID, err)
	}
	var wrong []Field
	for i, serial := range p.Scans {
		if !slices.Contains(mine, serial) {
			wrong = append(wrong, Field{fmt.Sprintf("scans/%d", i), "is not a finished token of this order"})
		}
	}
	if !slices.Contains(p.Scans, b.TokenSerial) {
		wrong = append(wrong, Field{"scans", "this unit's own token is not among them"})
	}
	if len(wrong) > 0 {
		return &Refusal{Reason: ResultMismatch, Fields: wrong}
	}
	return nil
}

// Finished is a token that a station has finished.
type Finished struct {
	UnitID      string
	Generation  int32
	TokenSerial string
}

// Shipped says which of a station's finished tokens have left: those that it bound
// itself and whose unit is SHIPPED in that generation.
func (s *Store) Shipped(ctx context.Context, station string, asked []Finished) ([]Finished, error) {
	var gone []Finished
	for _, f := range asked {
		var n int
		err := s.db.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM units u JOIN bindings b ON b.unit_id = u.unit_id AND b.generation = u.generation
			WHERE u.unit_id = $1 AND u.generation = $2 AND u.state = $3 AND b.station = $4 AND b.token_serial = $5`,
			f.UnitID, f.Generation, Shipped, station, f.TokenSerial).Scan(&n)
		if err != nil {
			return nil, fmt.Errorf("ask whether unit %s has left: %w", f.UnitID, err)
		}
		if n == 1 {
			gone = append(gone, f)
		}
	}
	return gone, nil
}

// Return takes a unit back whose parcel came back.
func (s *Store) Return(ctx context.Context, unitID, operator, reason string) (u Unit, err error) {
	err = s.write(ctx, "take back unit "+unitID, func(t *txn) error {
		if u, err = t.unit(ctx, unitID); err != nil {
			return err
		}
		if u.State != Shipped {
			return refuse(WrongState, "unit %s is %s; only a %s one can come back", unitID, u.State, Shipped)
		}
		u, err = t.advance(ctx, u, EventReturn, "taken back by "+operator+": "+reason, func(u *Unit) { u.HeldReason = "returned: " + reason })
		return err
	})
	return u, err
}
