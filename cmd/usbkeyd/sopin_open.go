package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/csr/envelope/recovery"
)

type sopinOpenOptions struct{ envelope, key, sha256 string }

// maxEnvelope is more than any envelope of a PIN has, in bytes.
const maxEnvelope = 64 << 10

func newSOPINOpen(s streams, shutIn func() error) *cobra.Command {
	o := sopinOpenOptions{}
	c := &cobra.Command{
		Use: "open --p7m FILE --key KEY", Short: "Open a token's SO PIN from escrow, as a recovery officer",
		Long: `Open a token's SO PIN from escrow. It needs neither a station nor a network: run it where
the recovery officer's key is, and nothing else. "usbkey-central escrows fetch" gives
the envelope, and "escrows list" its SHA-256.

The PIN goes to standard output and nowhere else. What it opens can be wiped; treat it
like the token's key.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if err := shutIn(); err != nil {
				return err
			}
			return o.run(s)
		},
	}
	c.Flags().StringVar(&o.envelope, "p7m", "", "the sealed SO PIN: a `file` with CMS EnvelopedData in DER")
	c.Flags().StringVar(&o.key, "key", "", "`file` with the officer's RSA private key in PEM, mode 0600")
	c.Flags().StringVar(&o.sha256, "sha256", "", "the envelope's `SHA-256`, as escrows list shows it; another envelope is refused")
	return c
}

func (o sopinOpenOptions) run(s streams) error {
	if o.envelope == "" || o.key == "" {
		return &codeError{exitUsage, errors.New("sopin open needs --p7m FILE and --key KEY")}
	}
	der, err := readAtMost(o.envelope, maxEnvelope)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(der)
	if have := hex.EncodeToString(sum[:]); o.sha256 != "" && !strings.EqualFold(o.sha256, have) {
		return fmt.Errorf("%s has the SHA-256 %s: it is not the envelope that was asked for", o.envelope, have)
	}
	text, err := config.ReadKeyFile(o.key)
	if err != nil {
		return err
	}
	defer clear(text)
	key, err := recovery.ParseKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", o.key, err)
	}
	pin, err := recovery.Open(der, key)
	if err != nil {
		return fmt.Errorf("%s: %w", o.envelope, err)
	}
	defer clear(pin)
	for _, c := range pin {
		if c <= ' ' || c > '~' {
			return fmt.Errorf("%s: what is in it is no PIN: it was changed, or is something else", o.envelope)
		}
	}
	_, err = fmt.Fprintf(s.out, "%s\n", pin)
	return err
}

// readAtMost reads a file of up to limit bytes.
func readAtMost(path string, limit int64) (data []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return data, err
}
