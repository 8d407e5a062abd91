package conformance

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// ledger is a record of a station that is played, as an installation of its own.
type ledger struct {
	*scene
	by       *station
	instance string
	rows     audit.Memory
	name     string
	key      crypto.Signer
}

func (s *scene) ledger(by *station) (*ledger, error) {
	leaf, err := x509.ParseCertificate(by.credential.Certificate[0])
	if err != nil {
		return nil, before(err)
	}
	key, ok := by.credential.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, before(errors.New("the station's key signs nothing"))
	}
	return &ledger{scene: s, by: by, instance: uuid.NewString(), name: leaf.Subject.CommonName, key: key}, nil
}

func (l *ledger) act(e audit.Entry) error {
	e.Time = time.Now()
	_, err := (audit.Log{Storage: &l.rows}).Append(e)
	return err
}

// put sends the entries from first on, up to size.
func (l *ledger) put(first, size int) (answer, error) {
	root, err := (audit.Log{Storage: &l.rows}).Root(int64(size))
	if err != nil {
		return answer{}, err
	}
	signer, err := audit.NewSigner(l.name, l.key)
	if err != nil {
		return answer{}, before(err)
	}
	note, err := audit.Checkpoint{Origin: audit.Origin(l.name, l.instance), Size: int64(size), Root: root}.Sign(signer)
	if err != nil {
		return answer{}, err
	}
	part := api.RecordRequest{First: int64(first), Entries: []api.RecordEntry{}, Checkpoint: string(note)}
	for _, row := range l.rows.Rows[first:size] {
		part.Entries = append(part.Entries, string(row.Line))
	}
	return l.by.send(l.ctx, "PUT", "/records/"+l.instance, part)
}

func (l *ledger) get() (answer, error) {
	return l.by.send(l.ctx, "GET", "/records/"+l.instance, nil)
}

// has wants the server's checkpoint to be of this record, at this size, with both signatures.
func (l *ledger) has(size int, a answer, err error) error {
	var got api.RecordAnchor
	if err == nil {
		err = a.is(&got, 200)
	}
	if err != nil {
		return err
	}
	if got.Size != int64(size) || got.Forked || size > 0 != (got.Checkpoint != nil) {
		return fmt.Errorf("%v; want %d entries", a, size)
	}
	if size == 0 {
		return nil
	}
	keys := audit.Keys{Station: l.name, StationKey: l.key.Public()}
	c, by, err := keys.Open([]byte(*got.Checkpoint), audit.Origin(l.name, l.instance))
	if err != nil {
		return fmt.Errorf("%v: %w", a, err)
	}
	if len(by.Unknown) != 1 || !strings.Contains(*got.Checkpoint, "\n— "+audit.Cosigner+" ") {
		return fmt.Errorf("%v; want it signed under the name %s too", a, audit.Cosigner)
	}
	if _, err := audit.Verify((&audit.Memory{Rows: l.rows.Rows[:size]}).All(), c); err != nil {
		return fmt.Errorf("%v: %w", a, err)
	}
	return nil
}

// finished puts a token's end on record.
func (l *ledger) finished(t *token) error {
	err := l.act(audit.Entry{
		Kind: audit.KindInstalled, Unit: t.lease.UnitId, Generation: int(t.generation), TokenSerial: t.serial,
		Hashes: map[string]string{"certificate": t.cert.CertificateSha256},
	})
	if err != nil {
		return err
	}
	n := len(l.rows.Rows)
	a, err := l.put(n-1, n)
	return l.has(n, a, err)
}

// anchored puts a token's end on record, in one of its own.
func (t *token) anchored() error {
	l, err := t.ledger(t.by)
	if err != nil {
		return err
	}
	return before(l.finished(t))
}

func recordChecks() []check {
	return []check{
		{"record", "A record grows part by part, and each checkpoint comes back with the server's signature; repeats, late parts and overlaps change nothing.", func(s *scene) error {
			l, err := s.ledger(s.a())
			if err != nil {
				return err
			}
			a, err := l.get()
			if err := l.has(0, a, err); err != nil {
				return err
			}
			for n := range 12 {
				if err := l.act(audit.Entry{Kind: audit.KindStep, Unit: fmt.Sprintf("CONF-%03d", n)}); err != nil {
					return err
				}
			}
			for _, part := range [][3]int{{0, 5, 5}, {0, 5, 5}, {3, 9, 9}, {0, 5, 9}, {9, 12, 12}} {
				a, err := l.put(part[0], part[1])
				if err := l.has(part[2], a, err); err != nil {
					return fmt.Errorf("entries %d to %d: %w", part[0], part[1], err)
				}
			}
			a, err = l.get()
			return l.has(12, a, err)
		}},
		{"record-refused", "A part with a gap before it, and one that another key has signed, is invalid-content, and the record is as it was.", func(s *scene) error {
			l, err := s.ledger(s.a())
			if err != nil {
				return err
			}
			for range 4 {
				if err := l.act(audit.Entry{Kind: audit.KindStep}); err != nil {
					return err
				}
			}
			a, err := l.put(0, 1)
			if err := l.has(1, a, err); err != nil {
				return before(err)
			}
			if err := refused(api.ProblemInvalidContent)(l.put(2, 4)); err != nil {
				return fmt.Errorf("a gap: %w", err)
			}
			thief, err := s.ledger(s.b())
			if err != nil {
				return err
			}
			own := l.key
			l.key = thief.key
			if a, err = l.put(1, 4); err == nil {
				err = a.refused(api.ProblemInvalidContent)
			}
			l.key = own
			if err != nil {
				return fmt.Errorf("another station's key: %w", err)
			}
			a, err = l.put(1, 4)
			return l.has(4, a, err)
		}},
		{"record-forked", "A record that does not go on from what the server has is record-forked from then on, and the order system is told.", func(s *scene) error {
			l, err := s.ledger(s.b())
			if err != nil {
				return err
			}
			for range 6 {
				if err := l.act(audit.Entry{Kind: audit.KindStep}); err != nil {
					return err
				}
			}
			a, err := l.put(0, 6)
			if err := l.has(6, a, err); err != nil {
				return before(err)
			}
			l.rows.Rows = l.rows.Rows[:4]
			for range 3 {
				if err := l.act(audit.Entry{Kind: audit.KindRefusal}); err != nil {
					return err
				}
			}
			for range 2 {
				if err := refused(api.ProblemRecordForked)(l.put(4, 7)); err != nil {
					return err
				}
			}
			var stations api.StationList
			if a, err = s.admin.send(s.ctx, "GET", "/stations", nil); err == nil {
				err = a.is(&stations, 200)
			}
			if err != nil {
				return err
			}
			told := slices.ContainsFunc(stations.Stations, func(st api.Station) bool { return st.Name == l.name && st.RecordForkedAt != nil })
			if !told {
				return fmt.Errorf("%v; want recordForkedAt of station %s", a, l.name)
			}
			return nil
		}},
	}
}
