package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

type unitsResolveOptions struct {
	id, finding, pkcs7, sha256 string
	generation                 int32
	by                         person
}

func newUnitsResolve(s streams, dial connect) *cobra.Command {
	o := unitsResolveOptions{}
	c := &cobra.Command{
		Use: "resolve UNIT", Short: "Say what was found out about a unit's certificate", Args: exactly(1, "the id of one unit"),
		Long: `Say what a person found out at the CA. Nothing changes until a second person
approves it with "decisions approve". Findings:

  certificate  the CA did issue: --pkcs7 FILE holds its answer
  absent       the CA has proved that it issued nothing and will not
  revoked      --certificate-sha256 is revoked at the CA
  surplus      --certificate-sha256 is a second one for the same key, to be revoked`,
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			if o.finding == "" {
				return usagef("%s needs --finding: certificate, absent, revoked or surplus", c.CommandPath())
			}
			if !api.ResolveRequestFinding(o.finding).Valid() {
				return usagef("--finding is %q, must be certificate, absent, revoked or surplus", o.finding)
			}
			if err := o.by.check(c); err != nil {
				return err
			}
			return o.run(c.Context(), s, dial)
		},
	}
	c.Flags().StringVar(&o.finding, "finding", "", "`what` was found: certificate, absent, revoked or surplus")
	c.Flags().StringVar(&o.pkcs7, "pkcs7", "", "`file` with the CA's answer, PKCS#7 in DER or PEM")
	c.Flags().StringVar(&o.sha256, "certificate-sha256", "", "`digest` of the certificate, hexadecimal")
	addGeneration(c, &o.generation)
	o.by.addFlags(c)
	return c
}

func (o unitsResolveOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	r := api.ResolveRequest{Finding: api.ResolveRequestFinding(o.finding), Operator: o.by.operator, Reason: o.by.reason}
	if r.Generation, err = presentGeneration(ctx, client, o.id, o.generation); err != nil {
		return err
	}
	if o.pkcs7 != "" {
		der, err := readPKCS7(o.pkcs7)
		if err != nil {
			return err
		}
		r.Pkcs7 = &der
	}
	if o.sha256 != "" {
		r.CertificateSha256 = &o.sha256
	}
	answer, err := client.Resolve(ctx, o.id, r)
	if err != nil {
		return err
	}
	return printDecision(s, answer)
}

// readPKCS7 reads DER, or the first block of PEM.
func readPKCS7(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the CA's answer: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxPEM {
		return nil, fmt.Errorf("read the CA's answer %s: not a regular file of at most %d bytes", path, maxPEM)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the CA's answer: %w", err)
	}
	if block, _ := pem.Decode(text); block != nil {
		return block.Bytes, nil
	}
	return text, nil
}

func presentGeneration(ctx context.Context, client *adminclient.Client, unitID string, asked int32) (int32, error) {
	if asked != 0 {
		return asked, nil
	}
	u, err := client.Unit(ctx, unitID)
	return u.Generation, err
}

func printDecision(s streams, a api.DecisionAnswer) error {
	d := a.Decision
	if d.Status == api.DecisionWaiting {
		return printf(s, "%s: %s of generation %d waits for a second person: usbkey-central decisions approve %s --operator ID\n",
			d.UnitId, d.Action, d.Generation, d.DecisionId)
	}
	return printf(s, "%s: %s of generation %d is %s; the unit is %s at generation %d\n",
		d.UnitId, d.Action, d.Generation, d.Status, a.Unit.State, a.Unit.Generation)
}

type unitsReissueOptions struct {
	id         string
	generation int32
	by         person
}

func newUnitsReissue(s streams, dial connect) *cobra.Command {
	o := unitsReissueOptions{}
	c := &cobra.Command{
		Use: "reissue UNIT", Short: "Ask for a new generation of a HELD or STRANDED unit", Args: exactly(1, "the id of one unit"),
		Long: `Ask for a new generation of a unit that is HELD or STRANDED. Once a second person
has approved it, the old certificate is revoked, and then the unit is READY again.
The old token is to be wiped with the escrowed SO PIN before it is used again.`,
		RunE: func(c *cobra.Command, args []string) error {
			o.id = args[0]
			if err := o.by.check(c); err != nil {
				return err
			}
			return o.run(c.Context(), s, dial)
		},
	}
	addGeneration(c, &o.generation)
	o.by.addFlags(c)
	return c
}

func (o unitsReissueOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	r := api.ReissueRequest{Operator: o.by.operator, Reason: o.by.reason}
	if r.Generation, err = presentGeneration(ctx, client, o.id, o.generation); err != nil {
		return err
	}
	answer, err := client.Reissue(ctx, o.id, r)
	if err != nil {
		return err
	}
	return printDecision(s, answer)
}

func newUnitsReturn(s streams, dial connect) *cobra.Command {
	var by person
	c := &cobra.Command{
		Use: "return UNIT", Short: "Take a returned parcel's unit back: SHIPPED becomes HELD", Args: exactly(1, "the id of one unit"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := by.check(c); err != nil {
				return err
			}
			client, err := dial()
			if err != nil {
				return err
			}
			u, err := client.Return(c.Context(), args[0], api.ReturnRequest{Operator: by.operator, Reason: by.reason})
			if err != nil {
				return err
			}
			return printf(s, "%s: %s\n", u.UnitId, u.State)
		},
	}
	by.addFlags(c)
	return c
}
