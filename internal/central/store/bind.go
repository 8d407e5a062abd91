package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Escrow is a sealed SO PIN. It belongs to a token, and names the unit and epoch that it was made under.
type Escrow struct {
	ID           string
	UnitID       string
	Epoch        int64
	Station      string
	Sealed       []byte
	SealedSHA256 string
	Recipients   []string
	TokenSerial  string
}

// askEscrow reads and locks an escrow. Who needs its unit too asks for that one first.
func (t *txn) askEscrow(ctx context.Context, id string) func() (Escrow, error) {
	asked := t.Ask(ctx, `SELECT e.unit_id, e.epoch, e.station, e.sealed, e.sealed_sha256, e.recipients, e.token_serial
		FROM escrows e WHERE e.escrow_id = $1 `+t.store.dialect.lock("e"), id)
	return func() (Escrow, error) { return scanEscrow(asked, id) }
}

func scanEscrow(r rowScanner, id string) (Escrow, error) {
	e := Escrow{ID: id}
	var recipients string
	err := r.Scan(&e.UnitID, &e.Epoch, &e.Station, &e.Sealed, &e.SealedSHA256, &recipients, &e.TokenSerial)
	if errors.Is(err, sql.ErrNoRows) {
		return Escrow{}, refuse(NotFound, "there is no escrow %s", id)
	}
	if err != nil {
		return Escrow{}, fmt.Errorf("read escrow %s: %w", id, err)
	}
	if err := json.Unmarshal([]byte(recipients), &e.Recipients); err != nil {
		return Escrow{}, fmt.Errorf("read escrow %s: %w", id, err)
	}
	return e, nil
}

