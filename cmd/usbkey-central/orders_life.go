package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

// newOrdersFlag makes a command that changes one flag of an order and keeps the other.
func newOrdersFlag(s streams, dial connect, use, short string, change func(*api.OrderFlags)) *cobra.Command {
	return &cobra.Command{
		Use: use + " ORDER", Short: short, Args: exactly(1, "the id of one order"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			order, err := client.Order(c.Context(), args[0])
			if err != nil {
				return err
			}
			flags := api.OrderFlags{Hold: order.Hold, Urgent: order.Urgent}
			change(&flags)
			if order, err = client.FlagOrder(c.Context(), args[0], flags); err != nil {
				return err
			}
			return printf(s, "%s: hold %t, urgent %t\n", order.Order.OrderId, order.Hold, order.Urgent)
		},
	}
}

type ordersCancelOptions struct {
	id     string
	units  []string
	by     person
	format output.Format
}

func newOrdersCancel(s streams, dial connect) *cobra.Command {
	o := ordersCancelOptions{}
	c := &cobra.Command{
		Use: "cancel ORDER", Short: "Cancel an order, or some of its units", Args: exactly(1, "the id of one order"),
		Long: `Cancel an order, or with --unit some of its units, at any moment. Units without a
key are CANCELLED at once. The others are CANCELLING until their certificates are
revoked and the station has wiped the token. A shipped unit must come back first.`,
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			if err := o.by.check(c); err != nil {
				return err
			}
			return o.run(c.Context(), s, dial)
		},
	}
	c.Flags().StringArrayVar(&o.units, "unit", nil, "`id` of a unit that is meant; may be repeated")
	o.by.addFlags(c)
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o ordersCancelOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	r := api.CancelRequest{Operator: o.by.operator, Reason: o.by.reason}
	if len(o.units) > 0 {
		r.Units = &o.units
	}
	answer, err := client.Cancel(ctx, o.id, r)
	if err != nil {
		return err
	}
	rows := output.Rows{Header: []string{"UNIT", "STATE", "WAITS FOR"}, Empty: "The order has no units."}
	for _, u := range answer.Units {
		rows.Rows = append(rows.Rows, []string{u.UnitId, string(u.State), orDash(u.WaitsFor)})
	}
	return o.format.Print(s.out, rows, answer)
}
