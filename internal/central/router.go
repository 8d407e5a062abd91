package central

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/contract"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// basePath is where the operations of the contract are.
const basePath = "/v1"

const (
	smallBody = 64 << 10
	largeBody = 256 << 10
)

// caller says who may call an operation.
type caller int

const (
	nobody caller = iota
	// anybody: no certificate is asked for. It tells which protocol is spoken, or brings
	// another proof.
	anybody
	// aStation: a valid certificate under the station root, and a record that is not revoked.
	aStation
	// aStationOnce: aStation, save that the certificate may have expired.
	aStationOnce
	// anAdmin: the bearer token, on the administration listener.
	anAdmin
)

// policy is what holds for one operation.
type policy struct {
	caller caller
	// limit is the largest body in bytes; 0 for operations without one.
	limit int64
	// rules are asked beside the schema.
	rules func(r *http.Request, document any) []api.FieldError
}

// authenticate checks the caller of a request and notes what it learned in the request's info.
type authenticate func(r *http.Request, who caller) error

// router is one listener's set of operations. It is given to the generated code
// as its mux: what has no policy or is not in the OpenAPI document cannot be
// registered.
type router struct {
	mux          *http.ServeMux
	operations   map[string]contract.Operation // by "METHOD /v1/path"
	policies     map[string]policy             // by operation id
	authenticate authenticate
	registered   map[string]bool
	errs         []error
}

func newRouter(c *contract.Contract, policies map[string]policy, auth authenticate) *router {
	rt := &router{
		mux: http.NewServeMux(), operations: make(map[string]contract.Operation),
		policies: policies, authenticate: auth, registered: make(map[string]bool),
	}
	for _, op := range c.Operations() {
		rt.operations[op.Method+" "+basePath+op.Path] = op
	}
	return rt
}

// HandleFunc registers a route, as the generated code does it.
func (rt *router) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	op, known := rt.operations[pattern]
	p, ruled := rt.policies[op.ID]
	switch {
	case !known:
		rt.errs = append(rt.errs, fmt.Errorf("route %s is not in the OpenAPI document", pattern))
		return
	case !ruled || p.caller == nobody:
		rt.errs = append(rt.errs, fmt.Errorf("route %s (%s) has no policy", pattern, op.ID))
		return
	case op.HasBody() != (p.limit > 0):
		rt.errs = append(rt.errs, fmt.Errorf("route %s (%s): its policy does not say how large a body may be, or it has none", pattern, op.ID))
		return
	}
	rt.registered[op.ID] = true
	rt.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		crashpoint.Before(crashpoint.Label(op.ID))
		if err := rt.check(w, r, op, p); err != nil {
			fail(w, r, err)
		} else {
			h(w, r)
		}
		crashpoint.After(crashpoint.Label(op.ID))
	})
}

// finish says what went wrong at registration, and which policies have no route.
func (rt *router) finish() error {
	for id := range rt.policies {
		if !rt.registered[id] {
			rt.errs = append(rt.errs, fmt.Errorf("there is a policy for %s, but no route", id))
		}
	}
	return errors.Join(rt.errs...)
}

// check lets through what an operation may see: the caller first, then parameters,
// then the body, read once and within its limit, which is the request's from then on.
func (rt *router) check(w http.ResponseWriter, r *http.Request, op contract.Operation, p policy) error {
	seen := infoOf(r.Context())
	seen.operation, seen.unit, seen.order = op.ID, r.PathValue("unitId"), r.PathValue("orderId")
	if err := rt.authenticate(r, p.caller); err != nil {
		return err
	}
	if err := op.CheckParameters(r); err != nil {
		return problem(api.ProblemBadRequest, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if !op.HasBody() {
		return nil
	}
	body, err := readBody(w, r, p.limit)
	if err != nil {
		return err
	}
	document, fields, err := op.DecodeBody(body)
	if err != nil {
		return err
	}
	if p.rules != nil {
		fields = contract.Merge(fields, p.rules(r, document))
	}
	if len(fields) > 0 {
		return problem(api.ProblemInvalidContent, fieldCount(len(fields)), fields...)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func fieldCount(n int) string {
	if n == 1 {
		return "1 field is wrong"
	}
	return fmt.Sprintf("%d fields are wrong", n)
}

func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	mt, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || mt != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, problem(api.ProblemUnsupportedMediaType, "")
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, problem(api.ProblemUnsupportedMediaType, "a Content-Encoding is not taken")
	}
	if r.ContentLength > limit {
		// Nothing is read of it; the connection ends with the answer.
		w.Header().Set("Connection", "close")
		return nil, tooLargeProblem(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, err
	case err != nil:
		return nil, problem(api.ProblemBadRequest, "the body could not be read to its end")
	}
	return body, nil
}

func tooLargeProblem(limit int64) *api.Problem {
	return problem(api.ProblemContentTooLarge, fmt.Sprintf("at most %d bytes are taken here", limit))
}

// ServeHTTP answers what is not a route with a problem as well.
func (rt *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The mux would redirect an unclean path; no caller of the contract sends one.
	if r.URL.Path != path.Clean(r.URL.Path) || r.Method == http.MethodConnect {
		fail(w, r, problem(api.ProblemNotFound, "there is no such path"))
		return
	}
	if h, pattern := rt.mux.Handler(r); pattern == "" {
		astray(w, r, h)
		return
	}
	rt.mux.ServeHTTP(w, r)
}

// astray answers what has no route with the problem that h's answer, the mux's own, stands
// for: it tells a wrong method from a wrong path.
func astray(w http.ResponseWriter, r *http.Request, h http.Handler) {
	probe := &probeWriter{header: make(http.Header)}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		fail(w, r, problem(api.ProblemMethodNotAllowed, "allowed here: "+probe.header.Get("Allow")))
		return
	}
	fail(w, r, problem(api.ProblemNotFound, "there is no such path"))
}

// probeWriter keeps the head of an answer and drops its body.
type probeWriter struct {
	header http.Header
	status int
}

func (p *probeWriter) Header() http.Header         { return p.header }
func (p *probeWriter) WriteHeader(status int)      { p.status = status }
func (p *probeWriter) Write(b []byte) (int, error) { return len(b), nil }

// fail answers with the problem that an error is.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	seen := infoOf(r.Context())
	seen.problem = shortType(p.Type)
	switch {
	case r.Context().Err() != nil:
		seen.problem = "caller gone"
	case p.Status >= http.StatusInternalServerError:
		seen.err = err
	}
	writeProblem(w, p)
}

// failDecode answers what the generated code could not turn into Go values. The
// schema has let it through, so it is a number of a kind that Go has not.
func failDecode(w http.ResponseWriter, r *http.Request, _ error) {
	fail(w, r, problem(api.ProblemBadRequest, "the request could not be decoded: write whole numbers without fraction or exponent"))
}
