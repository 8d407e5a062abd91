package central

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/stationroot"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
)

// storeSchema and caSchema are where a shared PostgreSQL database keeps the store
// and the development CA's record.
const (
	storeSchema = "usbkey_central"
	caSchema    = "usbkey_ca"
)

// storeFile is the store of a data directory that has its own.
const storeFile = "central.db"

func (c Config) storePlace() database.Place {
	switch {
	case c.Postgres.Given():
		return c.Postgres.Schema(storeSchema)
	case c.Common != nil:
		return c.Common.Place()
	}
	return database.File(filepath.Join(c.DataDir, storeFile))
}

// wantStore is an error where there is no store. A data directory beside a shared one may well be new.
func (c Config) wantStore(ctx context.Context) error {
	at := c.storePlace()
	there, err := at.Exists(ctx)
	if err != nil || there {
		return err
	}
	where := c.DataDir
	if c.Postgres.Given() {
		where = at.String()
	}
	return fmt.Errorf("there is no store in %s: give the --data (and --store) of \"serve\"; nothing was made", where)
}

// openStore takes the data directory and opens the store.
func (s *Server) openStore(ctx context.Context) error {
	dir := s.cfg.DataDir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	// Two issuers on one store could ask the CA twice.
	lock, err := filelock.Exclusive(filepath.Join(dir, "lock"))
	if errors.Is(err, filelock.ErrHeld) {
		return fmt.Errorf("the data directory %s is in use by another server: stop that one, or use another directory", dir)
	}
	if err != nil {
		return fmt.Errorf("lock the data directory: %w", err)
	}
	s.closers = append(s.closers, lock.Close)
	if s.store, err = store.Open(ctx, s.cfg.storePlace(), s.cfg.storeClock, s.cfg.Rules); err != nil {
		return err
	}
	s.closers = append(s.closers, s.store.Close)
	return nil
}

func (s *Server) openData(ctx context.Context) error {
	if err := s.openStore(ctx); err != nil {
		return err
	}
	if err := s.checkAge(ctx); err != nil {
		return err
	}
	if err := s.openCA(ctx); err != nil {
		return err
	}
	dir := s.cfg.DataDir
	var err error
	rootDir := filepath.Join(dir, "station-root")
	if s.stationRoot, err = stationroot.Open(rootDir, s.cfg.Clock); err != nil {
		return err
	}
	if err := s.agree(ctx, "station root", rootDir, s.stationRoot.Certificate()); err != nil {
		return err
	}
	s.adminToken, err = openToken(filepath.Join(dir, TokenFile))
	return err
}

func (s *Server) openCA(ctx context.Context) error {
	dir := filepath.Join(s.cfg.DataDir, "ca")
	if s.ca = s.cfg.CA; s.ca != nil {
		return s.useCA(ctx)
	}
	record := ca.DevelopmentRecord(dir)
	if s.cfg.Postgres.Given() {
		record = s.cfg.Postgres.Schema(caSchema)
	}
	development, err := ca.OpenDevelopment(ctx, dir, record, s.cfg.Clock)
	if err != nil {
		return err
	}
	s.ca = development
	s.closers = append(s.closers, development.Close)
	if err := s.agree(ctx, "development CA", dir, development.Roots()...); err != nil {
		return err
	}
	return s.useCA(ctx)
}

// useCA refuses to go on with another CA while the one before may have issued or
// be about to: this one would say that it did not, and issue too.
func (s *Server) useCA(ctx context.Context) error {
	id := fmt.Appendf(nil, "%T", s.ca) // whom the same CA is asked through counts: each looks up in its own way
	for _, c := range s.ca.Roots() {
		id = append(id, c.Raw...)
	}
	if placed, ok := s.ca.(ca.Placed); ok {
		if s.store.Shared() {
			return errors.New("this CA keeps at one server what it was asked for, and other servers on the same store could ask it again: leave out --store, or choose another CA")
		}
		id = append(id, placed.Place()...)
	}
	s.caDigest = hexSHA256(id)
	outstanding, err := s.store.UseCA(ctx, s.caDigest)
	if err == nil && outstanding > 0 {
		err = fmt.Errorf("%d units wait for a certificate of another CA than this one: start with the CA of before until it is known of each of them what that one did (units list shows those that are ISSUING, ISSUE_UNKNOWN, STRANDED, HELD or CANCELLING)", outstanding)
	}
	return err
}

// agree refuses to work beside servers that have other keys: stations and customers
// would get certificates that half of the servers do not know.
func (s *Server) agree(ctx context.Context, what, dir string, certs ...*x509.Certificate) error {
	if !s.store.Shared() {
		return nil
	}
	var all []byte
	for _, c := range certs {
		all = append(all, c.Raw...)
	}
	same, err := s.store.Agree(ctx, what, hexSHA256(all))
	if err == nil && !same {
		err = fmt.Errorf("the store belongs to servers with another %s: put the folder %s of the first server in the place of %s", what, filepath.Base(dir), dir)
	}
	return err
}
