package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

type stationInviteOptions struct {
	name, dir string
	adminclient.Invitation
}

func newStationInvite(s streams, dial connect) *cobra.Command {
	o := stationInviteOptions{}
	c := &cobra.Command{
		Use: "invite NAME --out DIR", Short: "Invite a station to enrol by its TPM",
		Long: `Invite a station to enrol by its TPM 2.0. Afterwards DIR holds what is carried to it:

  ` + adminclient.JoinToken + `        the join token, good for one TPM, a secret (mode 0600)
  ` + adminclient.CentralRoot + `  what the server's TLS certificate stands under
  ` + adminclient.CertificateTrust + `         roots of the customers' CA

There "usbkeyd enroll --join-token-file ` + adminclient.JoinToken + `" has the TPM prove itself. It is
believed by its maker's certificate (serve --tpm-maker), or by --ek-sha256; else the
station waits for "station approve". Nothing is overwritten.`,
		Args: exactly(1, "the name of one station"),
		RunE: func(c *cobra.Command, args []string) error {
			o.name = args[0]
			return o.run(c.Context(), s, dial)
		},
	}
	f := c.Flags()
	f.StringVar(&o.dir, "out", "", "`directory` for the three files")
	f.DurationVar(&o.Valid, "valid", 24*time.Hour, "`time` for which the join token is good, such as 24h; at most 720h")
	f.StringVar(&o.EKSHA256, "ek-sha256", "", "`SHA-256` of the endorsement key of the one TPM that may enrol, as \"usbkeyd identity show\" prints it")
	f.BoolVar(&o.Replace, "replace", false, "the station is known and gets another TPM, or its first: its present key is taken away when it enrols")
	return c
}

func (o stationInviteOptions) run(ctx context.Context, s streams, dial connect) error {
	if o.dir == "" {
		return usagef("station invite needs --out DIR")
	}
	if o.Valid < time.Second || o.Valid > 720*time.Hour {
		return usagef("--valid is %s, must be from 1s to 720h", o.Valid)
	}
	client, err := dial()
	if err != nil {
		return err
	}
	got, err := client.InviteStation(ctx, o.name, o.dir, o.Invitation)
	if err != nil {
		return fmt.Errorf("invite station %s: %w", o.name, err)
	}
	return printf(s, "Station %s is invited until %s; what it needs is in %s.\n", o.name, when(got.ExpiresAt), o.dir)
}

func newStationApprove(s streams, dial connect) *cobra.Command {
	var ek, operator string
	c := &cobra.Command{
		Use: "approve NAME --ek-sha256 SHA256", Short: "Approve the TPM of a station that waits to be enrolled",
		Long: `Approve the TPM of a station that waits to be enrolled, by the SHA-256 of its
endorsement key. Take that from the station itself, where "usbkeyd enroll" prints it
on its screen, and not from the list of this server: that both are the same is what
is approved.`,
		Args: exactly(1, "the name of one station"),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case ek == "":
				return usagef("station approve needs --ek-sha256, as it was read at the station")
			case operator == "":
				return usagef("%s needs --operator ID: who decides is written down", c.CommandPath())
			}
			client, err := dial()
			if err != nil {
				return err
			}
			got, err := client.ApproveStation(c.Context(), args[0], ek, operator)
			if err != nil {
				return err
			}
			return printf(s, "Station %s is approved; it gets its certificate when it asks next.\n", got.Station)
		},
	}
	c.Flags().StringVar(&ek, "ek-sha256", "", "`SHA-256` of the endorsement key, as it was read at the station")
	c.Flags().StringVar(&operator, "operator", "", "`id` of the person who approves; an id, not a name")
	return c
}
