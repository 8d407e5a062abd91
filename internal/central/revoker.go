package central

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// revoker has the CA revoke what the store wants revoked, one after the other. The
// wish is stored before the CA hears of it, and to revoke again changes nothing,
// so that it may be cut off anywhere and several servers may be at it.
type revoker struct {
	store   *store.Store
	ca      ca.CA
	log     *slog.Logger
	timeout time.Duration
	ready   *shared[*queue]
	changed *shared[*bell]
	wanted  chan struct{}
}

func newRevoker(s *Server) *revoker {
	return &revoker{
		store: s.store, ca: s.ca, log: s.cfg.Logger, timeout: s.cfg.CATimeout, ready: s.ready, changed: s.changed,
		wanted: make(chan struct{}, 1),
	}
}

// kick has a round begin soon.
func (r *revoker) kick() {
	select {
	case r.wanted <- struct{}{}:
	default: // one is due already
	}
}

// run works until ctx ends.
func (r *revoker) run(ctx context.Context) {
	for {
		select {
		case <-r.wanted:
		case <-ctx.Done():
			return
		}
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("not everything is revoked", "error", err)
		}
	}
}

// round revokes all that is wanted. A CA that cannot revoke leaves it to persons,
// who say so by a decision.
func (r *revoker) round(ctx context.Context) error {
	if !r.ca.CanRevoke() {
		return nil
	}
	wanted, err := r.store.Revocations(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, w := range wanted {
		if err := r.revoke(ctx, w); err != nil {
			errs = append(errs, fmt.Errorf("certificate %s of unit %s: %w", w.Serial, w.UnitID, err))
		}
	}
	if len(wanted) > len(errs) {
		r.ready.ringAll()
		r.changed.ringAll()
	}
	return errors.Join(errs...)
}

func (r *revoker) revoke(ctx context.Context, w store.Revocation) error {
	named, err := revocationOf(w)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	crashpoint.Before(crashpoint.CARevoke)
	err = r.ca.Revoke(call, named)
	crashpoint.After(crashpoint.CARevoke)
	if err != nil {
		return err
	}
	u, err := r.store.Revoked(context.WithoutCancel(ctx), w.UnitID, w.SHA256)
	if err == nil {
		r.log.Info("certificate revoked", "unit", w.UnitID, "certificateSerial", w.Serial, "state", u.State)
	}
	return err
}

// revocationOf names the certificate to the CA, also when its bytes are gone.
func revocationOf(w store.Revocation) (ca.Revocation, error) {
	if len(w.PKCS7) > 0 {
		leaf, err := leafOf(w.PKCS7, w.SHA256)
		if err != nil {
			return ca.Revocation{}, err
		}
		return ca.RevocationOf(leaf, reasonOf(w.Reason)), nil
	}
	serial, ok := new(big.Int).SetString(w.Serial, 16)
	if !ok || len(w.Issuer) == 0 {
		return ca.Revocation{}, errors.New("neither the certificate nor its issuer is known")
	}
	return ca.Revocation{Issuer: w.Issuer, Serial: serial, Reason: reasonOf(w.Reason)}, nil
}

func leafOf(pkcs7 []byte, sha256 string) (*x509.Certificate, error) {
	certs, err := csr.ParseBundle(pkcs7)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		if ca.Digest(c) == sha256 {
			return c, nil
		}
	}
	return nil, errors.New("what the CA answered does not hold it")
}

func reasonOf(why string) ca.Reason {
	switch why {
	case store.RevokedCancelled:
		return ca.CessationOfOperation
	case store.RevokedReissued, store.RevokedTwice:
		return ca.Superseded
	}
	return ca.Unspecified
}
