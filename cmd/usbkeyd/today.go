package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

func newToday(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "today", Short: "Count what was done since midnight, and what is left", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			return readBooks(load, func(b *floor.Books) error {
				from, to := console.DayAt(time.Now(), time.Local)
				day, err := b.Day(from, to)
				if err != nil {
					return err
				}
				shift := console.Count(day, from, to)
				if format == output.JSON {
					return s.print(format, output.Rows{}, shift)
				}
				return printShift(s, format, shift)
			})
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func printShift(s streams, format output.Format, shift console.Shift) error {
	count := func(n int) string { return fmt.Sprint(n) }
	sums := output.Rows{Header: []string{"TODAY", shift.From.Format(time.DateOnly)}, Facts: true, Rows: [][]string{
		{"finished", count(shift.Done)}, {"failed", count(shift.Failed)}, {"quarantined", count(shift.Quarantined)},
		{"not finished", s.words.Sprintf("%d keys of %d orders", shift.Left.Units, shift.Left.Orders)}, {"of them wait for a person", count(shift.Left.Waiting)},
		{"of them late", count(shift.Left.Late)}, {"finished and not sent", count(shift.Left.Unsent)},
		{"reports not delivered", count(shift.Left.Reports)},
	}}
	hours := output.Rows{Header: []string{"FROM", "FINISHED", "FAILED", "QUARANTINED"}, Empty: "No job has ended today."}
	for _, h := range shift.Hours {
		hours.Rows = append(hours.Rows, []string{h.From.Format("15:04"), count(h.Done), count(h.Failed), count(h.Quarantined)})
	}
	tables := []output.Rows{sums, hours}
	if len(shift.Bays) > 0 {
		bays := output.Rows{Header: []string{"BAY", "FINISHED", "FAILED", "MEDIAN SECONDS"}}
		for _, b := range shift.Bays {
			median := ""
			if b.Median > 0 {
				median = fmt.Sprintf("%.1f", b.Seconds)
			}
			bays.Rows = append(bays.Rows, []string{b.Bay, count(b.Done), count(b.Failed), median})
		}
		tables = append(tables, bays)
	}
	var errs []error
	for i, table := range tables {
		if i > 0 {
			_, err := fmt.Fprintln(s.out)
			errs = append(errs, err)
		}
		errs = append(errs, s.print(format, table, nil))
	}
	return errors.Join(errs...)
}
