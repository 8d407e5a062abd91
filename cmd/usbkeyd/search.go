package main

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

// leastOfNumber is how many characters a beginning of a number needs to be looked for, see provision.Journal.Find.
const leastOfNumber = 4

func newSearch(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "search TEXT", Short: "Find what has a number that is printed or can be scanned", Args: exactArgs(1, "a number"),
		Long: `Find what has a number that is printed or can be scanned: an order, a unit, a job,
a token's serial, the number on its casing, a certificate's serial or a waybill. Where
there is no such number, those that begin with it are found, from 4 characters on.`,
		RunE: func(_ *cobra.Command, args []string) error {
			code := console.Code(args[0])
			if code == "" {
				return &codeError{exitUsage, errors.New("this is no number that can be looked for")}
			}
			return readBooks(load, func(b *floor.Books) error {
				finds, err := b.Find(code)
				if err != nil {
					return err
				}
				table := output.Rows{Header: []string{"BY", "ORDER", "KEY", "STATE", "TOKEN SERIAL", "CASING", "CERTIFICATE SERIAL", "WAYBILL"}, Empty: "Nothing was found."}
				for _, h := range finds.Hits {
					key := ""
					if h.Of > 0 {
						key = fmt.Sprintf("%d/%d", h.Sequence, h.Of)
					}
					table.Rows = append(table.Rows, []string{s.words.Name("by", h.By), h.Order, key, s.words.Name("is", h.State), h.Token, h.Casing, h.Certificate, h.Waybill})
				}
				if utf8.RuneCountInString(code) < leastOfNumber {
					table.Empty = "Nothing was found: give at least 4 characters, or a whole number."
				}
				if err := s.print(format, table, finds); err != nil || !finds.More {
					return err
				}
				_, err = s.words.Fprintf(s.err, "There are more than %d: give more of the number.\n", floor.MostFinds)
				return err
			})
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}
