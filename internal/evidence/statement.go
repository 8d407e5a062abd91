package evidence

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Version is that of the statement's form.
const Version = 1

// Grade says how good a fact is.
type Grade string

// Grades.
const (
	Proved   Grade = "proved"                  // by what stands in the statement
	Claimed  Grade = "claimed by the module"   // PKCS#11 attributes are
	Attested Grade = "attested by the vendor"  // by a statement of the token's maker
	Declared Grade = "declared by the station" // it did so, and nobody else saw it
)

// Statement is what a station says about one finished key. Hashes are SHA-256 in
// lower-case hexadecimal; bytes are base64, times RFC 3339 in UTC.
type Statement struct {
	Version int       `json:"version"`
	MadeAt  time.Time `json:"madeAt"`

	Station Station `json:"station"`
	Unit    Unit    `json:"unit"`
	Token   Token   `json:"token"`
	Key     Key     `json:"key"`

	Certificate Certificate `json:"certificate"`
	// Envelopes are those in which the PINs left the station.
	Envelopes []Envelope `json:"envelopes"`
	// Possession is a challenge that the token signed after its certificate was there.
	Possession Possession `json:"possession"`
	Facts      []Fact     `json:"facts"`
	// Record is the unit's place in the station's record; nil when that was not anchored.
	Record *Record `json:"record,omitempty"`
}

// Station is who says so.
type Station struct {
	Name string `json:"name"`
	// Instance is its installation's UUID.
	Instance string `json:"instance"`
	// Identity is where its key is: tpm or file, the lower tier.
	Identity string `json:"identity"`
	Version  string `json:"version"`
}

// Unit is what was ordered. Who ordered it the order says.
type Unit struct {
	OrderID    string `json:"orderId"`
	UnitID     string `json:"unitId"`
	Generation int    `json:"generation"`
	Product    string `json:"product"`
	JobID      string `json:"jobId"`
}

// Token is the key's place.
type Token struct {
	Serial string `json:"serial"`
	Label  string `json:"label"`
	Model  string `json:"model"`
	// Module is the vendor's library: the hash of its path, and of its file where the
	// configuration pins one.
	ModulePathSHA256 string `json:"modulePathSha256"`
	ModuleSHA256     string `json:"moduleSha256,omitempty"`
}

// Key is the pair that was made on the token.
type Key struct {
	Algorithm string `json:"algorithm"`
	// ID is CKA_ID in hexadecimal.
	ID string `json:"id"`
	// PublicKey is a SubjectPublicKeyInfo in DER (RFC 5280, 4.1.2.7).
	PublicKey []byte `json:"publicKey"`
}

// Certificate is what was installed.
type Certificate struct {
	// Serial is its serial number in hexadecimal.
	Serial string `json:"serial"`
	SHA256 string `json:"sha256"`
}

// Of what an envelope is.
const (
	OfSOPIN   = "SO PIN"
	OfUserPIN = "user PIN"
)

// Envelope is one in which a PIN left the station.
type Envelope struct {
	// Of is OfSOPIN or OfUserPIN.
	Of     string `json:"of"`
	SHA256 string `json:"sha256"`
	// Recipients are the hashes of the certificates that it is sealed to.
	Recipients []string `json:"recipients"`
}

// Possession is a signature by the private key over a challenge.
type Possession struct {
	Challenge []byte `json:"challenge"`
	// Hash is SHA-256, SHA-384 or SHA-512; Signature is over that of the challenge:
	// PKCS#1 v1.5, or an Ecdsa-Sig-Value in DER.
	Hash      string `json:"hash"`
	Signature []byte `json:"signature"`
}

// Fact is one thing that is so, and how it is known.
type Fact struct {
	What  string `json:"what"`
	Grade Grade  `json:"grade"`
	// By says in words what it rests on.
	By string `json:"by"`
}

// Record is an entry of the station's record, and the proof that it is in it.
type Record struct {
	Index int64  `json:"index"`
	Entry string `json:"entry"`
	// Proof is the inclusion proof (RFC 6962, 2.1.1) to the checkpoint's root.
	Proof [][]byte `json:"proof"`
	// Checkpoint is a signed note, by the station and the central server.
	Checkpoint string `json:"checkpoint"`
}

// ErrStatement says that something is no statement.
var ErrStatement = errors.New("this is no statement about a key")

// encode gives the one text that is signed.
func (s Statement) encode() ([]byte, error) {
	s.MadeAt = s.MadeAt.UTC().Truncate(time.Second)
	text, err := json.MarshalIndent(s, "", "  ") // people read it, too
	return append(text, '\n'), err
}

// decode reads it; what encode would have written in another way is an ErrStatement.
func decode(text []byte) (Statement, error) {
	var s Statement
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if s.Version != Version {
		return Statement{}, fmt.Errorf("%w: its version is %d, this program knows %d", ErrStatement, s.Version, Version)
	}
	again, err := s.encode()
	if err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	if !bytes.Equal(again, text) {
		return Statement{}, fmt.Errorf("%w: it is not written as statements are", ErrStatement)
	}
	return s, nil
}
