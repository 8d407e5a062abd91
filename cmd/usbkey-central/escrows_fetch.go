package main

import (
	"context"

	"github.com/spf13/cobra"
)

type escrowsFetchOptions struct{ id, file string }

func newEscrowsFetch(s streams, dial connect) *cobra.Command {
	o := escrowsFetchOptions{}
	c := &cobra.Command{
		Use: "fetch ESCROW --out FILE", Short: "Fetch a sealed SO PIN for the recovery officer",
		Long: `Fetch a sealed SO PIN from escrow: CMS EnvelopedData in DER. Only a recovery officer can open
it, on a machine that holds the officer's key and nothing else:

  usbkeyd sopin open --p7m FILE --key officer.key

The file is made with mode 0600 and never overwritten.`,
		Args: exactly(1, "the id of one escrow; \"escrows list\" tells them"),
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return o.run(c.Context(), s, dial)
		},
	}
	c.Flags().StringVar(&o.file, "out", "", "`file` to write, such as TOKEN.p7m")
	return c
}

func (o escrowsFetchOptions) run(ctx context.Context, s streams, dial connect) error {
	if o.file == "" {
		return usagef("fetch needs --out FILE")
	}
	client, err := dial()
	if err != nil {
		return err
	}
	sealed, err := client.SealedSOPIN(ctx, o.id)
	if err != nil {
		return err
	}
	return saveEnvelope(s, o.file, "The sealed SO PIN of escrow "+o.id, sealed)
}
