package provision

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// A label says what somebody stuck on a key; the token itself says what the key is. So a
// key of the open parcel is put in again, and read. That it comes while it is waited for is
// what ties the key in the hand to what is read: a token that is plugged in all the time may
// be any of the keys on the table. Whoever has the tokens, the daemon mostly, serves the
// wish, which is in the journal.

// Insertion is the wish that a key be put in.
type Insertion struct {
	Key   packing.Key
	By    string
	Asked time.Time
	Until time.Time
	// Reason is how it ended: InsertionRead, a reason of package packing, InsertionLate or
	// InsertionFailed; "" before. Says is that in a sentence, or what to do once somebody
	// looks for the token.
	Reason string
	Says   string
}

// How an insertion ends beside a refusal.
const (
	InsertionRead   = "read"
	InsertionFailed = "failed"
	InsertionLate   = "late"
)

// daemonGrace is how long past its end a wish is waited for that the daemon serves.
const daemonGrace = 5 * time.Second

// Overdue reports that whoever serves wishes should have said how this one ended.
func (i Insertion) Overdue(now time.Time) bool { return now.After(i.Until.Add(daemonGrace)) }

// AskInsertion makes a wish, in the place of an earlier one.
func (t Table) AskInsertion(k packing.Key, by string, patience time.Duration) (Insertion, error) {
	now := t.Now().Truncate(time.Millisecond)
	i := Insertion{Key: k, By: by, Asked: now, Until: now.Add(patience)}
	key, err := json.Marshal(k)
	if err != nil {
		return i, err
	}
	return i, t.Journal.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT OR REPLACE INTO insertion (id, asked, until, key, by_whom) VALUES (1, $1, $2, $3, $4)",
			i.Asked.UnixMilli(), i.Until.UnixMilli(), string(key), by)
		return err
	})
}

// Insertion is the last wish; nil when there was none.
func (j *Journal) Insertion() (*Insertion, error) {
	var i Insertion
	var asked, until int64
	var key []byte
	var reason, says sql.NullString
	err := j.db.QueryRow("SELECT asked, until, key, by_whom, reason, says FROM insertion").Scan(&asked, &until, &key, &i.By, &reason, &says)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(key, &i.Key)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrJournal, err)
	}
	i.Asked, i.Until, i.Reason, i.Says = time.UnixMilli(asked), time.UnixMilli(until), reason.String, says.String
	return &i, nil
}

// amendInsertion notes how far a wish is, unless another has taken its place.
func (j *Journal) amendInsertion(i *Insertion) error {
	return j.transact(crashpoint.JournalIntent, func(tx *sql.Tx) error {
		_, err := tx.Exec("UPDATE insertion SET reason = NULLIF($1, ''), says = $2 WHERE asked = $3", i.Reason, i.Says, i.Asked.UnixMilli())
		return err
	})
}

// Borrow lends the module of a name to f, once.
type Borrow func(ctx context.Context, module string, f func(pkcs11.Module) error) error

// ServeInsertion serves the wish that is open, if there is one, until it has ended. every is
// how often it looks.
func (t Table) ServeInsertion(ctx context.Context, borrow Borrow, every time.Duration) error {
	i, err := t.Journal.Insertion()
	if err != nil || i == nil || i.Reason != "" || !t.Now().Before(i.Until) {
		return err
	}
	wait, cancel := context.WithDeadline(ctx, i.Until)
	defer cancel()
	err = t.inserted(wait, i, borrow, every)
	var refusal *packing.Refusal
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // the next one who has the tokens serves it
	case err == nil:
		if _, _, err = t.Verified(i.Key, i.By); err == nil {
			i.Reason, i.Says = InsertionRead, fmt.Sprintf("The key of %s has shown its serial %s and its certificate.", i.Key.Unit, i.Key.Token)
			break
		}
		if !errors.As(err, &refusal) {
			return err
		}
		i.Reason, i.Says = string(refusal.Reason), refusal.Says.String()
	case errors.As(err, &refusal):
		i.Reason, i.Says = string(refusal.Reason), refusal.Says.String()
	case wait.Err() != nil:
		i.Reason, i.Says = InsertionLate, fmt.Sprintf("The token %s was not put in. If the key was plugged in already, take it out and put it in again.", i.Key.Token)
	default:
		i.Reason, i.Says = InsertionFailed, fmt.Sprintf("The key cannot be read: %v.", err)
	}
	return t.Journal.amendInsertion(i)
}

