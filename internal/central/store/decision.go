package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Action is what two persons decide.
type Action string

// Actions.
const (
	ActionCertificate Action = "certificate" // the CA did issue this one
	ActionAbsent      Action = "absent"      // the CA issued nothing and never will
	ActionRevoked     Action = "revoked"     // this certificate is revoked at the CA
	ActionSurplus     Action = "surplus"     // this second certificate is to be revoked
	ActionReissue     Action = "reissue"     // the next generation
)

// DecisionStatus is how far a decision is.
type DecisionStatus string

// Statuses.
const (
	DecisionWaiting  DecisionStatus = "waiting"
	DecisionApproved DecisionStatus = "approved"
	DecisionDone     DecisionStatus = "done"
	DecisionVoid     DecisionStatus = "void"
)

// Decision is what one person asks for and another approves. Persons are ids of
// the calling system, which answers for them.
type Decision struct {
	ID         string
	UnitID     string
	Generation int32
	Action     Action
	// Certificate is what the decision is about: all of it with ActionCertificate, its
	// SHA256 with ActionRevoked and ActionSurplus.
	Certificate Certificate
	Reason      string
	Status      DecisionStatus
	RequestedBy string
	RequestedAt time.Time
	ApprovedBy  string
	ApprovedAt  time.Time
}

const decisionColumns = `d.decision_id, d.unit_id, d.generation, d.action, d.certificate_sha256, d.certificate_serial, d.pkcs7,
	d.subject, d.not_after, d.reason, d.status, d.requested_by, d.requested_at, d.approved_by, d.approved_at`

func scanDecision(r rowScanner) (Decision, error) {
	var d Decision
	var notAfter, requested, approved int64
	err := r.Scan(&d.ID, &d.UnitID, &d.Generation, &d.Action, &d.Certificate.SHA256, &d.Certificate.Serial, &d.Certificate.PKCS7,
		&d.Certificate.Subject, &notAfter, &d.Reason, &d.Status, &d.RequestedBy, &requested, &d.ApprovedBy, &approved)
	d.Certificate.NotAfter, d.RequestedAt, d.ApprovedAt = fromMillis(notAfter), fromMillis(requested), fromMillis(approved)
	return d, err
}

