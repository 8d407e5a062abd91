package audit

import (
	"crypto"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
)

// Keys are the public keys whose signatures count for a station's record.
type Keys struct {
	// Station is the station's name, StationKey the key of its certificate; nil where it
	// is not known.
	Station    string
	StationKey crypto.PublicKey
	// Central are the keys under which the central server may sign. Other kinds of keys
	// than this package's are passed over: a root need not sign checkpoints.
	Central []crypto.PublicKey
}

func (k Keys) central() (out []note.Verifier) {
	for _, key := range k.Central {
		if v, err := NewVerifier(Cosigner, key); err == nil {
			out = append(out, v)
		}
	}
	return out
}

// Open reads a checkpoint that the station or the central server has signed.
func (k Keys) Open(signed []byte, origin string) (Checkpoint, Signatures, error) {
	known := k.central()
	if k.StationKey != nil {
		station, err := NewVerifier(k.Station, k.StationKey)
		if err != nil {
			return Checkpoint{}, Signatures{}, err
		}
		known = append(known, station)
	}
	return Open(signed, origin, known...)
}

// OpenCosigned reads a checkpoint that the central server has signed. The station's own
// signature may be by a key that it had before.
func (k Keys) OpenCosigned(signed []byte, origin string) (Checkpoint, error) {
	c, _, err := Open(signed, origin, k.central()...)
	return c, err
}

// OpenAnchor reads a checkpoint that both have signed with these keys, and nobody else.
func (k Keys) OpenAnchor(signed []byte, origin string) (Checkpoint, error) {
	c, by, err := k.Open(signed, origin)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(by.By) != 2 || len(by.Unknown) > 0 || !slices.Contains(by.By, k.Station) || !slices.Contains(by.By, Cosigner) {
		return Checkpoint{}, fmt.Errorf("%w: it is signed by %v and %d others, not by station and central server", ErrCheckpoint, by.By, len(by.Unknown))
	}
	return c, nil
}

// OpenKept is OpenAnchor for one that was kept, perhaps since before the station got another
// key: earlier says that its signature is by a key that is not known. That there was one the
// central server vouches for, which looked at it before it signed.
func (k Keys) OpenKept(signed []byte, origin string) (c Checkpoint, earlier bool, err error) {
	c, by, err := k.Open(signed, origin)
	if err == nil && slices.Equal(by.By, []string{Cosigner}) && slices.Equal(by.Unknown, []string{k.Station}) {
		return c, true, nil
	}
	c, err = k.OpenAnchor(signed, origin)
	return c, false, err
}
