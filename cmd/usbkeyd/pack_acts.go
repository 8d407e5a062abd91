package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newPackOpen(s streams, load func() (*config.Station, error)) *cobra.Command {
	return actCommand(s, load, &cobra.Command{
		Use: "open ORDER", Short: "Begin the parcel of an order", Args: exactArgs(1, "the number of an order"),
	}, provision.Table.Open)
}

func newPackScan(s streams, load func() (*config.Station, error)) *cobra.Command {
	return actCommand(s, load, &cobra.Command{
		Use: "scan CODE", Short: "Take what the scanner read: an order, a token serial or a waybill", Args: exactArgs(1, "one code"),
		Long: `Take what the scanner read. An order's number begins its parcel, a token's serial
puts that key into it, a waybill ends it. A key of another order, one that was
scanned before, and one that may not leave yet are refused with a sentence.`,
	}, provision.Table.Scan)
}

func newPackUndo(s streams, load func() (*config.Station, error)) *cobra.Command {
	return actCommand(s, load, &cobra.Command{
		Use: "undo [CODE]", Short: "Take back the last act, or the one that a serial, unit or waybill names", Args: atMostOne,
		Long: `Take back the last act in the open parcel, or the last one that a token serial, a
unit or a waybill names. When nothing is in the parcel, that drops it.`,
	}, provision.Table.Undo)
}

func newPackWaybill(s streams, load func() (*config.Station, error)) *cobra.Command {
	return actCommand(s, load, &cobra.Command{
		Use: "waybill NUMBER", Short: "Enter the number of the carrier's paper", Args: exactArgs(1, "a waybill's number"),
	}, provision.Table.EnterWaybill)
}

func newPackLeaveOut(s streams, load func() (*config.Station, error)) *cobra.Command {
	return actCommand(s, load, &cobra.Command{
		Use: "leave-out UNIT", Short: "Say that a unit which this station has no key of is not in the parcel", Args: exactArgs(1, "the id of a unit"),
		Long: `Say that a unit of the order is not in this parcel, because it is made at another
station or was cancelled; the central server knows. A unit whose key is here, or is
being made here, cannot be left out.`,
	}, provision.Table.LeaveOut)
}

func newPackClose(s streams, load func() (*config.Station, error)) *cobra.Command {
	return actCommand(s, load, &cobra.Command{
		Use: "close", Short: "Close the parcel, and report its shipment", Args: noArgs,
		Long: `Close the parcel that is open. Every key of its order has to be in it, verified
where the configuration wants that, and its waybill entered. The daemon reports
the shipment of each unit; what the central server has against one stands in
usbkeyd pack list.`,
	}, func(t provision.Table, _, by string) (packing.Desk, packing.Act, error) { return t.Close(by) })
}

// atMostOne takes one argument or none.
func atMostOne(c *cobra.Command, args []string) error {
	if len(args) > 1 {
		return &codeError{exitUsage, fmt.Errorf("%s wants one code or none", c.CommandPath())}
	}
	return nil
}
