package store

import (
	"context"
	"fmt"
	"time"
)

// RequestID is the id under which the CA is asked for a generation of a unit.
func RequestID(unitID string, generation int32) string {
	return fmt.Sprintf("%s-g%d", unitID, generation)
}

// Task is a bound unit whose certificate is to be got.
type Task struct {
	Unit    Unit
	Binding Binding
	// Fresh says that the intent was written just now, or that the CA said that it
	// made nothing yet: it certainly has made nothing, and may be asked.
	Fresh bool
	// Waiting says that the CA must not be asked yet.
	Waiting bool
}

// Issuer is who asks the CA: one server of those on the store.
type Issuer struct {
	Server string
	// Hold is how long an intent keeps the others away; longer than the server may
	// take to ask the CA. Zero where there are no others.
	Hold time.Duration
}

// Unissued lists units whose certificate is outstanding, about which the CA may be
// asked now, and which no other server is busy with, oldest change first.
func (s *Store) Unissued(ctx context.Context, by Issuer) ([]Unit, error) {
	now, err := s.now(ctx, s.db.Read)
	if err != nil {
		return nil, err
	}
	out, err := collect(ctx, s.db.Read, scanUnit, `SELECT `+unitColumns+` FROM units u
		JOIN bindings b ON b.unit_id = u.unit_id AND b.generation = u.generation
		LEFT JOIN waits w ON w.unit_id = u.unit_id AND w.generation = u.generation
		WHERE u.state IN ($1, $2, $3) AND (b.intended_by = $4 OR b.intended_until <= $5) AND (w.again_at IS NULL OR w.again_at <= $5)
		ORDER BY u.updated_at, u.unit_id`, Bound, Issuing, IssueUnknown, by.Server, now)
	if err != nil {
		return nil, fmt.Errorf("list units without certificate: %w", err)
	}
	return out, nil
}

// LeaveIntents lets the others take up at once what a server that stops leaves unfinished.
func (s *Store) LeaveIntents(ctx context.Context, by Issuer) error {
	return s.write(ctx, "leave intents", func(t *txn) error {
		_, err := t.count(ctx, "leave intents", `UPDATE bindings SET intended_until = 0
			WHERE intended_by = $1 AND intended_until > 0 AND issued_at IS NULL`, by.Server)
		return err
	})
}

// Intend writes down that the CA is about to be asked, and by whom; it is on disk
// before the CA hears of it. Called again it says, by Fresh, that the CA may know
// already. While another server holds the intent it is Busy: two must never ask at
// once, and what one looks up means nothing while the other is still telling.
func (s *Store) Intend(ctx context.Context, unitID string, generation int32, by Issuer) (task Task, err error) {
	err = s.write(ctx, "intend to issue for unit "+unitID, func(t *txn) error {
		task = Task{}
		u, b, err := t.bound(ctx, unitID, generation)
		if err != nil {
			return err
		}
		var waiting, due bool
		switch u.State {
		case Bound:
		case Issuing, IssueUnknown:
			if waiting, due, err = t.askAgain(ctx, unitID, generation); err != nil {
				return err
			}
			if waiting && !due {
				task = Task{Unit: u, Binding: b, Waiting: true}
				return nil
			}
		default:
			return refuse(WrongState, "unit %s is %s", unitID, u.State)
		}
		b.RequestID = RequestID(unitID, generation)
		n, err := t.count(ctx, "write intent", `UPDATE bindings SET request_id = $3, intended_at = COALESCE(intended_at, $4),
				intended_by = $5, intended_until = $6
			WHERE unit_id = $1 AND generation = $2 AND (intended_by = $5 OR intended_until <= $4)`,
			unitID, generation, b.RequestID, t.now, by.Server, t.now+by.Hold.Milliseconds())
		if err != nil {
			return err
		}
		if n == 0 {
			return refuse(Busy, "another server is getting the certificate of unit %s", unitID)
		}
		if u.State != Bound {
			task = Task{Unit: u, Binding: b, Fresh: due && u.State == Issuing}
			return nil
		}
		u, err = t.advance(ctx, u, EventIntend, b.RequestID, nil)
		task = Task{Unit: u, Binding: b, Fresh: true}
		return err
	})
	return task, err
}

// bound reads a unit and the binding of its present generation, without ending its custody.
func (t *txn) bound(ctx context.Context, unitID string, generation int32) (Unit, Binding, error) {
	u, err := t.unit(ctx, unitID)
	if err != nil {
		return Unit{}, Binding{}, err
	}
	b, ok, err := binding(ctx, t, unitID, generation)
	if err != nil {
		return Unit{}, Binding{}, err
	}
	if !ok || u.Generation != generation {
		return Unit{}, Binding{}, refuse(WrongState, "generation %d of unit %s is not bound", generation, unitID)
	}
	return u, b, nil
}