// errChangedWish says that a wish is over before it was served.
const errChangedWish = Sentinel("another key is waited for")

// inserted returns nil once the key's token came and is what the journal says.
func (t Table) inserted(ctx context.Context, i *Insertion, borrow Borrow, every time.Duration) error {
	rec, err := t.Journal.Job(i.Key.Job)
	if err != nil || rec == nil {
		return errors.Join(err, fmt.Errorf("job %s is not in the journal", i.Key.Job))
	}
	var before []pkcs11.TokenSerial
	for first := true; ; first = false {
		done := false
		err := borrow(ctx, rec.Token.Module, func(m pkcs11.Module) error {
			slots, err := m.Slots(ctx)
			if err != nil {
				return err
			}
			now := serials(slots)
			for _, s := range now {
				if first || slices.Contains(before, s) {
					continue
				}
				if s == rec.Token.Identity.Serial {
					done = true
				} else if err := t.stranger(s, i.Key); err != nil {
					return err
				}
			}
			before = now
			if !done {
				return nil
			}
			return readKey(ctx, m, rec)
		})
		if err != nil || done {
			return err
		}
		if first {
			i.Says = fmt.Sprintf("Put the key %s in now.", i.Key.Token)
			if err := t.Journal.amendInsertion(i); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
		if last, err := t.Journal.Insertion(); err != nil || last == nil || !last.Asked.Equal(i.Asked) {
			return errors.Join(err, errChangedWish)
		}
	}
}

// serials are those of the initialised tokens in sight.
func serials(slots []pkcs11.Slot) (out []pkcs11.TokenSerial) {
	for _, s := range slots {
		if s.Token != nil && s.Token.Initialized() {
			out = append(out, s.Token.Serial)
		}
	}
	return out
}

// stranger refuses another token than the one that is waited for. One that is being written is
// nobody's who packs.
func (t Table) stranger(s pkcs11.TokenSerial, k packing.Key) error {
	m, err := t.Token(string(s))
	if err != nil {
		return err
	}
	for _, u := range m.Units {
		if u.Standing != packing.Working {
			return &packing.Refusal{Reason: packing.WrongKey, Says: packing.Say("Wrong key: the label is that of %s, and the token that was put in is %s, key %d of %d of order %s. Put both aside and label them anew.",
				k.Token, s, u.Sequence, u.Of, u.Order)}
		}
	}
	if len(m.Units) == 0 {
		return &packing.Refusal{Reason: packing.WrongKey, Says: packing.Say("Wrong key: the label is that of %s, and the token that was put in is %s, which is no finished key of this station.", k.Token, s)}
	}
	return nil
}

// readKey compares what a token shows without a PIN with what was installed on it.
func readKey(ctx context.Context, m pkcs11.Module, rec *Record) (err error) {
	token, err := m.Open(ctx, rec.Token.Identity)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, token.Close()) }()
	class := pkcs11.ClassCertificate
	objects, err := token.Objects(ctx, pkcs11.Query{Class: &class, ID: rec.Facts.KeyID})
	if err != nil {
		return err
	}
	for _, o := range objects {
		if sum := sha256.Sum256(o.Certificate); hex.EncodeToString(sum[:]) == rec.Facts.CertificateSHA256 {
			return nil
		}
	}
	return fmt.Errorf("%w: the certificate of %s is not on it", ErrReadBack, rec.Job.UnitID())
}
