package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

type ordersListOptions struct{ format output.Format }

func newOrdersList(s streams, dial connect) *cobra.Command {
	o := ordersListOptions{}
	c := &cobra.Command{
		Use: "list", Short: "List orders, earliest due first", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), s, dial) },
	}
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o ordersListOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	orders, err := client.Orders(ctx)
	if err != nil {
		return err
	}
	rows := output.Rows{
		Header: []string{"ORDER", "PRODUCT", "QUANTITY", "COMPANY", "DUE", "HOME", "UNITS"},
		Empty:  "No orders yet. Submit one with \"usbkey-central orders submit FILE\".",
	}
	for _, r := range orders {
		rows.Rows = append(rows.Rows, []string{
			r.OrderId, r.ProductCode, strconv.Itoa(r.Quantity), r.Company, when(r.DueAt), orDash(r.HomeStation), counts(r.States),
		})
	}
	return o.format.Print(s.out, rows, orders)
}

// counts is "3 READY, 5 LEASED", in the order of the names.
func counts(states map[string]int) string {
	var parts []string
	for state, n := range states {
		parts = append(parts, fmt.Sprintf("%d %s", n, state))
	}
	slices.SortFunc(parts, func(a, b string) int {
		return strings.Compare(a[strings.IndexByte(a, ' '):], b[strings.IndexByte(b, ' '):])
	})
	return strings.Join(parts, ", ")
}

// when is a time in the reader's zone.
func when(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

func orDash(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return *s
}
