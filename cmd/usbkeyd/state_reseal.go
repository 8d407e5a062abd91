package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newStateReseal(s streams, load func() (*config.Station, error), shutIn func() error) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "reseal --recovery-key FILE", Short: "Seal the journal's key to this machine's TPM as it is now",
		Long: `Seal the journal's key to this machine's TPM as it is now: after other firmware or
another boot setting, or on a new TPM. The daemon must be stopped. FILE holds the key
itself, 32 bytes, mode 0600, as a recovery officer opened it from
journal.recovery.p7m in the state folder, away from this machine:

  openssl cms -decrypt -inform DER -in journal.recovery.p7m -inkey OFFICER.key -out FILE

Another key than the journal's is refused. Remove FILE afterwards.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := shutIn(); err != nil {
				return err
			}
			return explainTPM(reseal(s, load, path))
		},
	}
	c.Flags().StringVar(&path, "recovery-key", "", "`file` with the opened key")
	return c
}

func reseal(s streams, load func() (*config.Station, error), path string) (err error) {
	if path == "" {
		return &codeError{exitUsage, errors.New("state reseal needs --recovery-key FILE")}
	}
	station, err := load()
	if err != nil {
		return err
	}
	tpm := stationTPM(station)
	if tpm == nil {
		return &codeError{exitConfig, errors.New("identity.tier is file: the journal's key is not sealed")}
	}
	defer closeTPM(tpm)
	seal, err := sealing(station, tpm)
	if err != nil {
		return err
	}
	key, err := readRecoveredKey(path)
	if err != nil {
		return err
	}
	defer clear(key)
	lock, err := lockState(station.StateDir, tokensLock, otherUsbkeyd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := provision.Reseal(station.StateDir, key, seal); err != nil {
		return err
	}
	_, err = s.words.Fprintf(s.out, "The journal's key is sealed to this machine as it is now. Remove %s.\n", path)
	return err
}

// readRecoveredKey reads what an officer opened; only its length is looked at here.
func readRecoveredKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("recovery key: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	key, err := io.ReadAll(io.LimitReader(f, provision.KeyLen+1))
	if err != nil {
		return nil, fmt.Errorf("recovery key: %w", err)
	}
	if len(key) != provision.KeyLen {
		clear(key)
		return nil, fmt.Errorf("recovery key %s: %d bytes are wanted, as openssl cms -decrypt writes them", path, provision.KeyLen)
	}
	return key, nil
}
