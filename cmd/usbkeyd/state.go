package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/provision"
)

// state is the daemon's folder: locked, with the journal and its key open.
type state struct {
	lock       *filelock.Lock
	journal    *provision.Journal
	vault      *provision.Vault
	instanceID string
}

func journalPath(dir string) string { return filepath.Join(dir, "journal.db") }

// Locks of the state folder: the first is that of the one process that works on tokens.
const (
	tokensLock  = "lock"
	mailersLock = "mailers.lock"
)

// otherUsbkeyd is what to say when somebody else has the first lock.
const otherUsbkeyd = "another usbkeyd works on the state folder %s: stop it first (usbkeyd service stop)"

// openState takes the folder and opens what is in it; seal is nil where the journal's
// key is in a file.
func openState(dir string, seal *provision.Sealing) (*state, error) {
	lock, err := lockState(dir, tokensLock, otherUsbkeyd)
	if err != nil {
		return nil, err
	}
	s := &state{lock: lock}
	if err := s.open(dir, seal); err != nil {
		return nil, errors.Join(explainTPM(err), s.Close())
	}
	return s, nil
}

// openStationState is openState as the configuration has it. The TPM is the caller's.
func openStationState(station *config.Station, tpm *identity.TPM) (*state, error) {
	seal, err := sealing(station, tpm)
	if err != nil {
		return nil, err
	}
	return openState(station.StateDir, seal)
}

// openDesk takes the mailers' lock of a folder that the daemon may have, and opens the
// journal that is in it; with a key that is there already, if PINs are to be read.
func openDesk(dir string, key func(dir string) (*provision.Vault, error)) (*state, error) {
	lock, err := lockState(dir, mailersLock, "somebody else prints or confirms a mailer of the state folder %s just now: wait for it")
	if err != nil {
		return nil, err
	}
	s := &state{lock: lock}
	if key != nil {
		s.vault, err = key(dir)
	}
	if err == nil {
		s.journal, err = provision.OpenJournal(journalPath(dir))
	}
	if err != nil {
		return nil, errors.Join(explainTPM(err), s.Close())
	}
	return s, nil
}

// lockPatience is how long a lock may stay held by one who is dead already: a process that
// is killed while it starts a child leaves its lock with that child until the child executes
// its own program, about a millisecond.
const lockPatience = 2 * time.Second

// lockState makes the folder, if need be, and takes a lock of it; held, with a %s for the
// folder, is what to say when somebody else has it and keeps it.
func lockState(dir, name, held string) (*filelock.Lock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lockPatience)
	defer cancel()
	lock, err := filelock.WaitExclusive(ctx, filepath.Join(dir, name))
	if errors.Is(err, filelock.ErrHeld) {
		return nil, &heldError{fmt.Sprintf(held, dir)}
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	return lock, nil
}

// heldError says that somebody else has a lock.
type heldError struct{ says string }

// Error implements error.
func (e *heldError) Error() string { return e.says }

// Unwrap makes it a filelock.ErrHeld.
func (e *heldError) Unwrap() error { return filelock.ErrHeld }

func (s *state) open(dir string, seal *provision.Sealing) error {
	exists, err := provision.JournalExists(journalPath(dir))
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if s.vault, err = provision.OpenKey(dir, !exists, seal); err != nil {
		return err
	}
	// Whatever the journal relies on comes before it: where there is a journal, the
	// rest was written whole.
	if s.instanceID, err = instanceID(filepath.Join(dir, "instance-id"), !exists); err != nil {
		return err
	}
	s.journal, err = provision.OpenJournal(journalPath(dir))
	return err
}

// besideDaemon reads the journal beside a daemon that may be running; there says whether
// there is one yet.
func besideDaemon(station *config.Station, read func(*provision.Journal) error) (there bool, err error) {
	path := journalPath(station.StateDir)
	if exists, err := provision.JournalExists(path); err != nil || !exists {
		return false, err
	}
	j, err := provision.ReadJournal(path)
	if err != nil {
		return true, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	return true, read(j)
}

// Close closes the journal and gives the folder free.
func (s *state) Close() error {
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// instanceID is this installation's UUID: the same after every restart. It is made
// when there is none, or, as long as there is no journal, an empty file.
func instanceID(path string, journalIsNew bool) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 && journalIsNew {
		id := uuid.NewString()
		if err := provision.WriteDurably(path, []byte(id+"\n")); err != nil {
			return "", fmt.Errorf("installation id %s: %w", path, err)
		}
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("installation id: %w", err)
	}
	id, err := uuid.Parse(strings.TrimSpace(string(data)))
	if err != nil {
		return "", fmt.Errorf("%s does not hold this installation's id: %w", path, err)
	}
	return id.String(), nil
}

// bootID changes with every start of the machine.
func bootID() string {
	if data, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return strings.TrimSpace(string(data))
	}
	return "since-" + time.Now().UTC().Format("20060102")
}
