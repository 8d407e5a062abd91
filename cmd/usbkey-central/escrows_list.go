package main

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

type escrowsListOptions struct {
	token, unit string
	format      output.Format
}

func newEscrowsList(s streams, dial connect) *cobra.Command {
	o := escrowsListOptions{}
	c := &cobra.Command{
		Use: "list", Short: "List the SO PINs in escrow, newest first",
		Long: `List the SO PINs in escrow, newest first. Of several that name one token the newest is
the one that the token has, unless it was pulled before that PIN was set. Fetch one by its id
with "escrows fetch".`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), s, dial) },
	}
	c.Flags().StringVar(&o.token, "token-serial", "", "only those of the token with this `serial`")
	c.Flags().StringVar(&o.unit, "unit", "", "only those of this `unit`")
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o escrowsListOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	escrows, err := client.Escrows(ctx, o.token, o.unit)
	if err != nil {
		return err
	}
	rows := output.Rows{
		Header: []string{"ESCROW", "TOKEN SERIAL", "UNIT", "EPOCH", "STATION", "RECIPIENTS", "SINCE"},
		Empty:  "There is no SO PIN in escrow that fits.",
	}
	for _, e := range escrows {
		token := "not told yet"
		if e.TokenSerial != nil {
			token = *e.TokenSerial
		}
		rows.Rows = append(rows.Rows, []string{
			e.EscrowId, token, e.UnitId, strconv.FormatInt(e.Epoch, 10), e.Station, strconv.Itoa(len(e.Recipients)), when(e.CreatedAt),
		})
	}
	return o.format.Print(s.out, rows, escrows)
}
