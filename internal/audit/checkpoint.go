package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint says what a log was like when it had Size entries.
type Checkpoint struct {
	// Origin names the log, see Origin.
	Origin string
	Size   int64
	Root   tlog.Hash
}

// Origin names the record of one installation of a station. It can be told from
// anything else that the same keys sign: a certificate, for one, begins with 0x30.
func Origin(station, instance string) string { return "usbkeyd/record/" + station + "/" + instance }

// ErrCheckpoint says that something is not a checkpoint, or not signed as it must be.
var ErrCheckpoint = errors.New("this is no checkpoint that can be believed")

// text is what is signed: origin, size in decimal, root hash in base64, a line each.
func (c Checkpoint) text() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// Sign gives the checkpoint as a signed note.
func (c Checkpoint) Sign(by ...note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.text()}, by...)
}

// Cosign adds a signature to a note that a known key has signed.
func Cosign(signed []byte, known note.Verifier, by note.Signer) ([]byte, error) {
	n, err := note.Open(signed, note.VerifierList(known))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	return note.Sign(n, by)
}

// Signatures says which signatures under a note hold.
type Signatures struct {
	// By are the names of the keys that were given and have signed.
	By []string
	// Unknown are the names that signatures by other keys give themselves.
	Unknown []string
}

// Open reads a signed note. At least one of the known keys must have signed it, and
// no signature in the name of a known key may be wrong; else it is an ErrCheckpoint.
func Open(signed []byte, origin string, known ...note.Verifier) (Checkpoint, Signatures, error) {
	fail := func(err error) (Checkpoint, Signatures, error) {
		return Checkpoint{}, Signatures{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	n, err := note.Open(signed, note.VerifierList(known...))
	if err != nil {
		return fail(err)
	}
	c, err := parse(n.Text)
	if err != nil {
		return fail(err)
	}
	if c.Origin != origin {
		return fail(fmt.Errorf("it is of %q", c.Origin))
	}
	var s Signatures
	for _, sig := range slices.Concat(n.Sigs, n.UnverifiedSigs) {
		// Two ways to write one signature would be a bit that nobody looks at.
		if raw, err := base64.StdEncoding.DecodeString(sig.Base64); err != nil || base64.StdEncoding.EncodeToString(raw) != sig.Base64 {
			return fail(errors.New("a signature is not written as signatures are"))
		}
	}
	for _, sig := range n.Sigs {
		s.By = append(s.By, sig.Name)
	}
	for _, sig := range n.UnverifiedSigs {
		s.Unknown = append(s.Unknown, sig.Name)
	}
	return c, s, nil
}

// parse reads the text of a checkpoint, which can be written in one way only.
func parse(text string) (c Checkpoint, err error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 {
		return Checkpoint{}, errors.New("it has not three lines")
	}
	c.Origin = lines[0]
	if c.Size, err = strconv.ParseInt(lines[1], 10, 64); err != nil || c.Size < 0 {
		return Checkpoint{}, errors.New("its size is no number")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, errors.New("its root is no hash")
	}
	copy(c.Root[:], root)
	if c.text() != text {
		return Checkpoint{}, errors.New("it is not written as checkpoints are")
	}
	return c, nil
}
