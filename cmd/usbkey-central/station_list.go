package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

type stationListOptions struct{ format output.Format }

func newStationList(s streams, dial connect) *cobra.Command {
	o := stationListOptions{}
	c := &cobra.Command{
		Use: "list", Short: "List stations and when they were last heard of", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), s, dial) },
	}
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o stationListOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	stations, err := client.Stations(ctx)
	if err != nil {
		return err
	}
	rows := output.Rows{
		Header: []string{"STATION", "KEY", "LAST SEEN", "UNITS", "VERSION", "CERTIFICATE UNTIL", "RECORD"},
		Empty:  "No stations yet. Enrol one with \"usbkey-central station invite NAME --out DIR\".",
	}
	for _, r := range stations {
		seen, held := "never", 0
		if r.LastSeenAt != nil {
			seen = when(*r.LastSeenAt)
		}
		if r.Leased != nil {
			held = *r.Leased
		}
		rows.Rows = append(rows.Rows, []string{r.Name, tier(r.Identity), seen, strconv.Itoa(held), orDash(r.Version), when(r.NotAfter), recordOf(r)})
	}
	return o.format.Print(s.out, rows, stations)
}

// recordOf is how a station's record stands, in a few words.
func recordOf(s api.Station) string {
	switch {
	case s.RecordForkedAt != nil:
		return "FORKED since " + when(*s.RecordForkedAt)
	case s.Records == nil || *s.Records == 0:
		return "-"
	case *s.Records > 1:
		return fmt.Sprintf("%d entries of %d installations", *s.RecordEntries, *s.Records)
	}
	return fmt.Sprintf("%d entries", *s.RecordEntries)
}

// tier says where a station's key is; a file is worth a remark.
func tier(t api.IdentityTier) string {
	if t == api.File {
		return "file (lower)"
	}
	return string(t)
}

func newStationPending(s streams, dial connect) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "pending", Short: "List invitations that are open and stations that wait for approval", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			pending, err := client.Enrollments(c.Context())
			if err != nil {
				return err
			}
			rows := output.Rows{Header: []string{"STATION", "STATE", "JOIN TOKEN UNTIL", "ENDORSEMENT KEY (SHA-256)"}, Empty: "No station is invited."}
			for _, e := range pending {
				state, ek := string(e.State), "any"
				if e.EndorsementKeySha256 != nil {
					ek = *e.EndorsementKeySha256
				}
				if e.State == api.Proved && e.Trust == nil {
					state = "waits for approval"
				}
				rows.Rows = append(rows.Rows, []string{e.Station, state, when(e.ExpiresAt), ek})
			}
			return format.Print(s.out, rows, pending)
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func itoa(n int32) string { return strconv.FormatInt(int64(n), 10) }
