package drop

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// refusedExt is the end of a refusal's name; answerExts are those of certificates.
const refusedExt = ".refused"

func answerExts() []string { return []string{".p7b", ".p7c", ".cer"} }

// inbox is the folder of answers, as it was last seen.
type inbox struct {
	dir    string
	settle time.Duration
	files  map[string]*arrival
}

// arrival is one file of it.
type arrival struct {
	size    int64
	changed time.Time
	since   time.Time // when it was first seen as it is
	read    bool
	entry   Entry  // the request that it answers
	fault   string // why it is no answer, in words; empty when it answers entry
	// unfinished says that the fault may be one of a file that is still being written.
	unfinished bool
	certs      []*x509.Certificate
	reason     string // of a refusal
	refusal    bool
}

// look reads what has come and stood still since, and forgets what has gone.
func (b *inbox) look(l *ledger) error {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return fmt.Errorf("look for answers: %w", err)
	}
	seen := make(map[string]*arrival, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone meanwhile
		}
		if err != nil {
			return fmt.Errorf("look for answers: %w", err)
		}
		name := e.Name()
		if underWay(name) {
			continue
		}
		a := b.files[name]
		if a == nil || a.size != info.Size() || !a.changed.Equal(info.ModTime()) {
			a = &arrival{size: info.Size(), changed: info.ModTime(), since: time.Now()}
		}
		if !a.read && time.Since(a.since) >= b.settle {
			a.open(filepath.Join(b.dir, name), info, l)
		}
		seen[name] = a
	}
	b.files = seen
	return nil
}

// underWay says that by its name a file is still being written, or not meant for us.
func underWay(name string) bool {
	return strings.HasPrefix(name, ".") || slices.Contains([]string{".tmp", ".part", ".partial", ".new", ".crdownload"}, strings.ToLower(filepath.Ext(name)))
}

// open reads the file and finds the request that it answers: certificates by the
// public key, whatever their file is called, a refusal by its name.
func (a *arrival) open(path string, info fs.FileInfo, l *ledger) {
	a.read = true
	ext := filepath.Ext(path)
	stem := strings.TrimSuffix(filepath.Base(path), ext)
	ext = strings.ToLower(ext)
	named, isNamed := l.byID[stem]
	a.refusal = ext == refusedExt
	switch {
	case !info.Mode().IsRegular():
		a.fault = "it is not a regular file"
		return
	case info.Size() > maxFile:
		a.fault = fmt.Sprintf("it is larger than %d bytes", maxFile)
		return
	case !a.refusal && !slices.Contains(answerExts(), ext):
		a.fault = "its name does not end in .p7b, .p7c, .cer or .refused"
		return
	case a.refusal && !isNamed:
		a.fault = "no request of this name was given out"
		return
	}
	data, err := os.ReadFile(path)
	if err != nil {
		a.fault, a.unfinished = fmt.Sprintf("it cannot be read: %v", err), true
		return
	}
	if a.refusal {
		a.entry, a.reason = named, parseRefusal(data)
		return
	}
	if a.certs, err = parseAnswer(data); err != nil {
		a.fault, a.unfinished = err.Error(), true
		return
	}
	for _, c := range a.certs {
		e, known := l.byKey[keySum(c)]
		switch {
		case !known:
		case a.entry.RequestID == "" || a.entry.RequestID == e.RequestID:
			a.entry = e
		default:
			a.fault = fmt.Sprintf("it answers %s and %s: one file for one request", a.entry.RequestID, e.RequestID)
			return
		}
	}
	switch {
	case a.entry.RequestID == "":
		a.fault = "it has no certificate for a key that was asked for"
	case isNamed && named.RequestID != a.entry.RequestID:
		a.fault = fmt.Sprintf("its certificate is for the key of %s, its name is that of another request", a.entry.RequestID)
	}
}

// keySum is the SHA-256 of a certificate's public key in canonical form, as
// requests have it.
func keySum(c *x509.Certificate) string {
	spki, err := x509.MarshalPKIXPublicKey(c.PublicKey)
	if err != nil {
		return "" // a kind of key that no request has
	}
	s := sha256.Sum256(spki)
	return hex.EncodeToString(s[:])
}
