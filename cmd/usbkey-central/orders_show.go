package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

type ordersShowOptions struct {
	id     string
	format output.Format
}

func newOrdersShow(s streams, dial connect) *cobra.Command {
	o := ordersShowOptions{}
	c := &cobra.Command{
		Use: "show ORDER", Short: "Show one order with its units", Args: exactly(1, "the id of one order"),
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			return o.run(c.Context(), s, dial)
		},
	}
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o ordersShowOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	status, err := client.Order(ctx, o.id)
	if err != nil {
		return err
	}
	if o.format == output.Table {
		// Names of persons and addresses stay in the JSON form, for who asks for them.
		r := status.Order
		_, err := fmt.Fprintf(s.out, "%s: %s × %d, %d year(s), for %s (%s)\naccepted %s, due %s, home station %s\n\n",
			r.OrderId, r.ProductCode, r.Quantity, r.ValidityYears, r.Company.Name, r.Company.Uscc,
			when(status.AcceptedAt), when(status.DueAt), orDash(status.HomeStation))
		if err != nil {
			return err
		}
	}
	return o.format.Print(s.out, unitRows(status.Units), status)
}
