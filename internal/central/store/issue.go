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
	// Order is that of the unit; without one while the CA must not be asked.
	Order Order
	// Fresh says that the intent was written just now, or that the CA said that it
	// made nothing yet: it certainly has made nothing, and may be asked.
	Fresh bool
	// AskOnly says that the unit is on its way out, so that nothing more is issued: the
	// CA is asked what it did, and that is all.
	AskOnly bool
	// Waiting says that the CA must not be asked yet.
	Waiting bool
}

// Issuer is who asks the CA: one server of those on the store.
type Issuer struct {
	Server string
	// CA is the digest of the CA that it asks, as UseCA has it.
	CA string
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
		WHERE (u.state IN ($1, $2, $3) OR u.state IN ($4, $5, $6) AND `+unresolvedBinding+`)
			AND (w.again_at IS NULL OR w.again_at <= $8)
			AND (b.intended_by = $7 OR b.intended_until <= $8)
		ORDER BY u.updated_at, u.unit_id`, Bound, Issuing, IssueUnknown, Held, Stranded, Cancelling, by.Server, now)
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
		present, inUse := t.askPresent(ctx), t.askCA(ctx, by.CA)
		bound, order := t.askBound(ctx, unitID, generation), t.askOrder(ctx, unitID)
		if err := present(); err != nil {
			return err
		}
		if err := inUse(); err != nil {
			return err
		}
		u, b, err := bound()
		if err != nil {
			return err
		}
		var waiting, due, askOnly bool
		switch u.State {
		case Bound:
		case Issuing, IssueUnknown:
			if waiting, due, err = t.askAgain(ctx, unitID, generation); err != nil {
				return err
			}
		case Held, Stranded, Cancelling:
			unknown, err := t.unresolved(ctx, u)
			if err != nil {
				return err
			}
			if !unknown {
				return refuse(WrongState, "unit %s is %s", unitID, u.State)
			}
			if waiting, due, err = t.askAgain(ctx, unitID, generation); err != nil {
				return err
			}
			askOnly = true
		default:
			return refuse(WrongState, "unit %s is %s", unitID, u.State)
		}
		if waiting && !due {
			task = Task{Unit: u, Binding: b, Waiting: true}
			return nil
		}
		b.RequestID = RequestID(unitID, generation)
		// Read under the lock of the unit, which all who take an intent have.
		if b.intendedBy != by.Server && b.intendedUntil > t.now() {
			return refuse(Busy, "another server is getting the certificate of unit %s", unitID)
		}
		err = t.One(ctx, "write intent", `UPDATE bindings SET request_id = $3, intended_at = COALESCE(intended_at, $4),
				intended_by = $5, intended_until = $6
			WHERE unit_id = $1 AND generation = $2`,
			unitID, generation, b.RequestID, t.now(), by.Server, t.now()+by.Hold.Milliseconds())
		if err != nil {
			return err
		}
		o, err := order()
		if err != nil {
			return err
		}
		if u.State != Bound {
			task = Task{Unit: u, Binding: b, Order: o, Fresh: due && u.State == Issuing, AskOnly: askOnly}
			if !askOnly {
				absent, err := t.forgetAbsence(ctx, unitID, generation)
				task.Fresh = task.Fresh || absent
				return err
			}
			return nil
		}
		u, err = t.advance(ctx, u, EventIntend, b.RequestID, nil)
		task = Task{Unit: u, Binding: b, Order: o, Fresh: true}
		return err
	})
	return task, err
}

// forgetAbsence takes a proof of absence back because the CA is about to be asked
// again. It says whether there was one.
func (t *txn) forgetAbsence(ctx context.Context, unitID string, generation int32) (bool, error) {
	n, err := t.count(ctx, "forget absence", forgetAbsence, unitID, generation)
	return n > 0, err
}

const forgetAbsence = `DELETE FROM absences WHERE unit_id = $1 AND generation = $2`

// askBound reads a unit and the binding of its present generation, without ending its custody.
func (t *txn) askBound(ctx context.Context, unitID string, generation int32) func() (Unit, Binding, error) {
	unit, binding := t.askUnit(ctx, unitID), t.askBinding(ctx, unitID, generation)
	return func() (Unit, Binding, error) {
		u, err := unit()
		if err != nil {
			return Unit{}, Binding{}, err
		}
		b, ok, err := binding()
		if err != nil {
			return Unit{}, Binding{}, err
		}
		if !ok || u.Generation != generation {
			return Unit{}, Binding{}, refuse(WrongState, "generation %d of unit %s is not bound", generation, unitID)
		}
		return u, b, nil
	}
}

// owned is askBound, for the server that has the intent: past its time another may have
// taken it over, and what this one believes of the CA is then Busy.
func (t *txn) owned(ctx context.Context, unitID string, generation int32, by Issuer) (Unit, error) {
	u, b, err := t.askBound(ctx, unitID, generation)()
	if err != nil {
		return Unit{}, err
	}
	if b.intendedBy != by.Server {
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
// same request may go to it again. It says goesOn unless the unit is on its way out.
func (s *Store) Absent(ctx context.Context, unitID string, generation int32, by Issuer) (goesOn bool, err error) {
	err = s.write(ctx, "note that nothing was issued for unit "+unitID, func(t *txn) error {
		u, err := t.owned(ctx, unitID, generation, by)
		goesOn = err == nil && u.State == Issuing
		if err != nil || goesOn {
			return err
		}
		unknown, err := t.unresolved(ctx, u)
		if err != nil || !unknown {
			return err
		}
		u, err = t.absent(ctx, u, "the CA issued nothing under this id", "the CA")
		goesOn = err == nil && u.State == Issuing
		return err
	})
	return goesOn, err
}

// absent moves a unit whose CA has proved that it issued nothing. One that goes on
// is told to the CA again; of one that does not, the proof is kept.
func (t *txn) absent(ctx context.Context, u Unit, why, by string) (Unit, error) {
	var err error
	if u.State == Stranded && u.StrandedFrom == Issuing {
		if u, err = t.advance(ctx, u, EventUnknown, "asked while it is stranded", nil); err != nil {
			return Unit{}, err
		}
	}
	if u.State != IssueUnknown && u.State != Stranded && u.State != Held && u.State != Cancelling {
		return u, nil
	}
	// A CA that can be asked is asked again before anything is issued; what persons
	// found out must reach the one that cannot.
	if u.State != IssueUnknown || by != "the CA" {
		_, err := t.count(ctx, "write absence", `INSERT INTO absences (unit_id, generation, proved_by, proved_at)
			VALUES ($1, $2, $3, $4) ON CONFLICT (unit_id, generation) DO NOTHING`, u.ID, u.Generation, by, t.now())
		if err != nil {
			return Unit{}, err
		}
	}
	// Custody of what is asked from now on counts from then.
	if err := t.Any(ctx, "end wait", `DELETE FROM waits WHERE unit_id = $1 AND generation = $2`, u.ID, u.Generation); err != nil {
		return Unit{}, err
	}
	if u.State == Stranded && u.StrandedFrom != IssueUnknown {
		return u, nil
	}
	if u, err = t.advance(ctx, u, EventAbsent, why, nil); err != nil {
		return Unit{}, err
	}
	return t.settle(ctx, u)
}

// RefusedByCA holds a unit that the CA refused for good: nothing was issued and
// nothing will be.
func (s *Store) RefusedByCA(ctx context.Context, unitID string, generation int32, by Issuer, why string) error {
	return s.write(ctx, "hold unit "+unitID, func(t *txn) error {
		u, err := t.owned(ctx, unitID, generation, by)
		if err != nil {
			return err
		}
		if !u.outstanding() {
			_, err = t.absent(ctx, u, "the CA refused the request", "the CA")
			return err
		}
		if u.State == IssueUnknown || u.State == Stranded && u.StrandedFrom == IssueUnknown {
			if u, err = t.advance(ctx, u, EventAbsent, "the CA refused the request", nil); err != nil {
				return err
			}
		}
		if u, err = t.advance(ctx, u, EventRefused, why, func(u *Unit) { u.HeldReason = "refused by the CA: " + why }); err != nil {
			return err
		}
		_, err = t.absent(ctx, u, "the CA refused the request", "the CA")
		return err
	})
}

// TwiceError says that the CA made a second certificate for a key. The first one
// is kept as the unit's, the second beside it until two persons have it revoked.
type TwiceError struct {
	RequestID     string
	First, Second string // certificate serials
}

// Error implements error.
func (e *TwiceError) Error() string {
	return fmt.Sprintf("the CA issued twice under %s: certificate serials %s and %s; revoke one", e.RequestID, e.First, e.Second)
}

// Issued keeps the certificate. It is kept whatever became of the unit while the
// CA worked: whoever resolves that must know that a certificate is out there. A
// second certificate is kept as well, and is a *TwiceError to raise an alarm about.
func (s *Store) Issued(ctx context.Context, unitID string, generation int32, c Certificate) error {
	var twice *TwiceError
	err := s.write(ctx, "keep the certificate of unit "+unitID, func(t *txn) error {
		unit, binding := t.askUnit(ctx, unitID), t.askBinding(ctx, unitID, generation)
		u, err := unit()
		if err != nil {
			return err
		}
		_, twice, err = t.issued(ctx, u, binding, generation, c)
		return err
	})
	if err == nil && twice != nil {
		return twice
	}
	return err
}

// issued is Issued for a unit that is locked, and what was asked about its binding.
func (t *txn) issued(ctx context.Context, u Unit, binding func() (Binding, bool, error), generation int32, c Certificate) (Unit, *TwiceError, error) {
	fail := func(err error) (Unit, *TwiceError, error) { return Unit{}, nil, err }
	b, ok, err := binding()
	if err != nil {
		return fail(err)
	}
	if !ok || b.RequestID == "" {
		return fail(refuse(WrongState, "no certificate was asked for for generation %d of unit %s", generation, u.ID))
	}
	if b.Certificate != nil {
		if b.Certificate.SHA256 == c.SHA256 {
			return u, nil, nil
		}
		err := t.second(ctx, u, generation, c)
		return u, &TwiceError{RequestID: b.RequestID, First: b.Certificate.Serial, Second: c.Serial}, err
	}
	err = t.One(ctx, "write certificate",
		`UPDATE bindings SET pkcs7 = $3, certificate_serial = $4, certificate_sha256 = $5, subject = $6, not_after = $7, issued_at = $8
		 WHERE unit_id = $1 AND generation = $2`,
		u.ID, generation, c.PKCS7, c.Serial, c.SHA256, c.Subject, millis(c.NotAfter), t.now())
	if err != nil {
		return fail(err)
	}
	if err := t.Any(ctx, "forget absence", forgetAbsence, u.ID, generation); err != nil {
		return fail(err)
	}
	why := "certificate " + c.Serial
	if u.Generation == generation {
		u.told = &serials{b.TokenSerial, c.Serial}
	}
	switch {
	case u.Generation == generation && u.outstanding():
		u, err = t.advance(ctx, u, EventIssued, why, nil)
	case u.Generation == generation && (u.State == Held || u.State == Cancelling):
		u, err = t.advance(ctx, u, EventIssued, why, func(u *Unit) {
			if u.State == Held {
				u.HeldReason += fmt.Sprintf(" (certificate %s was issued meanwhile)", c.Serial)
			}
		})
		if err == nil {
			u, err = t.settle(ctx, u)
		}
	default:
		// Its generation was given up, on a proof that was none.
		err = t.wantRevocation(ctx, known{u.ID, generation, c.SHA256, c.Serial}, revokedLate)
		if err == nil {
			err = t.tell(ctx, KindHeld, u)
		}
	}
	return u, nil, err
}

// SetAside keeps a certificate beside its unit that the database refuses as the unit's own,
// and holds the unit: persons have it revoked.
func (s *Store) SetAside(ctx context.Context, unitID string, generation int32, c Certificate) error {
	return s.write(ctx, "keep the certificate of unit "+unitID, func(t *txn) error {
		u, err := t.unit(ctx, unitID)
		if err != nil {
			return err
		}
		if err := t.second(ctx, u, generation, c); err != nil || u.Generation != generation || !u.outstanding() {
			return err
		}
		why := fmt.Sprintf("the CA issued certificate %s, which could not be kept as the unit's own", c.Serial)
		_, err = t.advance(ctx, u, EventFailed, why, func(u *Unit) { u.HeldReason = why })
		return err
	})
}

// second keeps a certificate beside the unit's own, and tells of it once.
func (t *txn) second(ctx context.Context, u Unit, generation int32, c Certificate) error {
	n, err := t.count(ctx, "keep second certificate",
		`INSERT INTO surplus_certificates (certificate_sha256, unit_id, generation, certificate_serial, pkcs7, noticed_at)
		 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (certificate_sha256) DO NOTHING`,
		c.SHA256, u.ID, generation, c.Serial, c.PKCS7, t.now())
	if err != nil || n == 0 {
		return err
	}
	u.UpdatedAt = fromMillis(max(t.now(), millis(u.UpdatedAt)))
	return t.tell(ctx, KindHeld, u)
}
