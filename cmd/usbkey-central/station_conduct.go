package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

// newStationConduct makes a command that changes how a station is treated.
func newStationConduct(s streams, dial connect, use, short string, change func(context.Context, *adminclient.Client, string) (api.Station, error)) *cobra.Command {
	return &cobra.Command{
		Use: use + " NAME", Short: short, Args: exactly(1, "the name of one station"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			st, err := change(c.Context(), client, args[0])
			if err != nil {
				return err
			}
			return printf(s, "%s: drains %t, revoked %t, failures in a row %d\n", st.Name, st.Drain, st.Revoked, st.Failures)
		},
	}
}

func newStationDrain(s streams, dial connect) *cobra.Command {
	var off bool
	c := newStationConduct(s, dial, "drain", "Let a station finish what it has and give it nothing more",
		func(ctx context.Context, client *adminclient.Client, name string) (api.Station, error) {
			return client.DrainStation(ctx, name, !off)
		})
	c.Flags().BoolVar(&off, "off", false, "give it units again")
	return c
}

func newStationReset(s streams, dial connect) *cobra.Command {
	return newStationConduct(s, dial, "reset", "Give a station units again after too many failures",
		func(ctx context.Context, client *adminclient.Client, name string) (api.Station, error) {
			return client.ResetStation(ctx, name)
		})
}

func newStationRevoke(s streams, dial connect) *cobra.Command {
	return newStationConduct(s, dial, "revoke", "Shut a station out for good; its bound units are STRANDED",
		func(ctx context.Context, client *adminclient.Client, name string) (api.Station, error) {
			return client.RevokeStation(ctx, name)
		})
}
