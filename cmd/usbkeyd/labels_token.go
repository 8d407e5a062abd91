package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/label"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
	"github.com/usbkeyd/usbkeyd/provision"
)

func newLabelsToken(s streams, load func() (*config.Station, error)) *cobra.Command {
	size := ""
	c := writeCommand(s, load, &cobra.Command{
		Use: "token CODE", Short: "Write the labels of an order, a unit or a token, for a label printer", Args: exactArgs(1, "an order, a unit or a token serial"),
		Long: `Write the labels of the finished keys of an order, of a unit or of a token serial, in
the order of their bays, as a page of the label's size each: html to be printed from a
browser without scaling, or pdf.`,
	}, []string{"html", "pdf"}, func(station *config.Station, t provision.Table, args []string) (written, error) {
		paper := config.Labels{Size: station.Labels.Size}
		if size != "" {
			paper.Size = size
		}
		var of label.Size
		if of.Width, of.Height = paper.Millimetres(); of.Width == 0 {
			return nil, &codeError{exitUsage, fmt.Errorf("--size %q: width and height in millimetres are wanted, 30x20 to 210x210", size)}
		}
		records, err := finished(t.Journal, args[0])
		if err != nil {
			return nil, err
		}
		tokens := make([]label.Token, len(records))
		for i, r := range records {
			tokens[i] = labelOf(r)
		}
		return written{
			"html": func(w io.Writer) error { return label.TokensHTML(w, tokens, of) },
			"pdf":  asPDF(station, func(f *typeface.Font) ([]byte, error) { return label.TokensPDF(f, tokens, of) }),
		}, nil
	})
	c.Flags().StringVar(&size, "size", "", "`size` of a label in mm, such as 50x30 (default: labels.size of the configuration)")
	return c
}
