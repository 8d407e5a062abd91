package provision

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"

	"github.com/usbkeyd/usbkeyd/internal/keycheck"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// KeyGate is what every new key must pass: by itself, and beside every key that
// this station has ever made. It is safe for concurrent use.
type KeyGate struct {
	gate  *keycheck.Gate
	known keycheck.Moduli
}

// NewKeyGate makes a gate that knows the keys in the journal.
func NewKeyGate(journal *Journal) (*KeyGate, error) {
	return (&KeyGate{gate: keycheck.New()}).For(journal)
}

// For makes a gate for another journal, with this one's tables, which take a while to make.
func (g *KeyGate) For(journal *Journal) (*KeyGate, error) {
	g = &KeyGate{gate: g.gate}
	// A key that cannot be read was refused when it was made; it counts by its bytes.
	if _, err := g.known.Load(journal.publicKeys()); err != nil {
		return nil, err
	}
	return g, nil
}

// check lets a key pass, or returns ErrKeyUnfit with the reason.
func (g *KeyGate) check(jobID string, spki []byte, want pkcs11.Algorithm) error {
	err := g.gate.Check(spki, keycheck.Want{ModulusBits: want.ModulusBits, ECParams: want.ECParams})
	if err == nil {
		err = g.known.Admit(keycheck.Known{ID: jobID, SPKI: spki})
	}
	switch {
	case errors.Is(err, keycheck.ErrOrder):
		return fmt.Errorf("%w: %w", ErrProfileMisfit, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrKeyUnfit, err)
	}
	return nil
}

// publicKeys goes through the keys of all jobs.
func (j *Journal) publicKeys() iter.Seq2[keycheck.Known, error] {
	return func(yield func(keycheck.Known, error) bool) {
		rows, err := j.db.Query("SELECT id, facts ->> '$.PublicKey' FROM job WHERE facts ->> '$.PublicKey' IS NOT NULL ORDER BY rowid")
		if err != nil {
			yield(keycheck.Known{}, fmt.Errorf("%w: %w", ErrJournal, err))
			return
		}
		defer func() { _ = rows.Close() }() // rows.Err tells what matters
		for rows.Next() {
			var known keycheck.Known
			var encoded string
			if err := rows.Scan(&known.ID, &encoded); err != nil {
				yield(known, fmt.Errorf("%w: %w", ErrJournal, err))
				return
			}
			if known.SPKI, err = base64.StdEncoding.DecodeString(encoded); err != nil {
				yield(known, fmt.Errorf("%w: public key of job %s: %w", ErrJournal, known.ID, err))
				return
			}
			if !yield(known, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(keycheck.Known{}, fmt.Errorf("%w: %w", ErrJournal, err))
		}
	}
}
