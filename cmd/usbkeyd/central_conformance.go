package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/conformance"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

type conformanceOptions struct {
	url, adminURL, tokenFile, second, order, product, only string
	patience                                               span
	list                                                   bool
	format                                                 output.Format
}

func newCentralConformance(s streams, load func() (*config.Station, error)) *cobra.Command {
	o := conformanceOptions{patience: span(30 * time.Second)}
	c := &cobra.Command{
		Use: "conformance", Short: "Try whether a central server keeps the dispatch contract", Args: noArgs,
		Long: `Drives a central server through every operation, race and failure that stations
and an order system can bring about, and says which rules of the contract hold.

It plays two stations, with keys in memory in place of tokens: the one of the
configuration, which must not be at work meanwhile, and a second one. It submits
orders of its own, named CONF-..., and cancels them at the end. It forks a record of the
second station, which is listed as forked from then on. Certificates are really issued:
use a server and a CA for tests, without other orders for the product.

Exit code 3 says that a rule is broken, or could not be tried.`,
		Example: `  usbkeyd --config station.yaml central conformance --admin-url http://127.0.0.1:8444/v1 \
      --admin-token-file central/admin.token --second ./station-2`,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context(), s, load) },
	}
	f := c.Flags()
	f.StringVar(&o.url, "url", "", "the stations' `URL` of the server (default: the configuration's first)")
	f.StringVar(&o.adminURL, "admin-url", "", "the order system's `URL` of the server")
	f.StringVar(&o.tokenFile, "admin-token-file", "", "`file` that holds the order system's bearer token")
	f.StringVar(&o.second, "second", "", "`folder` with station.crt and station.key of a second enrolled station")
	f.StringVar(&o.product, "product", "", "product `code` to order (default: the configuration's first)")
	f.StringVar(&o.order, "order", "", "JSON `file` of an order to copy (default: a sample order)")
	f.StringVar(&o.only, "only", "", "only rules whose name contains this `text`")
	f.VarP(&o.patience, "patience", "", "`time` that the CA may take for a certificate")
	f.BoolVar(&o.list, "list", false, "list the rules and try none")
	output.AddFlag(f, &o.format)
	return c
}

func (o conformanceOptions) run(ctx context.Context, s streams, load func() (*config.Station, error)) error {
	if o.list {
		table := output.Rows{Header: []string{"RULE", "WHAT IT SAYS"}}
		for _, r := range conformance.Rules() {
			table.Rows = append(table.Rows, []string{r.Name, r.Rule})
		}
		return s.print(o.format, table, conformance.Rules())
	}
	c, tpm, err := o.config(load)
	defer closeTPM(tpm)
	if err != nil {
		return err
	}
	begun := time.Now()
	results, err := conformance.Run(ctx, c, o.only, func(r conformance.Result) {
		_, _ = fmt.Fprintf(s.err, "%-10s %6.1f s  %s\n", r.Verdict, r.Seconds, r.Name)
	})
	if err != nil {
		return &codeError{exitCentral, fmt.Errorf("the server at %s cannot be tried: %w", c.URL, err)}
	}
	count := map[conformance.Verdict]int{}
	table := output.Rows{Header: []string{"RULE", "VERDICT", "WHAT IT SAYS", "WHAT WAS FOUND"}}
	for _, r := range results {
		count[r.Verdict]++
		table.Rows = append(table.Rows, []string{r.Name, string(r.Verdict), r.Rule, r.Detail})
	}
	if err := s.print(o.format, table, results); err != nil {
		return err
	}
	_, _ = s.words.Fprintf(s.err, "%d rules: %d hold, %d broken, %d not driven, in %s\n", len(results),
		count[conformance.Holds], count[conformance.Broken], count[conformance.NotDriven], time.Since(begun).Round(time.Second))
	if count[conformance.Holds] < len(results) {
		return &codeError{exitUnfinished, errors.New("the server does not keep the whole contract")}
	}
	return nil
}

