package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/output"
)

type certificatesListOptions struct{ format output.Format }

func newCertificatesList(s streams, dial connect) *cobra.Command {
	o := certificatesListOptions{}
	c := &cobra.Command{
		Use: "list", Short: "List the CA's own record, in the order of issue", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), s, dial) },
	}
	output.AddFlag(c.Flags(), &o.format)
	return c
}

func (o certificatesListOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	certificates, err := client.Certificates(ctx)
	if err != nil {
		return err
	}
	rows := output.Rows{
		Header: []string{"UNIT", "GENERATION", "CERTIFICATE SERIAL", "NOT AFTER", "SUBJECT"},
		Empty:  "The CA has issued nothing yet.",
	}
	for _, r := range certificates {
		rows.Rows = append(rows.Rows, []string{r.UnitId, itoa(r.Generation), r.CertificateSerial, when(r.NotAfter), r.Subject})
	}
	return o.format.Print(s.out, rows, certificates)
}
