package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/provision"
)

// viewShipment is a parcel with what the central server has said of it.
func viewShipment(t provision.Table, p provision.Shipment) (parcelView, error) {
	v := parcelView{Parcel: p.N, OrderID: p.Order, State: parcelClosed, LeftOut: p.LeftOut, Waybill: p.Waybill, ClosedBy: p.ClosedBy, keys: p.Keys}
	switch {
	case p.Open():
		v.State = parcelOpen
	case p.Refused():
		v.State = parcelRefused
	case p.Left():
		v.State = parcelShipped
	}
	if !p.Open() {
		v.ClosedAt = &p.ClosedAt
	}
	v.Refused = p.Refusals()
	units, err := t.Order(p.Order)
	if err != nil {
		return v, err
	}
	if p.Open() {
		v.Left = inEnglish(packing.Desk{Verify: t.Verify, Parcel: p.Parcel, Units: units}.Left())
	}
	v.of(units)
	return v, nil
}

func newPackList(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	var all bool
	c := &cobra.Command{
		Use: "list", Short: "List the parcels that are open, wait for the server's answer or have to be looked at", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return besideTable(load, func(t provision.Table) error {
				shipments, err := t.Journal.Shipments()
				if err != nil {
					return err
				}
				views := []parcelView{}
				table := output.Rows{Header: []string{"PARCEL", "ORDER", "STATE", "KEYS", "WAYBILL", "CLOSED BY", "REMARK"}, Empty: "No such parcels."}
				for _, p := range shipments {
					v, err := viewShipment(t, p)
					if err != nil {
						return err
					}
					if v.State == parcelShipped && !all {
						continue
					}
					remark := ""
					if said := append(v.Refused, v.Left...); len(said) > 0 {
						remark = said[0]
					}
					views = append(views, v)
					table.Rows = append(table.Rows, []string{fmt.Sprint(v.Parcel), v.OrderID, s.words.Name("parcel", v.State), fmt.Sprintf("%d/%d", len(p.Keys), len(v.Units)), v.Waybill, v.ClosedBy, s.words.Told(remark)})
				}
				return s.print(format, table, views)
			})
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also those that have left")
	output.AddFlag(c.Flags(), &format)
	return c
}

func newPackShow(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "show [ORDER]", Short: "Show the parcel that is open, or the last one of an order", Args: atMostOne,
		RunE: func(_ *cobra.Command, args []string) error {
			return besideTable(load, func(t provision.Table) error {
				shipments, err := t.Journal.Shipments()
				if err != nil {
					return err
				}
				for _, p := range slices.Backward(shipments) {
					if len(args) == 0 && p.Open() || len(args) > 0 && p.Order == args[0] {
						v, err := viewShipment(t, p)
						if err != nil {
							return err
						}
						return v.print(s, format)
					}
				}
				if len(args) > 0 {
					return fmt.Errorf("order %s has no parcel here", args[0])
				}
				return &packing.Refusal{Reason: packing.NothingOpen, Says: packing.Say("no parcel is open: scan the order first")}
			})
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}
