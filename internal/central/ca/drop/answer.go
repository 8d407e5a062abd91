package drop

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// said is what the offline CA said about one request.
type said struct {
	certs   []*x509.Certificate
	refused bool
	reason  string
}

func (s said) anything() bool { return len(s.certs) > 0 || s.refused }

// answer looks for what came back for a request, first where answers were taken to.
func (c *CA) answer(e Entry) (ca.Certificate, error) {
	if err := c.look(); err != nil {
		return ca.Certificate{}, err
	}
	got, err := c.taken(e)
	if err != nil {
		return ca.Certificate{}, err
	}
	var fresh []string
	if !got.anything() {
		for name, a := range c.inbox.files {
			if a.read && a.fault == "" && a.entry.RequestID == e.RequestID {
				fresh = append(fresh, name)
				got.certs = append(got.certs, a.certs...)
				if a.refusal {
					got.refused, got.reason = true, a.reason
				}
			}
		}
	}
	switch {
	case len(got.certs) > 0 && got.refused:
		return ca.Certificate{}, fmt.Errorf("the offline CA both issued and refused %s (%s): leave one of the files in %s", e.RequestID, got.reason, c.inbox.dir)
	case !got.anything():
		return ca.Certificate{}, &ca.PendingError{Reason: "the offline CA has not answered " + e.File, After: c.wait()}
	}
	var out ca.Certificate
	if len(got.certs) > 0 {
		if out, err = ca.Assemble(keyOf(got.certs, e), got.certs, c.cfg.Issuers, c.cfg.Roots); err != nil {
			return ca.Certificate{}, fmt.Errorf("answer to %s: %w", e.RequestID, err)
		}
	}
	for _, name := range fresh {
		if err := c.take(e, name); err != nil {
			return ca.Certificate{}, fmt.Errorf("answer to %s: %w", e.RequestID, err)
		}
	}
	if got.refused {
		return ca.Certificate{}, &ca.RefusedError{Reason: got.reason}
	}
	return out, nil
}

// wait is until the next look: soon where something has come that has to settle.
func (c *CA) wait() time.Duration {
	for _, a := range c.inbox.files {
		if !a.read {
			return c.cfg.Settle
		}
	}
	return c.cfg.Poll
}

// taken reads the answers that were taken before.
func (c *CA) taken(e Entry) (got said, err error) {
	for _, ext := range append(answerExts(), refusedExt) {
		data, err := os.ReadFile(filepath.Join(c.cfg.Dir, "done", e.RequestID+ext))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return said{}, err
		}
		if ext == refusedExt {
			got.refused, got.reason = true, parseRefusal(data)
			continue
		}
		more, err := parseAnswer(data)
		if err != nil {
			return said{}, fmt.Errorf("done/%s%s: %w", e.RequestID, ext, err)
		}
		got.certs = append(got.certs, more...)
	}
	return got, nil
}

// take moves an answer to done, under the request's id. Nothing there is replaced:
// a second file of that name says the same, and is set aside with the next look.
func (c *CA) take(e Entry, name string) error {
	to := filepath.Join(c.cfg.Dir, "done", e.RequestID+strings.ToLower(filepath.Ext(name)))
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(filepath.Join(c.inbox.dir, name), to); err != nil {
		return err
	}
	delete(c.inbox.files, name)
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(c.inbox.dir))
}

// keyOf is the request's key, from a certificate for it.
func keyOf(certs []*x509.Certificate, e Entry) any {
	for _, c := range certs {
		if keySum(c) == e.PublicKeySHA256 {
			return c.PublicKey
		}
	}
	return nil
}

// again says what is wrong with an answer to a request that was answered before;
// alarm is true when certificates may be valid that nobody wants.
func (s said) again(a *arrival) (why string, alarm bool) {
	id := a.entry.RequestID
	switch {
	case !a.refusal && s.refused:
		return fmt.Sprintf("it brings a certificate for %s, which the CA refused before: have that certificate revoked", id), true
	case a.refusal && s.refused:
		return fmt.Sprintf("%s was refused before", id), false
	case a.refusal:
		return fmt.Sprintf("it refuses %s, for which a certificate was taken before: ask the CA which of the two holds", id), true
	}
	for _, c := range a.certs {
		if keySum(c) == a.entry.PublicKeySHA256 && !slices.ContainsFunc(s.certs, c.Equal) {
			return fmt.Sprintf("it brings a second certificate for %s, serial %s: compare it with done/%s, and have one of the two revoked", id, ca.SerialText(c.SerialNumber), id), true
		}
	}
	return fmt.Sprintf("it brings again what was taken for %s before", id), false
}