// PutEscrow keeps a sealed SO PIN; it is on disk when this returns. The same
// again is the same; anything else under the id is EscrowConflict.
func (s *Store) PutEscrow(ctx context.Context, in Escrow) (out Escrow, err error) {
	err = s.write(ctx, "escrow "+in.ID, func(t *txn) error {
		in.SealedSHA256 = hexSum(in.Sealed)
		unit, escrow := t.askUnit(ctx, in.UnitID), t.askEscrow(ctx, in.ID)
		u, unitErr := unit()
		if unitErr != nil && !isRefusal(unitErr, NotFound) {
			return unitErr
		}
		known, err := escrow()
		if err == nil {
			if known.Station != in.Station || known.UnitID != in.UnitID ||
				known.SealedSHA256 != in.SealedSHA256 || !slices.Equal(known.Recipients, in.Recipients) {
				return refuse(EscrowConflict, "escrow %s holds something else", in.ID)
			}
			out = known
			return t.moveEscrow(ctx, u, &out, in)
		}
		if !isRefusal(err, NotFound) {
			return err
		}
		if unitErr != nil {
			return unitErr
		}
		if err := u.held(in.Station, in.Epoch); err != nil {
			return err
		}
		if u.State != Leased {
			return refuse(WrongState, "unit %s is %s: its SO PIN is in escrow before a key is bound, not after", u.ID, u.State)
		}
		recipients, err := json.Marshal(in.Recipients)
		if err != nil {
			return fmt.Errorf("write escrow: %w", err)
		}
		out = in
		return t.One(ctx, "write escrow",
			`INSERT INTO escrows (escrow_id, unit_id, epoch, station, sealed, sealed_sha256, recipients, created_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			in.ID, in.UnitID, in.Epoch, in.Station, in.Sealed, in.SealedSHA256, string(recipients), t.now())
	})
	return out, err
}

// moveEscrow lets an escrow follow its unit to a later epoch: the station lost the
// lease after it had told us, got the unit again, and goes on with the same token.
func (t *txn) moveEscrow(ctx context.Context, u Unit, known *Escrow, in Escrow) error {
	if known.Epoch == in.Epoch {
		return nil
	}
	if err := u.held(in.Station, in.Epoch); err != nil {
		return err
	}
	known.Epoch = in.Epoch
	return t.One(ctx, "move escrow", `UPDATE escrows SET epoch = $2 WHERE escrow_id = $1`, in.ID, in.Epoch)
}

// PutEscrowToken names the token whose SO PIN an escrow holds, once.
func (s *Store) PutEscrowToken(ctx context.Context, station, id, tokenSerial string) (out Escrow, err error) {
	err = s.write(ctx, "name the token of escrow "+id, func(t *txn) error {
		if out, err = t.askEscrow(ctx, id)(); err != nil {
			return err
		}
		if out.Station != station {
			return refuse(NotYours, "escrow %s is another station's", id)
		}
		return t.nameToken(ctx, &out, tokenSerial)
	})
	return out, err
}

func (t *txn) nameToken(ctx context.Context, e *Escrow, tokenSerial string) error {
	switch e.TokenSerial {
	case tokenSerial:
		return nil
	case "":
		e.TokenSerial = tokenSerial
		return t.One(ctx, "name token", `UPDATE escrows SET token_serial = $2 WHERE escrow_id = $1`, e.ID, tokenSerial)
	}
	return refuse(EscrowConflict, "escrow %s belongs to token %s", e.ID, e.TokenSerial)
}

// Binding is the one public key of a generation, and the certificate made for it.
type Binding struct {
	UnitID          string
	Generation      int32
	Epoch           int64
	Station         string
	CSR             []byte
	PublicKeySHA256 string
	TokenSerial     string
	TokenModel      string
	KeyID           string
	EscrowID        string
	BoundAt         time.Time
	// RequestID is the id under which the CA is asked; empty before the intent.
	RequestID string
	// Certificate is nil before it is issued. With the order's personal data its PKCS7
	// and Subject go, and the CSR.
	Certificate *Certificate
	// intendedBy is the server that last had the intent to issue, until intendedUntil in
	// milliseconds.
	intendedBy    string
	intendedUntil int64
}

// Certificate is what the CA answered.
type Certificate struct {
	PKCS7    []byte
	Serial   string
	SHA256   string
	Subject  string
	NotAfter time.Time
	// PublicKeySHA256 is that of its key, where somebody looked.
	PublicKeySHA256 string
}

// BoundKey is the digest of the public key that is bound to a generation.
func (s *Store) BoundKey(ctx context.Context, unitID string, generation int32) (string, error) {
	b, ok, err := binding(ctx, s.db.Read, unitID, generation)
	if err == nil && !ok {
		return "", refuse(NotFound, "no key is bound to generation %d of unit %s", generation, unitID)
	}
	return b.PublicKeySHA256, err
}

const bindingColumns = `b.unit_id, b.generation, b.epoch, b.station, b.csr, b.public_key_sha256, b.token_serial, b.token_model,
	b.key_id, b.escrow_id, b.bound_at, COALESCE(b.request_id, ''), b.pkcs7, b.certificate_serial, b.certificate_sha256, b.subject, b.not_after,
	b.intended_by, b.intended_until`

func scanBinding(r rowScanner) (Binding, error) {
	var b boundRow
	if err := r.Scan(b.targets()...); err != nil {
		return Binding{}, err
	}
	return b.taken(), nil
}

// scanBound reads a unit and a binding of it.
func scanBound(r rowScanner) (Unit, Binding, error) {
	var u Unit
	var expires, updated int64
	var b boundRow
	if err := r.Scan(append(u.targets(&expires, &updated), b.targets()...)...); err != nil {
		return Unit{}, Binding{}, err
	}
	u.ExpiresAt, u.UpdatedAt = fromMillis(expires), fromMillis(updated)
	return u, b.taken(), nil
}

// boundRow is a binding as it is kept.
type boundRow struct {
	b                Binding
	c                Certificate
	boundAt, expires int64
}

func (r *boundRow) targets() []any {
	b, c := &r.b, &r.c
	return []any{&b.UnitID, &b.Generation, &b.Epoch, &b.Station, &b.CSR, &b.PublicKeySHA256, &b.TokenSerial, &b.TokenModel,
		&b.KeyID, &b.EscrowID, &r.boundAt, &b.RequestID, &c.PKCS7, &c.Serial, &c.SHA256, &c.Subject, &r.expires,
		&b.intendedBy, &b.intendedUntil}
}

func (r *boundRow) taken() Binding {
	r.b.BoundAt = fromMillis(r.boundAt)
	if r.c.SHA256 != "" {
		r.c.NotAfter = fromMillis(r.expires)
		r.b.Certificate = &r.c
	}
	return r.b
}

// binding reads the binding of a generation; ok is false when there is none.
func binding(ctx context.Context, q queryer, unitID string, generation int32) (b Binding, ok bool, err error) {
	return findBinding(q.QueryRowContext(ctx, selectBinding, unitID, generation), unitID, generation)
}

// askBinding is binding, asked now and read later.
func (t *txn) askBinding(ctx context.Context, unitID string, generation int32) func() (b Binding, ok bool, err error) {
	asked := t.Ask(ctx, selectBinding, unitID, generation)
	return func() (Binding, bool, error) { return findBinding(asked, unitID, generation) }
}

const selectBinding = `SELECT ` + bindingColumns + ` FROM bindings b WHERE b.unit_id = $1 AND b.generation = $2`

func findBinding(r rowScanner, unitID string, generation int32) (Binding, bool, error) {
	b, err := scanBinding(r)
	if errors.Is(err, sql.ErrNoRows) {
		return Binding{}, false, nil
	}
	if err != nil {
		return Binding{}, false, fmt.Errorf("read binding of unit %s generation %d: %w", unitID, generation, err)
	}
	return b, true, nil
}

// Bind binds a generation of a unit to one public key, in one transaction. The
// same request again finds what there is; the answer is the unit and its binding. fits
// judges the request by the order as it is in that moment; its error is the caller's.
func (s *Store) Bind(ctx context.Context, in Binding, fits func(Order) error) (u Unit, b Binding, err error) {
	err = s.write(ctx, "bind unit "+in.UnitID, func(t *txn) error {
		present, unit, binding := t.askPresent(ctx), t.askUnit(ctx, in.UnitID), t.askBinding(ctx, in.UnitID, in.Generation)
		order, escrow := t.askOrder(ctx, in.UnitID), t.askEscrow(ctx, in.EscrowID)
		owners := t.Ask(ctx, `SELECT COUNT(*) FROM bindings WHERE public_key_sha256 = $1`, in.PublicKeySHA256)
		if err := present(); err != nil {
			return err
		}
		if u, err = unit(); err != nil {
			return err
		}
		known, bound, err := binding()
		if err != nil {
			return err
		}
		if err := bindable(u, in, known, bound); err != nil {
			return err
		}
		if bound {
			b = known
			return nil
		}
		o, err := order()
		if err != nil {
			return err
		}
		if err := fits(o); err != nil {
			return err
		}
		e, err := escrow()
		if err := t.bindEscrow(ctx, in, e, err); err != nil {
			return err
		}
		// Whoever writes the same key meanwhile makes this transaction run again.
		var n int
		if err := owners.Scan(&n); err != nil {
			return fmt.Errorf("look for the key: %w", err)
		}
		if n > 0 {
			return refuse(KeyReused, "the public key of this request is bound to another unit or generation; generate a new one")
		}
		err = t.One(ctx, "write binding",
			`INSERT INTO bindings (unit_id, generation, epoch, station, csr, public_key_sha256, token_serial, token_model, key_id, escrow_id, bound_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			in.UnitID, in.Generation, in.Epoch, in.Station, in.CSR, in.PublicKeySHA256, in.TokenSerial, in.TokenModel, in.KeyID, in.EscrowID, t.now())
		if err != nil {
			return err
		}
		b = in
		b.BoundAt = fromMillis(t.now())
		u, err = t.advance(ctx, u, EventBind, "", func(u *Unit) { u.ExpiresAt = fromMillis(t.now()).Add(s.rules.Custody) })
		return err
	})
	return u, b, err
}

// bindable checks everything about a binding that the unit and its binding, if there is one, decide.
func bindable(u Unit, in, known Binding, bound bool) error {
	if bound && known.Station != in.Station {
		return refuse(NotYours, "unit %s was bound by another station", u.ID)
	}
	if err := u.held(in.Station, in.Epoch); err != nil {
		return err
	}
	if bound {
		if string(known.CSR) != string(in.CSR) || known.TokenSerial != in.TokenSerial || known.TokenModel != in.TokenModel ||
			known.KeyID != in.KeyID || known.EscrowID != in.EscrowID {
			return refuse(CSRConflict, "generation %d of unit %s is bound to another request", in.Generation, u.ID)
		}
		return nil
	}
	switch {
	case in.Generation != u.Generation:
		return refuse(WrongState, "unit %s is at generation %d", u.ID, u.Generation)
	case u.State != Leased:
		return refuse(WrongState, "unit %s is %s; a request is bound while it is %s", u.ID, u.State, Leased)
	}
	return nil
}

// bindEscrow checks that the token's SO PIN is in escrow for this unit, e being what was
// found of it.
func (t *txn) bindEscrow(ctx context.Context, in Binding, e Escrow, err error) error {
	if isRefusal(err, NotFound) {
		return refuse(EscrowConflict, "there is no escrow %s: the SO PIN must be in escrow first", in.EscrowID)
	}
	if err != nil {
		return err
	}
	if e.UnitID != in.UnitID || e.Station != in.Station {
		return refuse(EscrowConflict, "escrow %s was made for another unit", in.EscrowID)
	}
	return t.nameToken(ctx, &e, in.TokenSerial)
}

// Collect is a unit with its binding, for the station that bound it.
func (s *Store) Collect(ctx context.Context, station, unitID string, generation int32) (Unit, Binding, error) {
	fail := func(err error) (Unit, Binding, error) { return Unit{}, Binding{}, err }
	u, b, err := scanBound(s.db.Read.QueryRowContext(ctx, `SELECT `+unitColumns+`, `+bindingColumns+`
		FROM units u JOIN bindings b ON b.unit_id = u.unit_id AND b.generation = $2 WHERE u.unit_id = $1`, unitID, generation))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return fail(s.uncollected(ctx, station, unitID, generation))
	case err != nil:
		return fail(fmt.Errorf("read unit %s: %w", unitID, err))
	case b.Station != station:
		return fail(refuse(NotYours, "unit %s was bound by another station", unitID))
	}
	return u, b, nil
}

// uncollected is why a station cannot collect what is not bound.
func (s *Store) uncollected(ctx context.Context, station, unitID string, generation int32) error {
	u, err := scanUnit(s.db.Read.QueryRowContext(ctx, `SELECT `+unitColumns+` FROM units u WHERE u.unit_id = $1`, unitID))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return refuse(NotFound, "there is no unit %s", unitID)
	case err != nil:
		return fmt.Errorf("read unit %s: %w", unitID, err)
	case u.Station != "" && u.Station != station:
		return refuse(NotYours, "unit %s is at another station", unitID)
	}
	return refuse(WrongState, "no request is bound to generation %d of unit %s", generation, unitID)
}
