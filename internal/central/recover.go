package central

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// recordPage is how many certificates of a CA's record are read at once.
const recordPage = 500

// Recovery is what Recover did.
type Recovery struct {
	// Units were looked at.
	Units int `json:"units"`
	// Issued are certificates whose key is known here and which are kept now; Found are
	// those of keys that are not, whose units are HELD.
	Issued int `json:"issued"`
	Found  int `json:"found"`
	// Doubtful units are HELD because the CA cannot say what it issued for them.
	Doubtful int `json:"doubtful"`
	// Strangers are request ids of certificates whose unit is not known here, such as of
	// an order that came after the backup.
	Strangers []string `json:"strangers"`
}

// Recover makes a store fit to work with that was restored to an older state: leases
// are over, epochs are out of the stations' reach, and the CA is asked what it issued
// since. No server may run on the store meanwhile. After an error it is to be run
// again; until it is through no server starts. folderToo says that the data directory
// was restored as well, so that it cannot tell.
func Recover(ctx context.Context, cfg Config, folderToo bool) (r Recovery, err error) {
	cfg, err = cfg.complete()
	if err != nil {
		return Recovery{}, err
	}
	if err := cfg.wantStore(ctx); err != nil {
		return Recovery{}, err
	}
	s := &Server{cfg: cfg}
	s.stopping, s.stop = context.WithCancel(context.Background())
	defer func() { err = errors.Join(err, s.closeAll()) }()
	if err := s.openStore(ctx); err != nil {
		return Recovery{}, err
	}
	r.Strangers = []string{}
	known, there, err := readAge(cfg.DataDir)
	if err != nil && !folderToo {
		return Recovery{}, err
	}
	force := folderToo || !there && !s.store.Shared()
	if err := s.store.BeginRecovery(ctx, known, force); err != nil {
		if errors.Is(err, store.ErrNotOlder) {
			return Recovery{}, fmt.Errorf("%w, as far as this folder knows: nothing is to be recovered. If the folder itself came from the same backup or is new, add --folder-too", err)
		}
		return Recovery{}, err
	}
	if err := s.openCA(ctx); err != nil {
		return Recovery{}, err
	}
	if err := s.reconcile(ctx, &r); err != nil {
		return r, err
	}
	mark, err := s.store.FinishRecovery(ctx)
	if err != nil {
		return r, err
	}
	return r, writeAge(cfg.DataDir, mark)
}

// reconcile asks the CA about every unit and keeps what it says.
func (s *Server) reconcile(ctx context.Context, r *Recovery) error {
	units, err := s.store.Recoverables(ctx)
	if err != nil {
		return err
	}
	recorded, complete, err := s.recorded(ctx, units, r)
	if err != nil {
		return err
	}
	for _, u := range units {
		if u.Over {
			continue
		}
		r.Units++
		switch {
		case complete:
			for _, generation := range recorded[u.UnitID] {
				if _, err := s.askFor(ctx, u, generation, r); err != nil {
					return err
				}
			}
		case s.ca.CanLookup():
			// What is known and issued may be known better by the CA: asked all the same.
			last := u.Generation
			for g := int32(1); g <= last+store.GenerationsAhead; g++ {
				known, err := s.askFor(ctx, u, g, r)
				if err != nil {
					return err
				}
				if known {
					last = max(last, g)
				}
			}
		case !u.Bound:
			r.Doubtful++
			if err := s.store.Doubt(ctx, u.UnitID, u.Generation, "the server was restored, and its CA cannot be asked what it issued for this unit since"); err != nil {
				return err
			}
		}
	}
	return nil
}

// recorded is what a CA with a record of its own has, by unit.
func (s *Server) recorded(ctx context.Context, units []store.Recoverable, r *Recovery) (byUnit map[string][]int32, complete bool, err error) {
	recorder, ok := s.ca.(ca.Recorder)
	if !ok || !s.ca.CanLookup() {
		return nil, false, nil
	}
	byUnit = make(map[string][]int32, len(units))
	for _, u := range units {
		byUnit[u.UnitID] = nil
	}
	for offset := 0; ; offset += recordPage {
		page, total, err := recorder.Issued(ctx, recordPage, offset)
		if err != nil {
			return nil, false, err
		}
		for _, record := range page {
			unitID, generation, ok := parseRequestID(record.RequestID)
			_, known := byUnit[unitID]
			if !ok || !known {
				r.Strangers = append(r.Strangers, record.RequestID)
				continue
			}
			byUnit[unitID] = append(byUnit[unitID], generation)
		}
		if len(page) == 0 || offset+len(page) >= total {
			return byUnit, true, nil
		}
	}
}

// parseRequestID is the other way of store.RequestID.
func parseRequestID(id string) (unitID string, generation int32, ok bool) {
	at := strings.LastIndex(id, "-g")
	if at < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(id[at+2:], 10, 32)
	return id[:at], int32(n), err == nil && n > 0
}

// askFor keeps what the CA knows of one generation. It says whether that is anything.
func (s *Server) askFor(ctx context.Context, u store.Recoverable, generation int32, r *Recovery) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CATimeout)
	defer cancel()
	id := store.RequestID(u.UnitID, generation)
	crashpoint.Before(crashpoint.CALookup)
	cert, found, err := s.ca.Lookup(ctx, id)
	crashpoint.After(crashpoint.CALookup)
	var refused *ca.RefusedError
	var pending *ca.PendingError
	var twice *ca.TwiceError
	switch {
	case errors.As(err, &refused), errors.As(err, &pending), errors.As(err, &twice):
		if generation < u.Generation || generation == u.Generation && u.Bound {
			return true, nil // the server asks again, and knows what to make of it
		}
		r.Doubtful++
		return true, s.store.Doubt(ctx, u.UnitID, generation, fmt.Sprintf("the server was restored, and the CA knows a request %s that it does not: %v", id, err))
	case err != nil:
		return false, fmt.Errorf("ask the CA for %s: %w", id, err)
	case !found:
		return false, nil
	}
	c := certificateIn(cert.PKCS7, cert.Leaf)
	c.PublicKeySHA256 = hexSHA256(cert.Leaf.RawSubjectPublicKeyInfo)
	outcome, err := s.store.Found(ctx, u.UnitID, generation, c)
	switch outcome {
	case store.FoundBound:
		r.Issued++
	case store.FoundLost:
		r.Found++
	}
	return true, err
}
