package main

import (
	"cmp"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/label"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newLabelsPackingList(s streams, load func() (*config.Station, error)) *cobra.Command {
	return writeCommand(s, load, &cobra.Command{
		Use: "packing-list ORDER", Short: "Write an order's packing list on A4, as html or pdf", Args: exactArgs(1, "the number of an order"),
	}, []string{"html", "pdf"}, func(station *config.Station, t provision.Table, args []string) (written, error) {
		list, err := packingList(t.Journal, args[0])
		if err != nil {
			return nil, err
		}
		return written{
			"html": func(w io.Writer) error { return label.PackingListHTML(w, list) },
			"pdf":  asPDF(station, func(f *typeface.Font) ([]byte, error) { return label.PackingListPDF(f, list) }),
		}, nil
	})
}

// packingList is that of an order: the keys in its last parcel, or all that are finished while
// there is none.
func packingList(j *provision.Journal, order string) (label.List, error) {
	records, err := finished(j, order)
	if err != nil {
		return label.List{}, err
	}
	parcel, err := parcelOf(j, order)
	if err != nil {
		return label.List{}, err
	}
	of := records[0].Job.Subject
	list := label.List{OrderID: of.OrderID, Company: of.Company.Name, Waybill: parcel.Waybill}
	for _, r := range records {
		if len(parcel.Keys) == 0 || slices.Contains(parcel.Tokens(), string(r.Token.Identity.Serial)) {
			list.Tokens = append(list.Tokens, labelOf(r))
		}
	}
	slices.SortFunc(list.Tokens, func(a, b label.Token) int { return cmp.Compare(a.Unit, b.Unit) })
	return list, nil
}
