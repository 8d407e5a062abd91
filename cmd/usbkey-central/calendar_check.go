package main

import (
	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/central/calendar"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

type calendarCheckOptions struct {
	file   string
	format output.Format
}

func newCalendarCheck(s streams) *cobra.Command {
	o := calendarCheckOptions{}
	c := &cobra.Command{
		Use: "check FILE", Short: "Read a file of holiday notices and say what is in it", Args: exactly(1, "one file"),
		Long: `Read a file of holiday notices, as "serve --calendar" does, and say what is in it.
It ends with 1 and names the line when something is wrong. No server is asked.

The General Office of the State Council publishes the notice for the next year in
October or November. It is written down like this; lines that begin with # and
empty ones say nothing:

  year   2026
  notice 国务院办公厅关于2026年部分节假日安排的通知
  number 国办发明电〔2025〕7号
  issued 2025-11-04
  source https://www.gov.cn/zhengce/zhengceku/202511/content_7047091.htm
  off    2026-01-01 2026-01-03 元旦
  work   2026-01-04

and so on: "off" with the first and the last day of each holiday, weekends in it
included, "work" for each Saturday or Sunday that is worked. More years may follow.`,
		RunE: func(_ *cobra.Command, args []string) error {
			o.file = args[0]
			return o.run(s)
		},
	}
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o calendarCheckOptions) run(s streams) error {
	years, err := calendar.ReadFile(o.file)
	if err != nil {
		return err
	}
	return printNotices(s, o.format, years)
}
