package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/evidence"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

type evidenceVerifyOptions struct {
	trust, certificate string
	format             output.Format
}

// maxStatement is more than any statement has, in bytes.
const maxStatement = 1 << 20

func newEvidenceVerify(s streams) *cobra.Command {
	o := evidenceVerifyOptions{}
	c := &cobra.Command{
		Use: "verify FILE --trust ROOTS", Short: "Check the statement about a finished key, without a station or a network",
		Long: `Check the statement about a finished key. It needs the statement and the root under
which stations stand, and nothing else. With --certificate the customer's certificate is
compared, too.

OpenSSL checks the signature as well, and prints what is signed:

  openssl cms -verify -inform DER -in FILE -CAfile ROOTS -purpose any -no_check_time`,
		Args: exactArgs(1, "the file with the statement"),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(s, args[0]) },
	}
	c.Flags().StringVar(&o.trust, "trust", "", "`file` with the roots of stations (PEM), such as central-root.pem")
	c.Flags().StringVar(&o.certificate, "certificate", "", "`file` with the customer's certificate (PEM)")
	output.AddFlag(c.Flags(), &o.format)
	return c
}

// evidenceVerdict is what verify prints as JSON.
type evidenceVerdict struct {
	SignedBy  string             `json:"signedBy"`
	SignedAt  time.Time          `json:"signedAt"`
	Anchored  bool               `json:"anchored"`
	Compared  bool               `json:"certificateCompared"`
	Statement evidence.Statement `json:"statement"`
}

// certificatesOf reads the file of a flag, which no configuration names.
func certificatesOf(flag, path string) ([]*x509.Certificate, error) {
	certs, err := readCertificates(flag, path)
	if err != nil {
		err = &codeError{exitFailure, err}
	}
	return certs, err
}

func (o evidenceVerifyOptions) run(s streams, file string) error {
	if o.trust == "" {
		return &codeError{exitUsage, errors.New("evidence verify needs --trust ROOTS")}
	}
	roots, err := certificatesOf("--trust", o.trust)
	if err != nil {
		return err
	}
	trust := evidence.Trust{Stations: roots}
	if o.certificate != "" {
		own, err := certificatesOf("--certificate", o.certificate)
		if err != nil {
			return err
		}
		trust.Certificate = own[0].Raw
	}
	der, err := readAtMost(file, maxStatement)
	if err != nil {
		return err
	}
	v, err := evidence.Verify(der, trust)
	if err != nil {
		return fmt.Errorf("%s: do not believe it: %w", file, err)
	}
	st := v.Statement
	rows := output.Rows{Header: []string{"WHAT", "HOW IT IS KNOWN", "BY"}}
	add := func(what string, grade evidence.Grade, by string) {
		rows.Rows = append(rows.Rows, []string{what, string(grade), by})
	}
	add(fmt.Sprintf("unit %s, generation %d, of order %s", st.Unit.UnitID, st.Unit.Generation, st.Unit.OrderID), evidence.Declared,
		fmt.Sprintf("station %s, signed %s", st.Station.Name, v.SignedAt.Format(time.RFC3339)))
	add("token "+st.Token.Serial+", "+st.Token.Model, evidence.Declared, "station "+st.Station.Name)
	compared := "compare it with --certificate"
	if v.Compared {
		compared = "it was compared"
	}
	add("certificate "+st.Certificate.Serial+", SHA-256 "+st.Certificate.SHA256, evidence.Declared, compared)
	for _, e := range st.Envelopes {
		add(e.Of+" left in an envelope, SHA-256 "+e.SHA256, evidence.Declared, fmt.Sprintf("%d recipients", len(e.Recipients)))
	}
	for _, f := range st.Facts {
		add(f.What, f.Grade, f.By)
	}
	if err := s.print(o.format, rows, evidenceVerdict{v.Signer.Subject.CommonName, v.SignedAt, v.Anchored, v.Compared, st}); err != nil {
		return err
	}
	if o.format == output.JSON {
		return nil
	}
	_, err = s.words.Fprintf(s.out, "\nThe statement holds.\n")
	return err
}
