package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// maxAnswer bounds what is read of an answer, as a station does.
const maxAnswer = 4 << 20

// party is one caller of the server.
type party struct {
	base string
	http *http.Client
	// token is the order system's; a station has a certificate instead.
	token string
}

func newParty(base string, roots *x509.CertPool, certificate *tls.Certificate, token string) party {
	cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		// Whatever the server hints at: a wrong one is shown on purpose.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return party{
		base: strings.TrimRight(base, "/"), token: token,
		http: &http.Client{
			Transport:     &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// answer is what came back.
type answer struct {
	asked   string // method and path
	status  int
	header  http.Header
	body    []byte
	problem *api.Problem // of an error
	took    time.Duration
}

// String is for people.
func (a answer) String() string {
	text := string(a.body)
	if a.problem != nil {
		text = strings.TrimPrefix(string(a.problem.Type), "urn:usbkeyd:problem:") + ": " + a.problem.Error()
	}
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return fmt.Sprintf("%s is answered %d %s", a.asked, a.status, text)
}

// send calls an operation. A body is sent as it is when it is []byte or an io.Reader,
// not at all when it is nil, else as JSON. headers are pairs. An error answer must be a
// problem of the contract, whatever it is an answer to.
func (p party) send(ctx context.Context, method, path string, body any, headers ...string) (answer, error) {
	a := answer{asked: method + " " + path}
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		in = b
	case []byte:
		in = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return a, err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, p.base+path, in)
	if err != nil {
		return a, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	begun := time.Now()
	resp, err := p.http.Do(req)
	if err != nil {
		return a, fmt.Errorf("%s: %w", a.asked, err)
	}
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a.took = time.Since(begun)
	_ = resp.Body.Close() // it has been read
	if err != nil {
		return a, fmt.Errorf("%s: %w", a.asked, err)
	}
	switch {
	case a.status >= 400:
		a.problem = api.ReadProblem(resp, a.body)
		if !a.problem.Type.Valid() || a.problem.Status != a.status {
			return a, fmt.Errorf("%v; an error must be application/problem+json with a type of the contract and its status", a)
		}
	case a.status >= 300:
		return a, fmt.Errorf("%v; the contract knows no redirects", a)
	}
	return a, nil
}

// is wants one of several statuses and decodes what came with it, if into is given.
func (a answer) is(into any, want ...int) error {
	for _, w := range want {
		if a.status != w {
			continue
		}
		if into == nil || len(a.body) == 0 {
			return nil
		}
		if err := json.Unmarshal(a.body, into); err != nil {
			return fmt.Errorf("%v: %w", a, err)
		}
		return nil
	}
	return fmt.Errorf("%v; want %s", a, statuses(want))
}

func statuses(want []int) string {
	var out []string
	for _, w := range want {
		out = append(out, fmt.Sprint(w))
	}
	return strings.Join(out, " or ")
}

// refused wants one of several problems.
func (a answer) refused(want ...api.ProblemType) error {
	var names []string
	for _, w := range want {
		if a.problem != nil && a.problem.Type == w {
			return nil
		}
		names = append(names, strings.TrimPrefix(string(w), "urn:usbkeyd:problem:"))
	}
	return fmt.Errorf("%v; want the problem %s", a, strings.Join(names, " or "))
}

// ok wants an operation to be done.
func ok(a answer, err error) error { return answered(nil, http.StatusOK)(a, err) }

// answered wants one of several statuses and decodes what came with it, if into is given.
func answered(into any, want ...int) func(answer, error) error {
	return func(a answer, err error) error {
		if err != nil {
			return err
		}
		return a.is(into, want...)
	}
}

// refused wants an operation to be refused with one of several problems.
func refused(want ...api.ProblemType) func(answer, error) error {
	return func(a answer, err error) error {
		if err != nil {
			return err
		}
		return a.refused(want...)
	}
}
