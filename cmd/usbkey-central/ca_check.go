package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

type caCheckOptions struct {
	caOptions
	data   string
	format output.Format
}

// caReport is what ca check prints as JSON.
type caReport struct {
	CA        string   `json:"ca"`
	Works     bool     `json:"works"`
	CanLookup bool     `json:"canLookup"`
	CanRevoke bool     `json:"canRevoke"`
	MakesCRL  bool     `json:"makesCrl"`
	Found     []string `json:"found"`
	Fault     string   `json:"fault,omitempty"`
}

func newCACheck(s streams, data *string) *cobra.Command {
	o := caCheckOptions{}
	c := &cobra.Command{
		Use: "check", Short: "Say what a CA can do and whether it is there", Args: noArgs,
		Long: `Say what a CA can do and whether it is there, without asking it for a certificate.

It reads the settings as "serve" does, and then the EST server's /cacerts, the
offline CA's folder or the development CA's keys. It may run beside the server.
It ends with 1 when issuing would not work.`,
		RunE: func(c *cobra.Command, _ []string) error {
			o.data = *data
			return o.run(c.Context(), s)
		},
	}
	o.addFlags(c.Flags())
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o caCheckOptions) run(ctx context.Context, s streams) error {
	if err := o.check(); err != nil {
		return err
	}
	abilities, found, fault := o.look(ctx, o.data)
	if abilities == nil {
		return fault
	}
	_, makesCRL := abilities.(ca.CRLMaker)
	r := caReport{CA: o.kind, Works: fault == nil, CanLookup: abilities.CanLookup(), CanRevoke: abilities.CanRevoke(), MakesCRL: makesCRL, Found: append([]string{}, found...)}
	if fault != nil {
		r.Fault = fault.Error()
	}
	return errors.Join(o.format.Print(s.out, r.rows(), r), fault)
}

func (r caReport) rows() output.Rows {
	say := func(yes bool, ifYes, ifNo string) string {
		if yes {
			return "yes: " + ifYes
		}
		return "no: " + ifNo
	}
	rows := [][]string{
		{"works", say(r.Works, "issuing would work now", r.Fault)},
		{"can look up", say(r.CanLookup, "after a lost answer the server finds out by itself", "a lost answer makes a unit ISSUE_UNKNOWN, and a person asks the CA")},
		{"can revoke", say(r.CanRevoke, "the server revokes", "a person revokes, at the CA itself")},
		{"makes CRLs", say(r.MakesCRL, "GET /v1/crls/ecdsa and /v1/crls/rsa", "they are where the CA publishes them")},
	}
	for _, f := range r.Found {
		rows = append(rows, []string{"found", f})
	}
	return output.Rows{Header: []string{"CA", r.CA}, Rows: rows}
}
