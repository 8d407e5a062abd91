package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

// unitStates are all states, in the order of a unit's life.
var unitStates = []api.UnitStateName{
	api.READY, api.LEASED, api.BOUND, api.ISSUING, api.ISSUEUNKNOWN, api.ISSUED, api.INSTALLED, api.SHIPPED,
	api.HELD, api.STRANDED, api.CANCELLING, api.CANCELLED,
}

type unitsListOptions struct {
	order  string
	state  string
	format output.Format
}

func newUnitsList(s streams, dial connect) *cobra.Command {
	o := unitsListOptions{}
	c := &cobra.Command{
		Use: "list", Short: "List units, by order and sequence", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), s, dial) },
	}
	c.Flags().StringVar(&o.order, "order", "", "only units of this `order`")
	c.Flags().StringVar(&o.state, "state", "", "only units in this `state`, such as READY or HELD")
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o unitsListOptions) run(ctx context.Context, s streams, dial connect) error {
	state := api.UnitStateName(strings.ToUpper(o.state))
	if state != "" && !slices.Contains(unitStates, state) {
		return usagef("--state %q is not a state: use one of %v", o.state, unitStates)
	}
	client, err := dial()
	if err != nil {
		return err
	}
	units, err := client.Units(ctx, o.order, state)
	if err != nil {
		return err
	}
	return o.format.Print(s.out, unitRows(units), units)
}

func unitRows(units []api.Unit) output.Rows {
	rows := output.Rows{
		Header: []string{"UNIT", "STATE", "STATION", "TOKEN SERIAL", "CERTIFICATE SERIAL", "COMPANY", "NOTE"},
		Empty:  "No such units.",
	}
	for _, u := range units {
		note := orDash(u.Phase)
		switch {
		case u.HeldReason != nil:
			note = *u.HeldReason
		case u.Attempts > 0:
			note = strings.TrimPrefix(fmt.Sprintf("%s, %d failed attempt(s)", note, u.Attempts), "-, ")
		}
		if u.PendingReason != nil {
			note = strings.TrimPrefix(note+"; the CA has not decided: "+*u.PendingReason, "-; ")
			if u.PendingUntil != nil {
				note += "; asked again " + when(*u.PendingUntil)
			}
		}
		rows.Rows = append(rows.Rows, []string{
			u.UnitId, string(u.State), orDash(u.Station), orDash(u.TokenSerial), orDash(u.CertificateSerial), u.Company, note,
		})
	}
	return rows
}
