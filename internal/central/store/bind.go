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

// escrow reads and locks an escrow. Who needs its unit too locks that one first.
func (t *txn) escrow(ctx context.Context, id string) (Escrow, error) {
	e := Escrow{ID: id}
	var recipients string
	err := t.QueryRowContext(ctx, `SELECT e.unit_id, e.epoch, e.station, e.sealed, e.sealed_sha256, e.recipients, e.token_serial
		FROM escrows e WHERE e.escrow_id = $1 `+t.store.dialect.lock("e"), id).
		Scan(&e.UnitID, &e.Epoch, &e.Station, &e.Sealed, &e.SealedSHA256, &recipients, &e.TokenSerial)
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
		u, unitErr := t.unit(ctx, in.UnitID)
		if unitErr != nil && !isRefusal(unitErr, NotFound) {
			return unitErr
		}
		known, err := t.escrow(ctx, in.ID)
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
			in.ID, in.UnitID, in.Epoch, in.Station, in.Sealed, in.SealedSHA256, string(recipients), t.now)
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
		if out, err = t.escrow(ctx, id); err != nil {
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
	b.key_id, b.escrow_id, b.bound_at, COALESCE(b.request_id, ''), b.pkcs7, b.certificate_serial, b.certificate_sha256, b.subject, b.not_after`

func scanBinding(r rowScanner) (Binding, error) {
	var b Binding
	var c Certificate
	var bound, notAfter int64
	err := r.Scan(&b.UnitID, &b.Generation, &b.Epoch, &b.Station, &b.CSR, &b.PublicKeySHA256, &b.TokenSerial, &b.TokenModel,
		&b.KeyID, &b.EscrowID, &bound, &b.RequestID, &c.PKCS7, &c.Serial, &c.SHA256, &c.Subject, &notAfter)
	if err != nil {
		return Binding{}, err
	}
	b.BoundAt = fromMillis(bound)
	if c.SHA256 != "" {
		c.NotAfter = fromMillis(notAfter)
		b.Certificate = &c
	}
	return b, nil
}

// binding reads the binding of a generation; ok is false when there is none.
func binding(ctx context.Context, q queryer, unitID string, generation int32) (b Binding, ok bool, err error) {
	b, err = scanBinding(q.QueryRowContext(ctx, `SELECT `+bindingColumns+` FROM bindings b WHERE b.unit_id = $1 AND b.generation = $2`, unitID, generation))
	if errors.Is(err, sql.ErrNoRows) {
		return Binding{}, false, nil
	}
	if err != nil {
		return Binding{}, false, fmt.Errorf("read binding of unit %s generation %d: %w", unitID, generation, err)
	}
	return b, true, nil
}

// Bind binds a generation of a unit to one public key, in one transaction. The
// same request again finds what there is; the answer is the unit and its binding.
func (s *Store) Bind(ctx context.Context, in Binding) (u Unit, b Binding, err error) {
	err = s.write(ctx, "bind unit "+in.UnitID, func(t *txn) error {
		if err := t.present(ctx); err != nil {
			return err
		}
		if u, err = t.unit(ctx, in.UnitID); err != nil {
			return err
		}
		known, bound, err := binding(ctx, t, in.UnitID, in.Generation)
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
		if err := t.bindEscrow(ctx, in); err != nil {
			return err
		}
		n, err := t.count(ctx, "write binding",
			`INSERT INTO bindings (unit_id, generation, epoch, station, csr, public_key_sha256, token_serial, token_model, key_id, escrow_id, bound_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (public_key_sha256) DO NOTHING`,
			in.UnitID, in.Generation, in.Epoch, in.Station, in.CSR, in.PublicKeySHA256, in.TokenSerial, in.TokenModel, in.KeyID, in.EscrowID, t.now)
		if err != nil {
			return err
		}
		if n == 0 {
			return refuse(KeyReused, "the public key of this request is bound to another unit or generation; generate a new one")
		}
		b = in
		b.BoundAt = fromMillis(t.now)
		u, err = t.advance(ctx, u, EventBind, "", func(u *Unit) { u.ExpiresAt = fromMillis(t.now).Add(s.rules.Custody) })
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

// bindEscrow checks that the token's SO PIN is in escrow for this unit.
func (t *txn) bindEscrow(ctx context.Context, in Binding) error {
	e, err := t.escrow(ctx, in.EscrowID)
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
	u, err := scanUnit(s.db.Read.QueryRowContext(ctx, `SELECT `+unitColumns+` FROM units u WHERE u.unit_id = $1`, unitID))
	if errors.Is(err, sql.ErrNoRows) {
		return fail(refuse(NotFound, "there is no unit %s", unitID))
	}
	if err != nil {
		return fail(fmt.Errorf("read unit %s: %w", unitID, err))
	}
	b, ok, err := binding(ctx, s.db.Read, unitID, generation)
	switch {
	case err != nil:
		return fail(err)
	case !ok && u.Station != "" && u.Station != station:
		return fail(refuse(NotYours, "unit %s is at another station", unitID))
	case !ok:
		return fail(refuse(WrongState, "no request is bound to generation %d of unit %s", generation, unitID))
	case b.Station != station:
		return fail(refuse(NotYours, "unit %s was bound by another station", unitID))
	}
	return u, b, nil
}
