package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/central/calendar"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

type calendarShowOptions struct {
	file   string
	format output.Format
}

func newCalendarShow(s streams) *cobra.Command {
	o := calendarShowOptions{}
	c := &cobra.Command{
		Use: "show", Short: "Show the holiday notices that due times are computed from", Args: noArgs,
		Long: `Show the holiday notices that due times are computed from: those that are built
in, and with --calendar those of a file beside them and over them, as "serve"
has them. No server is asked.`,
		RunE: func(*cobra.Command, []string) error { return o.run(s) },
	}
	c.Flags().StringVar(&o.file, "calendar", "", "`file` with more notices, as \"serve\" gets it")
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o calendarShowOptions) run(s streams) error {
	days, err := calendar.BuiltIn()
	if err != nil {
		return err
	}
	if o.file != "" {
		years, err := calendar.ReadFile(o.file)
		if err != nil {
			return err
		}
		days = days.With(years)
	}
	return printNotices(s, o.format, days.Years())
}

func printNotices(s streams, format output.Format, years []calendar.Year) error {
	rows := output.Rows{Header: []string{"YEAR", "NOTICE", "ISSUED", "OFF", "MADE UP FOR"}}
	for _, y := range years {
		off := make([]string, len(y.Off))
		for i, o := range y.Off {
			off[i] = short(o.From, y.Year)
			if o.To != o.From {
				off[i] += "…" + short(o.To, y.Year)
			}
		}
		work := make([]string, len(y.Work))
		for i, day := range y.Work {
			work[i] = short(day, y.Year)
		}
		rows.Rows = append(rows.Rows, []string{strconv.Itoa(y.Year), y.Number, y.Issued, strings.Join(off, " "), strings.Join(work, " ")})
	}
	return format.Print(s.out, rows, struct {
		Years []calendar.Year `json:"years"`
	}{years})
}

// short leaves out the year of a day where it goes without saying.
func short(day string, year int) string { return strings.TrimPrefix(day, fmt.Sprintf("%d-", year)) }
