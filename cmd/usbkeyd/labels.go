package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/label"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
	"github.com/usbkeyd/usbkeyd/provision"
)

// labels is what this station needs to print token labels; nil where it prints none.
type labels struct {
	font    *typeface.Font
	printer cups.Printer
	size    label.Size
}

// newLabels makes it ready; faults have their field paths. supported says why this system
// prints none.
func newLabels(station *config.Station, supported func() error) (*labels, error) {
	if station.Labels.Printer == "" {
		return nil, nil
	}
	if err := supported(); err != nil {
		return nil, &config.FieldError{Field: "labels", Err: err}
	}
	of := station.Labels
	font, err := readFont("labels.font", of.Font)
	if err != nil {
		return nil, err
	}
	width, height := of.Millimetres()
	return &labels{
		font: font, size: label.Size{Width: width, Height: height},
		printer: cups.Printer{
			Name: of.Printer, Server: of.Server, Media: fmt.Sprintf("Custom.%dx%dmm", width, height), Title: "label", Patience: of.Patience,
		},
	}, nil
}

// print prints the labels of keys, in one go, and says what is known of them. It fails with
// cups.ErrNotSent when nothing was handed to the printer.
func (l *labels) print(ctx context.Context, records ...*provision.Record) (says string, err error) {
	tokens := make([]label.Token, len(records))
	for i, r := range records {
		tokens[i] = labelOf(r)
	}
	pages, err := label.TokensPDF(l.font, tokens, l.size)
	if err != nil {
		return "", fmt.Errorf("%w: %w", cups.ErrNotSent, err)
	}
	if err := l.printer.Ready(ctx); err != nil {
		return "", err
	}
	outcome, err := l.printer.Print(ctx, pages)
	return outcome.Says, err
}

// oneAtATime is how the daemon prints the label of a token that is pulled; nil where it does not.
func (l *labels) oneAtATime(station *config.Station) func(context.Context, *provision.Record) (string, error) {
	if l == nil || !station.Labels.OneAtATime {
		return nil
	}
	return func(ctx context.Context, rec *provision.Record) (string, error) { return l.print(ctx, rec) }
}

// labelOf is the label of a finished key.
func labelOf(rec *provision.Record) label.Token {
	of := rec.Job.Subject
	return label.Token{
		Serial: string(rec.Token.Identity.Serial), Label: string(rec.TokenLabel()),
		OrderID: of.OrderID, UnitID: of.UnitID, Unit: of.Sequence, Of: of.Of,
	}
}

// finished are the finished keys that a code means, one at least.
func finished(j *provision.Journal, code string) ([]*provision.Record, error) {
	found, err := j.Labelled(code)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there is no finished key of %s at this station", code)
	}
	return found, err
}

// written are the formats of a command, by name.
type written map[string]func(w io.Writer) error

// writeCommand makes a command that writes one of its formats to standard output, the first if none
// is asked for.
func writeCommand(s streams, load func() (*config.Station, error), c *cobra.Command, of []string, from func(*config.Station, provision.Table, []string) (written, error)) *cobra.Command {
	var format string
	c.Flags().StringVar(&format, "format", of[0], "output `format`: "+strings.Join(of, " or "))
	c.RunE = func(_ *cobra.Command, args []string) error {
		station, err := load()
		if err != nil {
			return err
		}
		return besideTable(load, func(t provision.Table) error {
			formats, err := from(station, t, args)
			if err != nil {
				return err
			}
			write, ok := formats[format]
			if !ok {
				return &codeError{exitUsage, fmt.Errorf("--format %q: %s is written as %s", format, c.Name(), strings.Join(of, " or "))}
			}
			return write(s.out)
		})
	}
	return c
}

// asPDF writes what is made with the font of labels.
func asPDF(station *config.Station, make func(*typeface.Font) ([]byte, error)) func(io.Writer) error {
	return func(w io.Writer) error {
		font, err := readFont("labels.font", station.Labels.Font)
		if err != nil {
			return err
		}
		pages, err := make(font)
		if err != nil {
			return err
		}
		_, err = w.Write(pages)
		return err
	}
}

// parcelOf is the last parcel of an order; the zero Shipment when there was none.
func parcelOf(j *provision.Journal, order string) (provision.Shipment, error) {
	all, err := j.Shipments()
	for _, s := range slices.Backward(all) {
		if s.Order == order {
			return s, err
		}
	}
	return provision.Shipment{}, err
}