// RequestDecision is the first person's part; nothing changes yet. While such a
// decision waits, asking for it again gives that one.
func (s *Store) RequestDecision(ctx context.Context, in Decision) (d Decision, u Unit, err error) {
	err = s.write(ctx, "ask for a decision on unit "+in.UnitID, func(t *txn) error {
		if u, err = t.unit(ctx, in.UnitID); err != nil {
			return err
		}
		if err := t.decidable(ctx, u, in); err != nil {
			return err
		}
		d, err = scanDecision(t.QueryRowContext(ctx, `SELECT `+decisionColumns+` FROM decisions d
			WHERE d.unit_id = $1 AND d.generation = $2 AND d.action = $3 AND d.certificate_sha256 = $4 AND d.status IN ($5, $6)`,
			in.UnitID, in.Generation, in.Action, in.Certificate.SHA256, DecisionWaiting, DecisionApproved))
		if err == nil {
			return nil
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("look for the decision: %w", err)
		}
		d = in
		d.ID, d.Status, d.RequestedAt = uuid.NewString(), DecisionWaiting, fromMillis(t.now())
		c := d.Certificate
		return t.One(ctx, "write decision",
			`INSERT INTO decisions (decision_id, unit_id, generation, action, certificate_sha256, certificate_serial, pkcs7, subject,
				not_after, reason, status, requested_by, requested_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
			d.ID, d.UnitID, d.Generation, d.Action, c.SHA256, c.Serial, c.PKCS7, c.Subject, expiry(c.NotAfter),
			d.Reason, d.Status, d.RequestedBy, t.now())
	})
	return d, u, err
}

// ApproveDecision is the second person's part, and does what was decided. When the
// unit has moved on meanwhile, the decision is void.
func (s *Store) ApproveDecision(ctx context.Context, id, operator string) (d Decision, u Unit, err error) {
	var moved error
	err = s.write(ctx, "approve decision "+id, func(t *txn) error {
		moved = nil
		if d, err = t.decision(ctx, id, ""); err != nil {
			return err
		}
		// The unit is locked first, as everywhere.
		if u, err = t.unit(ctx, d.UnitID); err != nil {
			return err
		}
		if d, err = t.decision(ctx, id, t.store.dialect.lock("d")); err != nil {
			return err
		}
		switch {
		case d.RequestedBy == operator:
			return refuse(SamePerson, "%s asked for this decision; somebody else must approve it", operator)
		case d.Status == DecisionVoid:
			return refuse(WrongState, "the decision is void, because unit %s moved on", d.UnitID)
		case d.Status != DecisionWaiting && d.ApprovedBy == operator:
			return nil
		case d.Status != DecisionWaiting:
			return refuse(WrongState, "the decision was approved by another person already")
		}
		if moved = t.decidable(ctx, u, d); moved != nil {
			var refusal *Refusal
			if !errors.As(moved, &refusal) {
				return moved
			}
			d.Status = DecisionVoid
			return t.setDecision(ctx, id, DecisionVoid)
		}
		d.Status, d.ApprovedBy, d.ApprovedAt = DecisionApproved, operator, fromMillis(t.now())
		err = t.One(ctx, "approve", `UPDATE decisions SET status = $2, approved_by = $3, approved_at = $4 WHERE decision_id = $1`,
			id, d.Status, operator, t.now())
		if err != nil {
			return err
		}
		if u, err = t.decide(ctx, u, d); err != nil {
			return err
		}
		d, err = t.decision(ctx, id, "")
		return err
	})
	if err == nil {
		err = moved
	}
	return d, u, err
}

func (t *txn) decision(ctx context.Context, id, lock string) (Decision, error) {
	d, err := scanDecision(t.QueryRowContext(ctx, `SELECT `+decisionColumns+` FROM decisions d WHERE d.decision_id = $1 `+lock, id))
	if errors.Is(err, sql.ErrNoRows) {
		return Decision{}, refuse(NotFound, "there is no decision %s", id)
	}
	if err != nil {
		return Decision{}, fmt.Errorf("read decision %s: %w", id, err)
	}
	return d, nil
}

func (t *txn) setDecision(ctx context.Context, id string, status DecisionStatus) error {
	return t.One(ctx, "end decision", `UPDATE decisions SET status = $2 WHERE decision_id = $1`, id, status)
}

// voidDecisions ends what was asked or approved for a unit and did not happen.
func (t *txn) voidDecisions(ctx context.Context, u Unit, a Action) error {
	_, err := t.count(ctx, "void decisions", `UPDATE decisions SET status = $3 WHERE unit_id = $1 AND action = $2 AND status IN ($4, $5)`,
		u.ID, a, DecisionVoid, DecisionWaiting, DecisionApproved)
	return err
}

func (t *txn) approvedReissue(ctx context.Context, u Unit) (Decision, bool, error) {
	d, err := scanDecision(t.QueryRowContext(ctx, `SELECT `+decisionColumns+` FROM decisions d
		WHERE d.unit_id = $1 AND d.generation = $2 AND d.action = $3 AND d.status = $4`, u.ID, u.Generation, ActionReissue, DecisionApproved))
	if errors.Is(err, sql.ErrNoRows) {
		return Decision{}, false, nil
	}
	if err != nil {
		return Decision{}, false, fmt.Errorf("look for an approved reissue of unit %s: %w", u.ID, err)
	}
	return d, true, nil
}

// decidable says whether a decision fits where its unit is.
func (t *txn) decidable(ctx context.Context, u Unit, d Decision) error {
	if d.Generation != u.Generation && d.Action != ActionSurplus && d.Action != ActionRevoked {
		return refuse(WrongState, "unit %s is at generation %d", u.ID, u.Generation)
	}
	switch d.Action {
	case ActionReissue:
		return t.reissuable(ctx, u)
	case ActionCertificate, ActionAbsent:
		return t.resolvable(ctx, u, d)
	case ActionRevoked, ActionSurplus:
		return t.revocable(ctx, u, d)
	}
	return fmt.Errorf("unknown action %q", d.Action)
}

func (t *txn) reissuable(ctx context.Context, u Unit) error {
	var cleared, cancelled int64
	if err := t.QueryRowContext(ctx, `SELECT cleared_at, cancelled_at FROM orders WHERE order_id = $1`, u.OrderID).Scan(&cleared, &cancelled); err != nil {
		return fmt.Errorf("read order %s: %w", u.OrderID, err)
	}
	switch {
	case u.State != Held && u.State != Stranded:
		return refuse(WrongState, "unit %s is %s; only one that is %s or %s is reissued", u.ID, u.State, Held, Stranded)
	case cancelled != 0:
		return refuse(WrongState, "order %s is cancelled", u.OrderID)
	case cleared != 0:
		return refuse(WrongState, "the personal data of order %s are gone; a new order is needed", u.OrderID)
	}
	return nil
}

func (t *txn) resolvable(ctx context.Context, u Unit, d Decision) error {
	unknown, err := t.unresolved(ctx, u)
	if err != nil {
		return err
	}
	// While a unit is ISSUING the server is still asking by itself.
	if !unknown || u.State == Issuing {
		return refuse(WrongState, "unit %s is %s, and what the CA issued for generation %d is no question for a person", u.ID, u.State, u.Generation)
	}
	if d.Action == ActionAbsent {
		return nil
	}
	b, _, err := binding(ctx, t, u.ID, u.Generation)
	if err != nil {
		return err
	}
	if d.Certificate.PublicKeySHA256 != "" && d.Certificate.PublicKeySHA256 != b.PublicKeySHA256 {
		return &Refusal{Reason: ResultMismatch, Fields: []Field{{"pkcs7", "its certificate is not for the key that is bound"}}}
	}
	return nil
}

func (t *txn) revocable(ctx context.Context, u Unit, d Decision) error {
	certificates, err := t.unrevoked(ctx, u.ID)
	if d.Action == ActionSurplus {
		certificates, err = unrevokedSurplus(ctx, t, u.ID)
	}
	if err != nil {
		return err
	}
	for _, c := range certificates {
		if c.SHA256 != d.Certificate.SHA256 {
			continue
		}
		if d.Action == ActionRevoked {
			return t.givenUp(ctx, u, c)
		}
		return nil
	}
	return &Refusal{Reason: ResultMismatch, Fields: []Field{{"certificateSha256", "is not a certificate of this unit that is in question"}}}
}

// givenUp refuses the revocation of the certificate that a unit lives by: first the
// unit is cancelled or given up.
func (t *txn) givenUp(ctx context.Context, u Unit, c known) error {
	surplus, err := unrevokedSurplus(ctx, t, u.ID)
	if err != nil {
		return err
	}
	for _, s := range surplus {
		if s.SHA256 == c.SHA256 {
			return nil
		}
	}
	if u.State == Held || u.State == Stranded || u.State.Over() || c.Generation != u.Generation {
		return nil
	}
	return refuse(WrongState, "unit %s is %s and lives by this certificate", u.ID, u.State)
}

// decide does what two persons decided.
func (t *txn) decide(ctx context.Context, u Unit, d Decision) (Unit, error) {
	by := fmt.Sprintf("%s and %s", d.RequestedBy, d.ApprovedBy)
	var err error
	switch d.Action {
	case ActionReissue:
		if u.State == Stranded {
			u, err = t.advance(ctx, u, EventGiveUp, "by "+by, func(u *Unit) { u.HeldReason = "given up: " + d.Reason })
			if err != nil {
				return Unit{}, err
			}
		}
		return t.settle(ctx, u)
	case ActionCertificate:
		var twice *TwiceError
		if u, twice, err = t.issued(ctx, u, t.askBinding(ctx, u.ID, d.Generation), d.Generation, d.Certificate); err != nil {
			return Unit{}, err
		}
		if twice != nil {
			return Unit{}, twice
		}
	case ActionAbsent:
		u, err = t.absent(ctx, u, "two persons found it out: "+by, d.ID)
	case ActionRevoked:
		c, err := t.certificate(ctx, u, d.Certificate.SHA256)
		if err != nil {
			return Unit{}, err
		}
		if err = t.wantRevocation(ctx, c, revokedFound); err != nil {
			return Unit{}, err
		}
		if u, err = t.revoked(ctx, u, c.SHA256, by); err == nil && u.State == Stranded && c.Generation == u.Generation {
			// Nobody may take it back and install what is revoked.
			u, err = t.advance(ctx, u, EventGiveUp, "by "+by, func(u *Unit) { u.HeldReason = "its certificate is revoked: " + d.Reason })
		}
		if err != nil {
			return Unit{}, err
		}
		return u, t.setDecision(ctx, d.ID, DecisionDone)
	case ActionSurplus:
		c, err := t.certificate(ctx, u, d.Certificate.SHA256)
		if err != nil {
			return Unit{}, err
		}
		return u, t.wantRevocation(ctx, c, RevokedTwice)
	}
	if err != nil {
		return Unit{}, err
	}
	return u, t.setDecision(ctx, d.ID, DecisionDone)
}

// certificate finds one of a unit's certificates that are not revoked.
func (t *txn) certificate(ctx context.Context, u Unit, sha256 string) (known, error) {
	all, err := t.unrevoked(ctx, u.ID)
	if err != nil {
		return known{}, err
	}
	for _, c := range all {
		if c.SHA256 == sha256 {
			return c, nil
		}
	}
	return known{}, fmt.Errorf("unit %s has no certificate %s", u.ID, sha256)
}

// Decisions lists what waits for a second person, or all that was decided about
// one unit, oldest first.
func (s *Store) Decisions(ctx context.Context, unitID string) ([]Decision, error) {
	out, err := collect(ctx, s.db.Read, scanDecision, `SELECT `+decisionColumns+` FROM decisions d
		WHERE ($1 = '' AND d.status = $2) OR d.unit_id = $1 ORDER BY d.requested_at, d.decision_id`, unitID, DecisionWaiting)
	if err != nil {
		return nil, fmt.Errorf("list decisions: %w", err)
	}
	return out, nil
}
