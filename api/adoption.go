package api

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// Adoption is what a station proves to have the key of, when it takes a bound unit
// back or over (POST /units/{unitId}/adopt).
type Adoption struct {
	Station    string
	SessionID  string
	UnitID     string
	Generation int32
	// Epoch is the unit's epoch before the adoption.
	Epoch       int64
	TokenSerial string
	// PublicKey is the bound key as DER SubjectPublicKeyInfo.
	PublicKey []byte
}

// Statement is the message whose hash the bound key signs. Its first line keeps
// the signature from meaning anything else; session, station and epoch make it
// worthless to anybody else and at any other time.
func (a Adoption) Statement() []byte {
	key := sha256.Sum256(a.PublicKey)
	lines := []string{
		"usbkeyd adoption 1", a.Station, a.SessionID, a.UnitID, strconv.FormatInt(int64(a.Generation), 10),
		strconv.FormatInt(a.Epoch, 10), a.TokenSerial, hex.EncodeToString(key[:]),
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}
