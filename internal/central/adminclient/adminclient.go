// Package adminclient calls the administration side of a central server: what
// the command line and tests need to submit orders, look at units and enrol
// stations.
//
// It owns the client's side of the contract's admin operations. It must not know
// how the server keeps anything. An answer that is a problem comes back as an
// *api.Problem inside the error.
package adminclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
)

const (
	timeout = 30 * time.Second
	// maxAnswer bounds an answer: 1000 units of a list are about 1 MiB.
	maxAnswer = 16 << 20
	// page is how much of a list is asked for at once; the contract's largest limit.
	page = 1000
)

// Client calls one server.
type Client struct {
	raw  *api.Client
	base string
}

// New makes a client for the administration URL (with /v1) and its token.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("the administration URL %q is not one: it looks like http://127.0.0.1:8444/v1", base)
	}
	raw, err := api.NewClient(base,
		api.WithHTTPClient(&http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}),
		api.WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			r.Header.Set("Authorization", "Bearer "+token)
			return nil
		}))
	if err != nil {
		return nil, fmt.Errorf("the administration URL %q: %w", base, err)
	}
	return &Client{raw: raw, base: base}, nil
}

// FromDataDir finds a running server by its data directory.
func FromDataDir(dir string) (*Client, error) {
	path := filepath.Join(dir, central.AddressFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no server runs on the data directory %s (there is no %s): start \"usbkey-central serve --data %s\", or give --admin-url and --token-file", dir, central.AddressFile, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("find the server: %w", err)
	}
	var a central.Addresses
	if err := json.Unmarshal(text, &a); err != nil || a.Admin == "" {
		return nil, fmt.Errorf("%s is not the server's: start the server again to have it written anew", path)
	}
	return FromTokenFile(a.Admin, filepath.Join(dir, central.TokenFile))
}

// FromTokenFile makes a client whose token is in a file.
func FromTokenFile(base, path string) (*Client, error) {
	token, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the administration token: %w", err)
	}
	return New(base, strings.TrimSpace(string(token)))
}

// PutOrder submits an order's document as it is; created is false when it was known already.
func (c *Client) PutOrder(ctx context.Context, id string, document []byte) (status api.OrderStatus, created bool, err error) {
	resp, err := c.raw.PutOrderWithBody(ctx, id, "application/json", bytes.NewReader(document))
	code, err := c.answer(resp, err, &status)
	return status, code == http.StatusCreated, err
}

// Order reads one order with its units.
func (c *Client) Order(ctx context.Context, id string) (api.OrderStatus, error) {
	var out api.OrderStatus
	resp, err := c.raw.GetOrder(ctx, id)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Orders lists all orders, earliest due first.
func (c *Client) Orders(ctx context.Context) ([]api.OrderSummary, error) {
	return all(func(limit, offset *int) ([]api.OrderSummary, int, error) {
		var out api.OrderList
		resp, err := c.raw.ListOrders(ctx, &api.ListOrdersParams{Limit: limit, Offset: offset})
		_, err = c.answer(resp, err, &out)
		return out.Orders, out.Total, err
	})
}

// Units lists units by order and sequence; empty strings do not filter.
func (c *Client) Units(ctx context.Context, orderID string, state api.UnitStateName) ([]api.Unit, error) {
	p := api.ListUnitsParams{}
	if orderID != "" {
		p.OrderId = &orderID
	}
	if state != "" {
		p.State = &state
	}
	return all(func(limit, offset *int) ([]api.Unit, int, error) {
		var out api.UnitList
		p.Limit, p.Offset = limit, offset
		resp, err := c.raw.ListUnits(ctx, &p)
		_, err = c.answer(resp, err, &out)
		return out.Units, out.Total, err
	})
}

// Unit reads one unit.
func (c *Client) Unit(ctx context.Context, id string) (api.Unit, error) {
	var out api.Unit
	resp, err := c.raw.GetUnit(ctx, id)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Certificates lists the CA's record.
func (c *Client) Certificates(ctx context.Context) ([]api.CertificateRecord, error) {
	return all(func(limit, offset *int) ([]api.CertificateRecord, int, error) {
		var out api.CertificateList
		resp, err := c.raw.ListCertificates(ctx, &api.ListCertificatesParams{Limit: limit, Offset: offset})
		_, err = c.answer(resp, err, &out)
		return out.Certificates, out.Total, err
	})
}

// Stations lists all stations.
func (c *Client) Stations(ctx context.Context) ([]api.Station, error) {
	var out api.StationList
	resp, err := c.raw.ListStations(ctx)
	_, err = c.answer(resp, err, &out)
	return out.Stations, err
}

// SealedPIN reads the envelope of a unit's user PIN.
func (c *Client) SealedPIN(ctx context.Context, unitID string) ([]byte, error) {
	var out []byte
	resp, err := c.raw.GetSealedPin(ctx, unitID)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// Escrows lists the SO PINs in escrow of a token or of a unit, newest first; empty means of all.
func (c *Client) Escrows(ctx context.Context, tokenSerial, unitID string) ([]api.EscrowRecord, error) {
	p := api.ListEscrowsParams{}
	if tokenSerial != "" {
		p.TokenSerial = &tokenSerial
	}
	if unitID != "" {
		p.UnitId = &unitID
	}
	return all(func(limit, offset *int) ([]api.EscrowRecord, int, error) {
		var out api.EscrowList
		p.Limit, p.Offset = limit, offset
		resp, err := c.raw.ListEscrows(ctx, &p)
		_, err = c.answer(resp, err, &out)
		return out.Escrows, out.Total, err
	})
}

// SealedSOPIN reads the envelope of an escrow.
func (c *Client) SealedSOPIN(ctx context.Context, escrowID string) ([]byte, error) {
	var out []byte
	resp, err := c.raw.GetSealedSoPin(ctx, escrowID)
	_, err = c.answer(resp, err, &out)
	return out, err
}

// answer reads a response into out (a []byte gets the body as it is) or into an error.
func (c *Client) answer(resp *http.Response, err error, out any) (status int, _ error) {
	if err != nil {
		return 0, fmt.Errorf("the server at %s cannot be reached: %w", c.base, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read as far as it matters
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted:
	default:
		return resp.StatusCode, api.ReadProblemBody(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return resp.StatusCode, fmt.Errorf("the answer of %s broke off: %w", c.base, err)
	case len(body) > maxAnswer:
		return resp.StatusCode, fmt.Errorf("the answer of %s is larger than %d bytes", c.base, maxAnswer)
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = body
		return resp.StatusCode, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return resp.StatusCode, fmt.Errorf("the answer of %s is not one of this contract: %w", c.base, err)
	}
	return resp.StatusCode, nil
}

// all reads a list page by page.
func all[T any](read func(limit, offset *int) ([]T, int, error)) ([]T, error) {
	out := []T{}
	for {
		limit, offset := page, len(out)
		items, total, err := read(&limit, &offset)
		if err != nil {
			return nil, err
		}
		out = append(out, items...)
		if len(items) == 0 || len(out) >= total {
			return out, nil
		}
	}
}
