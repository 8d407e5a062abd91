package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
)

// maxOrder is the largest order document, as the contract's server takes it.
const maxOrder = 64 << 10

type ordersSubmitOptions struct{ files []string }

func newOrdersSubmit(s streams, dial connect) *cobra.Command {
	return &cobra.Command{
		Use: "submit FILE...", Short: "Submit approved orders",
		Long: `Submit approved orders, a JSON document per file ("-" is standard input). An order
that was accepted before with the same content stays as it is. Every file is
tried; the exit code is that of the first that failed.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s takes at least one file; run %q", c.CommandPath(), c.CommandPath()+" --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			return ordersSubmitOptions{files: args}.run(c.Context(), s, dial)
		},
	}
}

func (o ordersSubmitOptions) run(ctx context.Context, s streams, dial connect) error {
	client, err := dial()
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range o.files {
		id, document, err := readOrder(file, s.in)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		before, _ := client.Order(ctx, id) // to tell a revision; whatever else is wrong, PutOrder says
		status, created, err := client.PutOrder(ctx, id, document)
		var refused *api.Problem
		switch {
		case errors.As(err, &refused):
			errs = append(errs, fmt.Errorf("%s: order %s is refused: %w", file, id, err))
			continue
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
			continue
		}
		what := "accepted"
		switch {
		case created:
		case revision(status.Order) != revision(before.Order):
			what = fmt.Sprintf("changed to revision %d", revision(status.Order))
		default:
			what = "known already, unchanged"
		}
		_, err = fmt.Fprintf(s.out, "%s: %s: %s × %d for %s\n", status.Order.OrderId, what, status.Order.ProductCode, status.Order.Quantity, status.Order.Company.Name)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func revision(o api.Order) int {
	if o.Revision == nil {
		return 1
	}
	return *o.Revision
}

// readOrder reads a document and finds its id; everything else is the server's to judge.
func readOrder(file string, stdin io.Reader) (id string, document []byte, err error) {
	document, err = readLimited(file, stdin)
	if err != nil {
		return "", nil, err
	}
	var head struct {
		OrderID any `json:"orderId"`
	}
	d := json.NewDecoder(bytes.NewReader(document))
	if err := d.Decode(&head); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) {
			return "", nil, fmt.Errorf("%s: an order is a JSON object, not %s", file, wrongType.Value)
		}
		return "", nil, fmt.Errorf("%s: not JSON: %w (at byte %d)", file, err, d.InputOffset())
	}
	id, ok := head.OrderID.(string)
	if !ok || id == "" {
		return "", nil, fmt.Errorf("%s: the order has no orderId, or it is not text", file)
	}
	return id, document, nil
}

func readLimited(file string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, fmt.Errorf("read order: %w", err)
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	document, err := io.ReadAll(io.LimitReader(in, maxOrder+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read order: %w", err)
	case len(document) > maxOrder:
		return nil, fmt.Errorf("%s: larger than %d bytes; no order is", file, maxOrder)
	}
	return document, nil
}
