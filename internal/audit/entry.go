package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind says what was done. Kinds are written down for ever, so they never change meaning.
type Kind string

// Kinds of acts at a token or for a unit. Irreversible acts are recorded before they are
// done, with the intent that the journal keeps of them.
const (
	KindLease            Kind = "lease"             // a unit was given to a token
	KindLogin            Kind = "login"             // a factory PIN is about to be tried
	KindEscrow           Kind = "escrow"            // the sealed SO PIN goes to the central server
	KindTokenWrite       Kind = "token-write"       // a step is about to write the token
	KindPINSet           Kind = "pin-set"           // a step is about to set a PIN
	KindPINDestroyed     Kind = "pin-destroyed"     // the station's copies of a token's PINs are gone
	KindPINPrint         Kind = "pin-print"         // a PIN mailer is about to be printed
	KindCertificateBound Kind = "certificate-bound" // the request is about to bind the unit's key
	KindStep             Kind = "step"              // another step went on
	KindParked           Kind = "parked"            // a job waits
	KindInstalled        Kind = "installed"         // a unit is finished
	KindReleased         Kind = "released"          // a unit is given back
	KindGivenUp          Kind = "given-up"          // a job ended in another way
	KindScanned          Kind = "scanned"           // a key was put into a parcel, was verified there, or taken out
	KindPacked           Kind = "packed"            // the parcel with a unit's key was closed
	KindQuarantine       Kind = "quarantine"        // a decision about a token in quarantine, by its code
	KindLabel            Kind = "label"             // a key's label was printed, stuck on, mixed up or put aside
)

// Kinds of acts of the station itself.
const (
	KindStart        Kind = "start"         // the daemon began, with the configuration of before
	KindConfigChange Kind = "config-change" // it began with another one
	KindSession      Kind = "session"       // a session with the central server
	KindDrain        Kind = "drain"         // the server wants this station to finish, or no longer
	KindLeaseLost    Kind = "lease-lost"    // the server gave a unit to somebody else
	KindCancelled    Kind = "cancelled"     // the server withdrew a unit
	KindRefusal      Kind = "refusal"       // the server refused a report for good
	KindRecovery     Kind = "recovery"      // a unit that was lost was taken back
	KindIntake       Kind = "intake"        // a delivery of tokens was taken into stock
	KindParcel       Kind = "parcel"        // something else was done to a parcel
)

// Entry is one act.
type Entry struct {
	// Index is the entry's place in the log, from 0.
	Index int64 `json:"index"`
	// Time is by the station's clock, in milliseconds, UTC. The order of entries is that
	// of Index, whatever the clock said.
	Time time.Time `json:"time"`
	Kind Kind      `json:"kind"`

	Unit       string `json:"unit,omitempty"`
	Generation int    `json:"generation,omitempty"`
	Epoch      int64  `json:"epoch,omitempty"`
	Job        string `json:"job,omitempty"`
	// Step is the step of the job, Code a word that says more, such as a release's reason.
	Step        string `json:"step,omitempty"`
	Code        string `json:"code,omitempty"`
	TokenSerial string `json:"tokenSerial,omitempty"`
	// IDs are further ids by what they are of, such as "escrow" or "certificateSerial".
	IDs map[string]string `json:"ids,omitempty"`
	// Hashes are SHA-256 in hexadecimal by what they are of, such as "certificate".
	Hashes map[string]string `json:"hashes,omitempty"`
}

// maxLine bounds an entry, in bytes.
const maxLine = 2048

// ErrEntry says that something is not an entry.
var ErrEntry = errors.New("this is no entry of a record")

// encode gives the one line, without a line feed, that is hashed.
func (e Entry) encode() ([]byte, error) {
	e.Time = e.Time.UTC().Truncate(time.Millisecond)
	if err := e.check(); err != nil {
		return nil, err
	}
	line, err := json.Marshal(e) // the keys of a map are sorted, so there is one way only
	if err == nil && len(line) > maxLine {
		err = fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrEntry, len(line), maxLine)
	}
	return line, err
}

// Decode reads a line. What this package would have written in another way is an
// ErrEntry, so that one line means one thing.
func Decode(line []byte) (Entry, error) {
	if len(line) > maxLine {
		return Entry{}, fmt.Errorf("%w: it has %d bytes, %d are allowed", ErrEntry, len(line), maxLine)
	}
	var e Entry
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrEntry, err)
	}
	again, err := e.encode()
	if err != nil {
		return Entry{}, err
	}
	if !bytes.Equal(again, line) {
		return Entry{}, fmt.Errorf("%w: it is not written as entries are", ErrEntry)
	}
	return e, nil
}

// check looks at the form of every field: words, ids and hashes have no room for a name
// or an address. A token's serial is what its maker chose.
func (e Entry) check() error {
	if e.Index < 0 || e.Time.Year() < 1970 || e.Time.Year() > 9999 || e.Generation < 0 || e.Epoch < 0 {
		return fmt.Errorf("%w: a number or the time is out of range", ErrEntry)
	}
	optional := func(value string, form func(string) bool) bool { return value == "" || form(value) }
	wrong := func(name string) error { return fmt.Errorf("%w: its %q has not the form of one", ErrEntry, name) }
	switch {
	case !isWord(string(e.Kind)):
		return wrong("kind")
	case !optional(e.Unit, isID):
		return wrong("unit")
	case !optional(e.Job, isID):
		return wrong("job")
	case !optional(e.Step, isWord):
		return wrong("step")
	case !optional(e.Code, isWord):
		return wrong("code")
	case !optional(e.TokenSerial, IsTokenSerial):
		return wrong("tokenSerial")
	}
	for name, id := range e.IDs {
		if !isWord(name) || !isID(id) {
			return wrong(name)
		}
	}
	for name, hash := range e.Hashes {
		if raw, err := hex.DecodeString(hash); !isWord(name) || err != nil || len(raw) != sha256.Size || strings.ToLower(hash) != hash {
			return wrong(name)
		}
	}
	return nil
}

// maxID bounds a word, an id and a serial, in bytes.
const maxID = 128

func isWord(s string) bool { return isMadeOf(s, "-") }

func isID(s string) bool { return isMadeOf(s, "-._:+") }

// IsWord reports whether an entry can hold s as a word.
func IsWord(s string) bool { return isWord(s) }

// IsID reports whether an entry can hold s as an id. What cannot be held is told by its hash.
func IsID(s string) bool { return isID(s) }

// isMadeOf reports that s begins with an ASCII letter or digit and has only those and others.
func isMadeOf(s, others string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || strings.IndexByte(others, c) < 0) {
			return false
		}
	}
	return s != "" && len(s) <= maxID
}

// IsTokenSerial reports that an entry can hold a token's serial: visible ASCII, with
// blanks inside only.
func IsTokenSerial(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxID && strings.TrimSpace(s) == s
}
