package main

import (
	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

func newDecisionsList(s streams, dial connect) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "list", Short: "List decisions that wait for a second person", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := dial()
			if err != nil {
				return err
			}
			decisions, err := client.Decisions(c.Context())
			if err != nil {
				return err
			}
			rows := output.Rows{Header: []string{"DECISION", "UNIT", "GENERATION", "ACTION", "ASKED BY", "AT", "REASON"}, Empty: "Nothing waits for a second person."}
			for _, d := range decisions {
				rows.Rows = append(rows.Rows, []string{d.DecisionId, d.UnitId, itoa(d.Generation), string(d.Action), d.RequestedBy, when(d.RequestedAt), d.Reason})
			}
			return format.Print(s.out, rows, decisions)
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

func newDecisionsApprove(s streams, dial connect) *cobra.Command {
	var operator string
	c := &cobra.Command{
		Use: "approve DECISION", Short: "Approve a decision as the second person", Args: exactly(1, "the id of one decision"),
		RunE: func(c *cobra.Command, args []string) error {
			if operator == "" {
				return usagef("%s needs --operator ID: who decides is written down", c.CommandPath())
			}
			client, err := dial()
			if err != nil {
				return err
			}
			answer, err := client.Approve(c.Context(), args[0], operator)
			if err != nil {
				return err
			}
			return printDecision(s, answer)
		},
	}
	c.Flags().StringVar(&operator, "operator", "", "`id` of the second person; an id, not a name")
	return c
}
