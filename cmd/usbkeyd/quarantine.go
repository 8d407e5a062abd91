package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

// isolatedRow is one token in quarantine as these commands print it.
type isolatedRow struct {
	TokenSerial  string    `json:"tokenSerial"`
	CasingNumber string    `json:"casingNumber,omitempty"`
	TokenModel   string    `json:"tokenModel"`
	OrderID      string    `json:"orderId"`
	UnitID       string    `json:"unitId"`
	JobID        string    `json:"jobId"`
	Since        time.Time `json:"since"`
	// On is what may be on it: key, nothing, emptied or blank; Next what to do: release,
	// insert, wipe or keep.
	On     string `json:"on"`
	Next   string `json:"next"`
	Bay    string `json:"bay,omitempty"`
	Reason string `json:"reason"`
	Hint   string `json:"hint,omitempty"`
}

func newIsolatedRow(i console.Isolated) isolatedRow {
	return isolatedRow{
		TokenSerial: i.Token, CasingNumber: i.Casing, TokenModel: i.Model, OrderID: i.Job.Order, UnitID: i.Job.Unit, JobID: i.Job.ID,
		Since: i.Since, On: i.Holds(), Next: i.Next(), Bay: i.Bay, Reason: i.Job.Reason, Hint: i.Job.Hint,
	}
}

func newQuarantineList(s streams) *cobra.Command {
	var socket string
	var format output.Format
	c := &cobra.Command{
		Use: "list", Short: "List the tokens in quarantine, oldest first", Args: noArgs,
		Long: `List the tokens in quarantine, oldest first. ON says what may be on a token: a
customer's key, nothing (written, but no key was made), emptied (wiped), or blank
(wiped and proved). NEXT says what to do with it: insert, wipe, release or keep.`,
		RunE: func(c *cobra.Command, _ []string) error {
			all, err := console.AskIsolated(c.Context(), socket)
			if err != nil {
				return unanswered(socket, err)
			}
			rows := []isolatedRow{}
			table := output.Rows{Header: []string{"TOKEN SERIAL", "CASING NUMBER", "UNIT", "SINCE", "ON", "NEXT", "BAY", "REASON"}, Empty: "No token is in quarantine."}
			for _, i := range all {
				r := newIsolatedRow(i)
				rows = append(rows, r)
				table.Rows = append(table.Rows, []string{r.TokenSerial, r.CasingNumber, r.UnitID, r.Since.Format("2006-01-02 15:04"), s.words.Name("on", r.On), s.words.Name("next", r.Next), r.Bay, s.words.Told(r.Reason)})
			}
			return s.print(format, table, struct {
				Tokens []isolatedRow `json:"tokens"`
			}{rows})
		},
	}
	socketFlag(c, &socket)
	output.AddFlag(c.Flags(), &format)
	return c
}

func newQuarantineShow(s streams) *cobra.Command {
	var socket string
	var format output.Format
	c := &cobra.Command{
		Use: "show TOKEN", Short: "Show one token in quarantine: why, and what to do", Args: exactArgs(1, "a token's serial, or its job"),
		RunE: func(c *cobra.Command, args []string) error {
			all, err := console.AskIsolated(c.Context(), socket)
			if err != nil {
				return unanswered(socket, err)
			}
			for _, i := range all {
				if i.Token != args[0] && i.Job.ID != args[0] {
					continue
				}
				r := newIsolatedRow(i)
				table := output.Rows{Header: []string{"WHAT", ""}, Facts: true, Rows: [][]string{
					{"token serial", r.TokenSerial}, {"casing number", r.CasingNumber}, {"model", r.TokenModel}, {"order", r.OrderID}, {"unit", r.UnitID}, {"job", r.JobID},
					{"since", r.Since.Format("2006-01-02 15:04")}, {"on it", s.words.Name("on", r.On)}, {"next", s.words.Name("next", r.Next)}, {"plugged in", r.Bay}, {"reason", s.words.Told(r.Reason)}, {"hint", s.words.Told(r.Hint)},
				}}
				return s.print(format, table, r)
			}
			return fmt.Errorf("no token in quarantine is %s", output.Clean(args[0]))
		},
	}
	socketFlag(c, &socket)
	output.AddFlag(c.Flags(), &format)
	return c
}

func newQuarantineWipe(s streams) *cobra.Command {
	return newDecision(s, console.AskWipe, &cobra.Command{
		Use: "wipe TOKEN", Short: "Do away with all that is on a token in quarantine",
		Long: `Do away with all that is on a token in quarantine, and give it the SO PIN of its
factory again where its model has one. The token is named by its serial, or by its
job, and must be plugged in; the daemon does it, and reads the token again. Where a
customer's key or certificate may be on it, a second person has to approve:
usbkeyd approve, under an account of their own.`,
	})
}

func newQuarantineRelease(s streams) *cobra.Command {
	return newDecision(s, console.AskRelease, &cobra.Command{
		Use: "release TOKEN", Short: "Put a token that was wiped and proves blank back into stock",
		Long: `Put a token that was wiped and proves blank back into stock. It is read once more;
one that is not blank stays in quarantine.`,
	})
}

// newDecision is a command that asks for something and confirms it: the kernel vouches for
// who runs it.
func newDecision(s streams, ask func(ctx context.Context, socket, of string) (*console.ActView, error), c *cobra.Command) *cobra.Command {
	o := &answerOptions{streams: s}
	c.Args = exactArgs(1, "a token's serial, or its job")
	c.RunE = func(c *cobra.Command, args []string) error {
		act, err := ask(c.Context(), o.socket, args[0])
		if err != nil {
			return unanswered(o.socket, err)
		}
		return o.run(c.Context(), act.Code)
	}
	socketFlag(c, &o.socket)
	c.Flags().BoolVar(&o.yes, "yes", false, "do not ask whether it is meant")
	return c
}
