package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

type stationAddOptions struct {
	name string
	dir  string
}

func newStationAdd(s streams, dial connect) *cobra.Command {
	o := stationAddOptions{}
	c := &cobra.Command{
		Use: "add NAME --out DIR", Short: "Enrol a station with a key in a file, where there is no TPM",
		Long: `Enrol a station that has no TPM. Its key is made here, in DIR, and the server
certifies it. Whoever copies that file is the station, which is why "station list"
shows it as the lower tier; "station invite" enrols one by its TPM. Afterwards DIR
holds

  ` + adminclient.StationKey + `       the station's private key (mode 0600)
  ` + adminclient.StationCertificate + `       its client certificate
  ` + adminclient.CentralRoot + `  what the server's TLS certificate stands under
  ` + adminclient.CertificateTrust + `         roots of the customers' CA

Nothing is overwritten.`,
		Args: exactly(1, "the name of one station"),
		RunE: func(c *cobra.Command, args []string) error {
			o.name = args[0]
			return o.run(c.Context(), s, dial)
		},
	}
	c.Flags().StringVar(&o.dir, "out", "", "`directory` for the four files")
	return c
}

func (o stationAddOptions) run(ctx context.Context, s streams, dial connect) error {
	if o.dir == "" {
		return usagef("station add needs --out DIR")
	}
	client, err := dial()
	if err != nil {
		return err
	}
	if err := client.AddStation(ctx, o.name, o.dir); err != nil {
		return fmt.Errorf("enrol station %s: %w", o.name, err)
	}
	_, err = fmt.Fprintf(s.out, "Station %s is enrolled; its credential is in %s.\n", o.name, o.dir)
	return err
}
