package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/internal/identity/proof"
	"github.com/usbkeyd/usbkeyd/provision"
)

type enrollOptions struct {
	streams
	load   func() (*config.Station, error)
	token  string
	newKey bool
}

func newEnroll(s streams, load func() (*config.Station, error), shutIn func() error) *cobra.Command {
	o := &enrollOptions{streams: s, load: load}
	c := &cobra.Command{
		Use: "enroll --join-token-file FILE", Short: "Make this machine a station, by its TPM",
		Long: `Make this machine a station of the central server: have the TPM make the station's
key, prove that it cannot leave it, and get the station's certificate. FILE is the
join token that "usbkey-central station invite" wrote.

The SHA-256 of the TPM's endorsement key is printed. Where the server does not know
the TPM's maker, somebody approves that number there while this command waits. When
it was interrupted, run it again with the same file.

A station that has a certificate is left alone. --new-key is for one whose TPM was
replaced or cleared: it needs an invitation with --replace.`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := shutIn(); err != nil {
				return err
			}
			return explainTPM(o.run(c.Context()))
		},
	}
	c.Flags().StringVar(&o.token, "join-token-file", "", "`file` with the join token, mode 0600")
	c.Flags().BoolVar(&o.newKey, "new-key", false, "leave the key and the certificate of before and make another key")
	return c
}

func (o *enrollOptions) run(ctx context.Context) (err error) {
	if o.token == "" {
		return &codeError{exitUsage, errors.New("enroll needs --join-token-file FILE")}
	}
	station, err := o.load()
	if err != nil {
		return err
	}
	tpm := stationTPM(station)
	if tpm == nil {
		return &codeError{exitConfig, errors.New("identity.tier is file, and a key in a file proves nothing: usbkey-central station add enrols such a station")}
	}
	defer closeTPM(tpm)
	token, err := config.ReadSecretFile(o.token)
	if err != nil {
		return err
	}
	defer clear(token)
	trust, err := centralTrust(station)
	if err != nil {
		return err
	}
	lock, err := lockState(station.StateDir, tokensLock, otherUsbkeyd)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	key, err := o.key(station, tpm)
	if err != nil {
		return err
	}
	ek, err := endorsementKey(key)
	if err != nil {
		return err
	}
	if _, err := o.words.Fprintf(o.out, "This machine's TPM has the endorsement key (SHA-256)\n  %s\n", ek); err != nil {
		return err
	}
	cert, err := agent.Enroll(ctx, agent.Enrolment{
		URLs: station.Central.URLs, Roots: trust, Station: station.Name, JoinToken: agent.JoinToken(token), TPM: key,
		Waits: func(shown string) {
			_, _ = o.words.Fprintf(o.err, "The central server waits for somebody to approve it:\n  usbkey-central station approve %s --ek-sha256 %s --operator ID\n", station.Name, shown)
		},
	})
	if err != nil {
		return &codeError{exitCentral, err}
	}
	if err := writeCertificate(station.Central.Certificate, cert); err != nil {
		return fmt.Errorf("keep the station's certificate: %w", err)
	}
	_, err = o.words.Fprintf(o.out, "Station %s is enrolled until %s; its certificate is renewed by itself. The join token is used up: remove %s.\n",
		station.Name, cert.NotAfter.Local().Format("2006-01-02 15:04"), o.token)
	return err
}

// key is the key of an earlier try, or a new one, durable before anybody is shown it.
func (o *enrollOptions) key(station *config.Station, tpm *identity.TPM) (*identity.Key, error) {
	path := filepath.Join(station.StateDir, identityFile)
	_, err := os.Stat(station.Central.Certificate)
	switch {
	case err == nil && !o.newKey:
		return nil, fmt.Errorf("this station has a certificate already (%s), which renews itself; --new-key is for a TPM that was replaced or cleared", station.Central.Certificate)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the station's certificate: %w", err)
	}
	if !o.newKey {
		if _, err := os.Stat(path); err == nil {
			return stationKey(station, tpm)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("identity: %w", err)
		}
	}
	kept, err := tpm.MakeKeys()
	if err != nil {
		return nil, err
	}
	// The certificate of the key before goes first: beside another key it is no use.
	if err := os.Remove(station.Central.Certificate); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the station's old certificate: %w", err)
	}
	if err := provision.WriteDurably(path, kept); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return tpm.LoadKey(kept)
}

// endorsementKey is the SHA-256 by which people know the TPM.
func endorsementKey(key *identity.Key) (string, error) {
	shown, err := key.Request()
	if err != nil {
		return "", err
	}
	applicant, err := proof.Parse(shown)
	if err != nil {
		return "", err
	}
	return applicant.EKSHA256, nil
}