// owned is bound, for the server that has the intent: past its time another may have
// taken it over, and what this one believes of the CA is then Busy.
func (t *txn) owned(ctx context.Context, unitID string, generation int32, by Issuer) (Unit, error) {
	u, _, err := t.bound(ctx, unitID, generation)
	if err != nil {
		return Unit{}, err
	}
	var owner string
	err = t.QueryRowContext(ctx, `SELECT intended_by FROM bindings WHERE unit_id = $1 AND generation = $2`, unitID, generation).Scan(&owner)
	if err != nil {
		return Unit{}, fmt.Errorf("look at intent: %w", err)
	}
	if owner != by.Server {
		return Unit{}, refuse(Busy, "another server is getting the certificate of unit %s", unitID)
	}
	return u, nil
}

// at is where the unit is, or where a stranded one was.
func (u Unit) at() State {
	if u.State == Stranded {
		return u.StrandedFrom
	}
	return u.State
}

// outstanding says whether the unit, or what a stranded one was, waits for the CA.
func (u Unit) outstanding() bool { return u.at() == Issuing || u.at() == IssueUnknown }

// Unknown writes down that the CA's answer was lost.
func (s *Store) Unknown(ctx context.Context, unitID string, generation int32, by Issuer, why string) error {
	return s.write(ctx, "note an unknown outcome for unit "+unitID, func(t *txn) error {
		u, err := t.owned(ctx, unitID, generation, by)
		if err != nil || u.State != Issuing && (u.State != Stranded || u.StrandedFrom != Issuing) {
			return err
		}
		_, err = t.advance(ctx, u, EventUnknown, why, nil)
		return err
	})
}

// Absent writes down that the CA has proved to have issued nothing, so that the
// same request may go to it again.
func (s *Store) Absent(ctx context.Context, unitID string, generation int32, by Issuer) error {
	return s.write(ctx, "note that nothing was issued for unit "+unitID, func(t *txn) error {
		u, err := t.owned(ctx, unitID, generation, by)
		if err != nil || u.State != IssueUnknown && (u.State != Stranded || u.StrandedFrom != IssueUnknown) {
			return err
		}
		if _, err := t.count(ctx, "end wait", `DELETE FROM waits WHERE unit_id = $1 AND generation = $2`, unitID, generation); err != nil {
			return err // custody of what is asked now counts from now
		}
		_, err = t.advance(ctx, u, EventAbsent, "the CA issued nothing under this id", nil)
		return err
	})
}

// RefusedByCA holds a unit that the CA refused for good.
func (s *Store) RefusedByCA(ctx context.Context, unitID string, generation int32, by Issuer, why string) error {
	return s.write(ctx, "hold unit "+unitID, func(t *txn) error {
		u, err := t.owned(ctx, unitID, generation, by)
		if err != nil || !u.outstanding() {
			return err
		}
		if u.State == IssueUnknown || u.State == Stranded && u.StrandedFrom == IssueUnknown {
			if u, err = t.advance(ctx, u, EventAbsent, "the CA refused the request", nil); err != nil {
				return err
			}
		}
		_, err = t.advance(ctx, u, EventRefused, why, func(u *Unit) { u.HeldReason = "refused by the CA: " + why })
		return err
	})
}

// Issued keeps the certificate. It is kept even when the unit was HELD while the
// CA worked: whoever resolves that must know that a certificate is out there.
// Another certificate than the one kept before is an error to raise an alarm about.
func (s *Store) Issued(ctx context.Context, unitID string, generation int32, c Certificate) error {
	return s.write(ctx, "keep the certificate of unit "+unitID, func(t *txn) error {
		u, b, err := t.bound(ctx, unitID, generation)
		if err != nil {
			return err
		}
		if b.Certificate != nil {
			if b.Certificate.SHA256 != c.SHA256 {
				return fmt.Errorf("the CA issued twice under %s: certificate serials %s and %s; revoke one", b.RequestID, b.Certificate.Serial, c.Serial)
			}
			return nil
		}
		err = t.exactlyOne(ctx, "write certificate",
			`UPDATE bindings SET pkcs7 = $3, certificate_serial = $4, certificate_sha256 = $5, subject = $6, not_after = $7, issued_at = $8
			 WHERE unit_id = $1 AND generation = $2`,
			unitID, generation, c.PKCS7, c.Serial, c.SHA256, c.Subject, millis(c.NotAfter), t.now)
		if err != nil {
			return err
		}
		switch {
		case u.outstanding():
			_, err = t.advance(ctx, u, EventIssued, "certificate "+c.Serial, nil)
			return err
		case u.State == Held:
			u.HeldReason += fmt.Sprintf(" (certificate %s was issued meanwhile)", c.Serial)
			return t.save(ctx, &u)
		}
		return fmt.Errorf("unit %s is %s when its certificate %s arrives", unitID, u.State, c.Serial)
	})
}
