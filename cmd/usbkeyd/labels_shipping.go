package main

import (
	"cmp"
	"errors"
	"io"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/label"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newLabelsShipping(s streams, load func() (*config.Station, error)) *cobra.Command {
	mark := true
	c := writeCommand(s, load, &cobra.Command{
		Use: "shipping ORDER...", Short: "Write where the parcels of orders go, for the carrier's tool, as csv or json", Args: oneAtLeast,
	}, []string{"csv", "json"}, func(_ *config.Station, t provision.Table, args []string) (written, error) {
		var rows []label.Shipping
		for _, order := range args {
			row, err := shippingOf(t.Journal, order)
			if err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
		return written{
			"csv":  func(w io.Writer) error { return label.CSV(w, rows, mark) },
			"json": func(w io.Writer) error { return label.JSON(w, rows) },
		}, nil
	})
	c.Flags().BoolVar(&mark, "bom", mark, "begin a csv with a byte order mark, without which spreadsheets take Chinese for something else")
	return c
}

// shippingOf is what the carrier needs to know of an order's parcel, and nothing more.
func shippingOf(j *provision.Journal, order string) (label.Shipping, error) {
	records, err := finished(j, order)
	if err != nil {
		return label.Shipping{}, err
	}
	parcel, err := parcelOf(j, order)
	if err != nil {
		return label.Shipping{}, err
	}
	job := records[len(records)-1].Job // the last lease says what the order is like now
	return label.Shipping{
		OrderID: job.Subject.OrderID, Carrier: job.Carrier, FreightCollect: job.FreightCollect, Waybill: parcel.Waybill,
		Company: job.Subject.Company.Name, Name: cmp.Or(job.Recipient.Name, job.Subject.Handler.Name), Phone: job.Recipient.Phone, Address: job.Recipient.Address,
		Keys: cmp.Or(len(parcel.Keys), len(records)),
	}, nil
}

// oneAtLeast takes the numbers of orders.
func oneAtLeast(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return &codeError{exitUsage, errors.New("the number of an order is needed")}
	}
	return nil
}
