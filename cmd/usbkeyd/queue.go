package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// bayRow is a bay as bays shows it, with the job that is or was there.
type bayRow struct {
	Bay string `json:"bay"`
	// Number is what was taught, 0 for nothing.
	Number int     `json:"number,omitempty"`
	Port   string  `json:"usbPort,omitempty"`
	State  string  `json:"state"`
	Token  string  `json:"tokenSerial,omitempty"`
	Job    *keyRow `json:"job,omitempty"`
}

// keyRow is a job as bays and queue show it.
type keyRow struct {
	JobID    string `json:"jobId"`
	OrderID  string `json:"orderId"`
	UnitID   string `json:"unitId"`
	Company  string `json:"company"`
	Sequence int    `json:"sequence"`
	Of       int    `json:"of"`
	Bay      string `json:"bay,omitempty"`
	Running  bool   `json:"running"`
	Step     string `json:"step"`
	Percent  int    `json:"percent"`
	Waiting  string `json:"waiting,omitempty"`
	Hint     string `json:"hint,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

func newKeyRow(j console.Job) keyRow {
	return keyRow{j.ID, j.Order, j.Unit, j.Company, j.Sequence, j.Of, j.Bay, j.Running, j.Step, j.Percent, j.Waiting, j.Hint, j.Reason}
}

// queueRow is what is not finished of one order.
type queueRow struct {
	OrderID string    `json:"orderId"`
	Company string    `json:"company"`
	Done    int       `json:"done"`
	Of      int       `json:"of"`
	Due     time.Time `json:"dueAt,omitzero"`
	Late    bool      `json:"late"`
	Soon    bool      `json:"soon"`
	Urgent  bool      `json:"urgent"`
	Held    bool      `json:"held"`
	Idle    bool      `json:"idle"`
	Keys    []keyRow  `json:"keys"`
}

// lookCommand makes a command that prints what is asked for at the daemon's socket, which gives what
// the page shows to an account that may open the page.
func lookCommand(c *cobra.Command, print func(format output.Format, shown console.Shown) error) *cobra.Command {
	var format output.Format
	var socket string
	c.Args = noArgs
	c.RunE = func(c *cobra.Command, _ []string) error {
		shown, err := console.Look(c.Context(), socket)
		if err != nil {
			return unanswered(socket, err)
		}
		return print(format, shown)
	}
	socketFlag(c, &socket)
	output.AddFlag(c.Flags(), &format)
	return c
}

// bayRows are bays as bays prints them.
func bayRows(words wording.Words, bays []console.Bay) (table output.Rows, rows []bayRow) {
	rows = []bayRow{}
	table = output.Rows{Header: []string{"NO", "BAY", "STATE", "TOKEN SERIAL", "ORDER", "KEY", "STEP", "DONE", "NEXT"}, Empty: "No bay can be shown: look at the modules in the configuration."}
	for _, b := range bays {
		number := ""
		if b.Number > 0 {
			number = strconv.Itoa(b.Number)
		}
		row, cells := bayRow{Bay: b.Name, Number: b.Number, Port: b.Port, State: string(b.State), Token: b.Token}, []string{number, b.Name, words.Name("bay", string(b.State)), b.Token, "", "", "", "", ""}
		if b.Job != nil {
			k := newKeyRow(*b.Job)
			row.Job = &k
			cells = append(cells[:4], k.OrderID, fmt.Sprintf("%d/%d", k.Sequence, k.Of), words.Name("step", k.Step), fmt.Sprintf("%d%%", k.Percent), words.Told(k.Hint))
		}
		rows, table.Rows = append(rows, row), append(table.Rows, cells)
	}
	return table, rows
}

func newBays(s streams) *cobra.Command {
	c := lookCommand(&cobra.Command{
		Use: "bays", Short: "Show what is in each bay",
		Long: `Show what is in each bay, as the operator's page shows it now. The daemon is asked
for it, under your own account, which must be one that may open the page.`,
	}, func(format output.Format, shown console.Shown) error {
		table, rows := bayRows(s.words, shown.Bays)
		return s.print(format, table, rows)
	})
	c.AddCommand(newBaysTeach(s))
	return c
}

func newQueue(s streams) *cobra.Command {
	return lookCommand(&cobra.Command{
		Use: "queue", Short: "Show the jobs that are not finished, order by order, the earliest due first",
		Long: `Show the jobs that are not finished, order by order, the earliest due first, as the
operator's page shows them now. The daemon is asked for them, under your own account,
which must be one that may open the page.`,
	}, func(format output.Format, shown console.Shown) error {
		rows := []queueRow{}
		table := output.Rows{Header: []string{"ORDER", "MARKS", "DUE", "DONE", "KEY", "BAY", "STATE", "NEXT"}, Empty: "Nothing is waiting: all that was claimed is done."}
		for _, q := range console.Line(shown.Queue, time.Now()) {
			row := queueRow{q.Order, q.Company, q.Done, q.Of, q.Due, q.Late, q.Soon, q.Urgent, q.Held, q.Idle, []keyRow{}}
			for _, j := range q.Jobs {
				row.Keys = append(row.Keys, newKeyRow(j))
				state := s.words.Name("step", j.Step)
				if !j.Running {
					state = s.words.Say("waits for " + cmp.Or(j.Waiting, "its turn"))
				}
				table.Rows = append(table.Rows, []string{q.Order, marks(s.words, q.Marks), localTime(q.Due), fmt.Sprintf("%d/%d", q.Done, q.Of), fmt.Sprintf("%d/%d", j.Sequence, j.Of), j.Bay, state, s.words.Told(j.Hint)})
			}
			rows = append(rows, row)
		}
		return s.print(format, table, rows)
	})
}

// marks are the words for an order's marks.
func marks(words wording.Words, m console.Marks) string {
	var out []string
	for _, mark := range []struct {
		is   bool
		word string
	}{{m.Late, "late"}, {m.Soon, "soon"}, {m.Urgent, "urgent"}, {m.Held, "held"}, {m.Idle, "waiting"}} {
		if mark.is {
			out = append(out, words.Name("mark", mark.word))
		}
	}
	return strings.Join(out, ", ")
}
