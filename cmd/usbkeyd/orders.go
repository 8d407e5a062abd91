package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/provision"
)

// orderRow is an order as orders list shows it.
type orderRow struct {
	OrderID string    `json:"orderId"`
	Company string    `json:"company"`
	Product string    `json:"productCode"`
	Of      int       `json:"of"`
	Done    int       `json:"done"`
	Here    int       `json:"here"` // units that this station has had
	Open    int       `json:"open"` // of them those that are not over
	Due     time.Time `json:"dueAt,omitzero"`
	Urgent  bool      `json:"urgent"`
}

func newOrdersList(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "list", Short: "List the orders of which this station has had units, the latest first", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			records, err := readJournal(load, func(j *provision.Journal) ([]*provision.Record, error) { return j.All() })
			if err != nil {
				return err
			}
			rows := ordersOf(records)
			table := output.Rows{Header: []string{"ORDER", "COMPANY", "DONE", "OPEN", "DUE", "URGENT"}, Empty: "No orders yet."}
			for _, r := range rows {
				table.Rows = append(table.Rows, []string{r.OrderID, r.Company, fmt.Sprintf("%d/%d", r.Done, r.Of), fmt.Sprint(r.Open), localTime(r.Due), yes(s.words, r.Urgent)})
			}
			return s.print(format, table, rows)
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

// ordersOf makes orders of jobs, the one that was begun last first. What counts of a unit is
// its last job.
func ordersOf(records []*provision.Record) []orderRow {
	rows, units := map[string]*orderRow{}, map[string]*provision.Record{}
	var ids []string
	for _, r := range records {
		s := r.Job.Subject
		if rows[s.OrderID] == nil {
			rows[s.OrderID] = &orderRow{OrderID: s.OrderID}
			ids = append(ids, s.OrderID)
		}
		o := rows[s.OrderID]
		o.Company, o.Product, o.Of, o.Urgent = s.Company.Name, s.ProductCode, max(o.Of, s.Of), o.Urgent || r.Job.Urgent
		if o.Due.IsZero() || !r.Job.DueAt.IsZero() && r.Job.DueAt.Before(o.Due) {
			o.Due = r.Job.DueAt
		}
		units[r.Job.UnitID()] = r
	}
	for _, r := range units {
		o := rows[r.Job.Subject.OrderID]
		o.Here++
		switch {
		case r.State == provision.StateFinished:
			o.Done++
		case !r.State.Final():
			o.Open++
		}
	}
	out := []orderRow{}
	for _, id := range slices.Backward(ids) {
		out = append(out, *rows[id])
	}
	return out
}

func newOrdersShow(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "show ORDER", Short: "Show an order's units, certificates and history", Args: exactArgs(1, "an order, as orders list shows it"),
		RunE: func(_ *cobra.Command, args []string) error {
			return readBooks(load, func(b *floor.Books) error {
				o, err := b.Order(args[0])
				if err != nil {
					return err
				}
				if o == nil {
					return fmt.Errorf("this station has had nothing of an order %q; usbkeyd orders list shows all", args[0])
				}
				if format == output.JSON {
					return s.print(format, output.Rows{}, o)
				}
				return printOrder(s, format, o)
			})
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func printOrder(s streams, format output.Format, o *console.Order) error {
	facts := output.Rows{Header: []string{"ORDER", o.ID}, Facts: true, Rows: [][]string{
		{"company", o.Company}, {"product", o.Product}, {"done", fmt.Sprintf("%d/%d", o.Done(), len(o.Units))}, {"due", localTime(o.Due)}, {"urgent", yes(s.words, o.Urgent)},
	}}
	facts.Rows = slices.DeleteFunc(facts.Rows, func(r []string) bool { return r[1] == "" })
	units := output.Rows{Header: []string{"KEY", "STATE", "STEP", "TOKEN SERIAL", "CASING", "CERTIFICATE SERIAL", "VALID UNTIL", "WAYBILL"}}
	certificates := output.Rows{Header: []string{"KEY", "SUBJECT", "VALID FROM", "CERTIFICATE SHA-256", "PUBLIC KEY SHA-256"}, Empty: "No certificates yet."}
	for _, u := range o.Units {
		key := fmt.Sprintf("%d/%d", u.Sequence, u.Of)
		serial, until := "", ""
		if c := u.Certificate; c != nil {
			serial, until = c.Serial, c.NotAfter.Local().Format(time.DateOnly)
			certificates.Rows = append(certificates.Rows, []string{key, c.Subject, c.NotBefore.Local().Format(time.DateOnly), c.SHA256, c.Key})
		}
		units.Rows = append(units.Rows, []string{key, s.words.Name("is", u.State), s.words.Name("step", u.Step), u.Token, u.Casing, serial, until, u.Waybill})
	}
	history := output.Rows{Header: []string{"AT", "KEY", "WHAT", "BY"}}
	for _, a := range o.History {
		key := ""
		if a.Unit > 0 {
			key = fmt.Sprint(a.Unit)
		}
		what := strings.Join(slices.DeleteFunc([]string{a.What, a.Step, a.Text}, func(part string) bool { return part == "" }), " ")
		history.Rows = append(history.Rows, []string{localTime(a.At), key, what, a.By})
	}
	var errs []error
	for i, table := range []output.Rows{facts, units, certificates, history} {
		if i > 0 {
			_, err := fmt.Fprintln(s.out)
			errs = append(errs, err)
		}
		errs = append(errs, s.print(format, table, nil))
	}
	return errors.Join(errs...)
}

// localTime is a moment by the clock on the wall; "" for none.
func localTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func yes(words wording.Words, is bool) string {
	if is {
		return words.Name("yes", "yes")
	}
	return ""
}

// readBooks opens the books beside a daemon that may be running; nothing is read where there is
// no journal yet.
func readBooks(load func() (*config.Station, error), read func(*floor.Books) error) error {
	station, err := load()
	if err != nil {
		return err
	}
	there, err := besideDaemon(station, func(j *provision.Journal) error { return read(floor.NewBooks(j, tables(station))) })
	if err == nil && !there {
		err = errors.New("this station has no journal yet, so there is nothing to show")
	}
	return err
}
