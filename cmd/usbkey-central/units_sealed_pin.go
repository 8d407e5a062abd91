package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

type unitsSealedPINOptions struct {
	unit string
	file string
}

func newUnitsSealedPIN(s streams, dial connect) *cobra.Command {
	o := unitsSealedPINOptions{}
	c := &cobra.Command{
		Use: "sealed-pin UNIT --out FILE", Short: "Fetch the sealed user PIN of a unit",
		Long: `Fetch the sealed user PIN of a unit: CMS EnvelopedData in DER. Only who holds a
recipient's private key can open it, for instance with

  openssl cms -decrypt -inform DER -in FILE -inkey recipient.key -recip recipient.pem

The file is made with mode 0600 and never overwritten.`,
		Args: exactly(1, "the id of one unit"),
		RunE: func(c *cobra.Command, args []string) error {
			o.unit = args[0]
			return o.run(c.Context(), s, dial)
		},
	}
	c.Flags().StringVar(&o.file, "out", "", "`file` to write, such as UNIT.p7m")
	return c
}

func (o unitsSealedPINOptions) run(ctx context.Context, s streams, dial connect) error {
	if o.file == "" {
		return usagef("sealed-pin needs --out FILE")
	}
	client, err := dial()
	if err != nil {
		return err
	}
	sealed, err := client.SealedPIN(ctx, o.unit)
	if err != nil {
		return err
	}
	return saveEnvelope(s, o.file, "The sealed PIN of "+o.unit, sealed)
}

// saveEnvelope writes an envelope to a new file and says what it is.
func saveEnvelope(s streams, file, what string, sealed []byte) error {
	err := keyfile.WriteNew(file, keyfile.File{Content: sealed, Secret: true})
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already and is not overwritten", file)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%s is in %s.\n", what, file)
	return err
}