func (o conformanceOptions) config(load func() (*config.Station, error)) (c conformance.Config, tpm *identity.TPM, err error) {
	for flag, value := range map[string]string{"--admin-url": o.adminURL, "--admin-token-file": o.tokenFile, "--second": o.second} {
		if value == "" {
			return c, tpm, &codeError{exitUsage, fmt.Errorf("%w; see %q", fmt.Errorf("%s is missing", flag), "usbkeyd central conformance --help")}
		}
	}
	station, err := load()
	if err != nil {
		return c, tpm, err
	}
	if err := station.Enrolled(); err != nil {
		return c, tpm, err
	}
	tpm = stationTPM(station)
	token, err := os.ReadFile(o.tokenFile)
	if err != nil {
		return c, tpm, fmt.Errorf("--admin-token-file: %w", err)
	}
	roots, err := readCertificates("central.trust", station.Central.Trust)
	if err != nil {
		return c, tpm, err
	}
	c = conformance.Config{
		URL: withVersion(cmp.Or(o.url, station.Central.URLs[0])), AdminURL: withVersion(o.adminURL),
		AdminToken: strings.TrimSpace(string(token)), Roots: x509.NewCertPool(), Patience: time.Duration(o.patience),
	}
	for _, r := range roots {
		c.Roots.AddCert(r)
	}
	if c.Stations[0], _, err = credential(station, tpm); err != nil {
		return c, tpm, err
	}
	if c.Stations[1], err = tls.LoadX509KeyPair(filepath.Join(o.second, "station.crt"), filepath.Join(o.second, "station.key")); err != nil {
		return c, tpm, fmt.Errorf("--second: %w", err)
	}
	err = o.ordered(station, &c)
	return c, tpm, err
}

// withVersion is a server's address with the contract's version, which may be left out.
func withVersion(url string) string {
	return strings.TrimSuffix(strings.TrimRight(url, "/"), "/v1") + "/v1"
}

// ordered fills in what is ordered.
func (o conformanceOptions) ordered(station *config.Station, c *conformance.Config) error {
	known, err := newCatalogue(station)
	if err != nil {
		return err
	}
	if len(known.codes) == 0 {
		return &config.FieldError{Field: "products", Err: errors.New("there are none")}
	}
	product, err := known.product(cmp.Or(o.product, known.codes[0]))
	if err != nil {
		return fmt.Errorf("--product: %w", err)
	}
	c.Profile, c.NewKey = product.Profile, func() (crypto.Signer, error) { return newKey(product.Algorithm) }
	c.Order = sampleOrder(product)
	if o.order == "" {
		return nil
	}
	text, err := os.ReadFile(o.order)
	if err != nil {
		return fmt.Errorf("--order: %w", err)
	}
	if err := json.Unmarshal(text, &c.Order); err != nil {
		return fmt.Errorf("--order: %s: %w", o.order, err)
	}
	return nil
}

// newKey makes a key in memory, as a token would make one of its own.
func newKey(a pkcs11.Algorithm) (crypto.Signer, error) {
	if a.ModulusBits > 0 {
		return rsa.GenerateKey(rand.Reader, a.ModulusBits)
	}
	if a.Name == "ec-p384" {
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// sampleOrder is plainly a sample.
func sampleOrder(p provision.Product) api.Order {
	email := "handler-1@example.com"
	return api.Order{
		ProductCode: p.Code, ValidityYears: 1, Quantity: 1,
		Company: api.Company{Name: "示例客车配件有限公司", Uscc: "91000000MA0000001R"},
		Handler: api.OrderHandler{Name: "经办人甲", Email: &email},
		Shipping: api.Shipping{Carrier: "SF", FreightCollect: true, Recipient: api.Recipient{
			Name: "收件人乙", Phone: "000-0000-0000", Address: "示例省示例市示例路 1 号",
		}},
		Approval: api.Approval{ApprovedBy: "审核员丙", ApprovedAt: time.Now().UTC().Truncate(time.Second)},
	}
}
