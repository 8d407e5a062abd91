package central_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
)

// clock is real time plus what a test has skipped.
type clock struct{ skipped atomic.Int64 }

func (c *clock) now() time.Time           { return time.Now().Add(time.Duration(c.skipped.Load())) }
func (c *clock) advance(by time.Duration) { c.skipped.Add(int64(by)) }

// rig is a running server with a client for its administration.
type rig struct {
	t        *testing.T
	dir      string
	postgres database.Postgres // not given: SQLite in dir
	clock    *clock
	srv      *central.Server
	admin    *adminclient.Client
	spec     routers.Router
}

// engine gives a test the PostgreSQL database for its server, or none.
type engine func(t *testing.T) database.Postgres

// onBothEngines runs a test on SQLite and on PostgreSQL.
func onBothEngines(t *testing.T, test func(t *testing.T, e engine)) {
	t.Run("SQLite", func(t *testing.T) { test(t, func(*testing.T) database.Postgres { return database.Postgres{} }) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgres) })
}

func postgres(t *testing.T) database.Postgres {
	t.Helper()
	db, err := database.ParsePostgres(withStore(t))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// withStore makes a database with an empty store where a server keeps it.
var withStore = pgtest.Like(func(url string) error {
	db, err := database.ParsePostgres(url)
	if err != nil {
		return err
	}
	return centraltest.MakeStore(db.Schema("usbkey_central"))
})

// newRig starts a server in a directory of its own; change may alter its configuration.
func newRig(t *testing.T, e engine, change func(*central.Config)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), postgres: e(t), clock: &clock{}, spec: specRouter(t)}
	r.start(change)
	return r
}

// start starts a server on the rig's directory, as after a restart.
func (r *rig) start(change func(*central.Config)) {
	r.t.Helper()
	centraltest.LayCA(r.t, filepath.Join(r.dir, "ca"))
	if !r.postgres.Given() {
		centraltest.LayStore(r.t, r.dir)
	}
	cfg := central.Config{DataDir: r.dir, Postgres: r.postgres, Clock: r.clock.now, SweepInterval: 20 * time.Millisecond, StopGrace: 100 * time.Millisecond}
	if change != nil {
		change(&cfg)
	}
	srv, err := central.New(r.t.Context(), cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	srv.Start()
	r.t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			r.t.Errorf("close: %v", err)
		}
	})
	r.srv = srv
	if r.admin, err = adminclient.New(srv.AdminURL(), srv.AdminToken()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	r.t.Helper()
	if err := r.srv.Close(); err != nil {
		r.t.Fatal(err)
	}
}

// developmentCA opens the development CA for a rig whose CA a test wraps.
func (r *rig) developmentCA() *ca.Development { return openCA(r.t, r.dir, r.clock) }

func openCA(t *testing.T, dir string, c *clock) *ca.Development {
	t.Helper()
	centraltest.LayCA(t, filepath.Join(dir, "test-ca"))
	d, err := ca.OpenDevelopment(t.Context(), filepath.Join(dir, "test-ca"), ca.DevelopmentRecord(filepath.Join(dir, "test-ca")), c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

const testCompany = "示例客车配件有限公司"

// order is a valid order; mutate what a test wants otherwise.
func order(id string, quantity int) map[string]any {
	return map[string]any{
		"orderId": id, "productCode": "CERT272353", "validityYears": 1, "quantity": quantity,
		"company": map[string]any{"name": testCompany, "uscc": "91000000MA0000001R"},
		"handler": map[string]any{"name": "经办人甲", "email": "handler@example.com"},
		"shipping": map[string]any{"carrier": "SF", "freightCollect": true,
			"recipient": map[string]any{"name": "收件人乙", "phone": "000-0000-0000", "address": "示例省示例市"}},
		"approval": map[string]any{"approvedBy": "审核员丙", "approvedAt": "2026-11-18T10:20:00+08:00"},
		"dueAt":    "2026-11-23T18:00:00+08:00",
	}
}

func (r *rig) submit(doc map[string]any) {
	r.t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, _, err := r.admin.PutOrder(r.t.Context(), doc["orderId"].(string), text); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) unit(id string) api.Unit {
	r.t.Helper()
	u, err := r.admin.Unit(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

func (r *rig) wantState(id string, want api.UnitStateName) api.Unit {
	r.t.Helper()
	u := r.unit(id)
	if u.State != want {
		r.t.Fatalf("unit %s is %s, want %s", id, u.State, want)
	}
	return u
}

// patience is how long a test waits in vain for what needs no time of its own: the machine may
// be busy.
const patience = time.Minute

// waitState waits for background work.
func (r *rig) waitState(id string, want api.UnitStateName) api.Unit {
	r.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if u := r.unit(id); u.State == want || time.Now().After(deadline) {
			return r.wantState(id, want)
		}
	}
}

// station is an enrolled station with a client of its own.
type station struct {
	*rig
	name       string
	http       *http.Client
	instance   string
	session    string
	credential api.StationCredential
	key        crypto.Signer
	// record is what it keeps of its acts.
	record *audit.Memory
}

func (r *rig) station(name string) *station {
	r.t.Helper()
	key := newKey(r.t)
	credential, err := r.admin.EnrollStation(r.t.Context(), name, key)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &station{rig: r, name: name, instance: uuid.NewString(), credential: credential, key: key, record: &audit.Memory{}}
	s.http = r.client(credential.ServerTrust, &tls.Certificate{Certificate: [][]byte{credential.Certificate}, PrivateKey: key})
	s.open()
	return s
}

// client makes an HTTPS client that trusts the server; cert may be nil.
func (r *rig) client(root []byte, cert *tls.Certificate) *http.Client {
	r.t.Helper()
	trusted, err := x509.ParseCertificate(root)
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(trusted)
	cfg := &tls.Config{RootCAs: pool}
	if cert != nil {
		// Whatever the server hints at: a test may present a wrong one.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	problem api.Problem
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// pointers are the fields that a problem names.
func (a answer) pointers() []string {
	var out []string
	if a.problem.Errors != nil {
		for _, f := range *a.problem.Errors {
			out = append(out, f.Pointer)
		}
	}
	return out
}

// send calls the station side with any body: bytes as they are, nil for none, else JSON.
func (s *station) send(method, path string, body any, headers ...string) answer {
	s.t.Helper()
	return send(s.t, s.spec, s.http, s.srv.StationURL(), method, path, body, headers...)
}

func send(t *testing.T, spec routers.Router, client *http.Client, base, method, path string, body any, headers ...string) answer {
	t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+path, in)
	if err != nil {
		t.Fatal(err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if a.status >= 400 {
		if got := resp.Header.Get("Content-Type"); got != api.ProblemMediaType {
			t.Fatalf("%s %s: an error of type %q: %s", method, path, got, a.body)
		}
		if err := json.Unmarshal(a.body, &a.problem); err != nil || !a.problem.Type.Valid() || a.problem.Status != a.status {
			t.Fatalf("%s %s: not a problem of the contract: %s", method, path, a.body)
		}
		refuses(t, spec, req, a.problem)
		return a
	}
	conforms(t, spec, req, a)
	return a
}

// specRouter finds operations of the OpenAPI document, without regard to servers.
func specRouter(t *testing.T) routers.Router {
	t.Helper()
	router, err := readSpec()
	if err != nil {
		t.Fatal(err)
	}
	return router
}

// readSpec reads the document once for all tests.
var readSpec = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromData([]byte(api.Document))
	if err != nil {
		return nil, err
	}
	doc.Servers = openapi3.Servers{{URL: "/v1"}}
	return gorillamux.NewRouter(doc)
})

// conforms fails the test when an answer is not one of the OpenAPI document.
func conforms(t *testing.T, spec routers.Router, req *http.Request, a answer) {
	t.Helper()
	route, params, err := spec.FindRoute(req)
	if err != nil {
		t.Fatalf("%s %s is not in the contract: %v", req.Method, req.URL.Path, err)
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route},
		Status:                 a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: len(a.body) == 0 || !strings.Contains(a.header.Get("Content-Type"), "json")},
	})
	if err != nil {
		t.Fatalf("%s %s: the answer is not that of the contract: %v", req.Method, req.URL.Path, err)
	}
}

// refuses fails the test when an operation answers a problem that the document does not say of it.
func refuses(t *testing.T, spec routers.Router, req *http.Request, p api.Problem) {
	t.Helper()
	route, _, err := spec.FindRoute(req)
	if err != nil || p.Type == api.ProblemNotFound && p.Detail != nil && *p.Detail == "there is no such path" {
		return // no operation of this listener
	}
	own, _ := route.Operation.Extensions["x-problems"].([]any)
	common, _ := route.Spec.Components.Responses["Problem"].Value.Extensions["x-problems"].([]any)
	if short := strings.TrimPrefix(string(p.Type), api.ProblemNamespace); !slices.Contains(own, any(short)) && !slices.Contains(common, any(short)) {
		t.Errorf("%s %s answers %s, which is not among the problems of %s in the contract", req.Method, req.URL.Path, short, route.Operation.OperationID)
	}
}

// must fails the test unless the status is one of those wanted, and decodes the body.
func must[T any](t *testing.T, a answer, want ...int) T {
	t.Helper()
	var out T
	for _, w := range want {
		if a.status == w {
			if len(a.body) > 0 {
				if err := json.Unmarshal(a.body, &out); err != nil {
					t.Fatalf("%v: %v", a, err)
				}
			}
			return out
		}
	}
	t.Fatalf("got %v, want status %v", a, want)
	return out
}

// wantProblem fails the test unless the answer is that problem.
func wantProblem(t *testing.T, a answer, status int, want api.ProblemType) {
	t.Helper()
	if a.status != status || a.problem.Type != want {
		t.Errorf("got %v, want %d %s", a, status, want)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// request makes a PKCS#10 request for the sample company.
func request(t *testing.T, key crypto.Signer, attributes ...string) []byte {
	t.Helper()
	if attributes == nil {
		attributes = []string{"C", "CN", "O", testCompany, "organizationIdentifier", "NTRCN-91000000MA0000001R", "CN", "经办人甲"}
	}
	var subject []csr.Attribute
	for i := 0; i < len(attributes); i += 2 {
		kind, err := csr.ParseAttributeType(attributes[i])
		if err != nil {
			t.Fatal(err)
		}
		subject = append(subject, csr.Attribute{Type: kind, Value: attributes[i+1]})
	}
	der, err := csr.Build(key, csr.Request{Subject: subject, Emails: []string{"handler@example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// sealed is the outside of CMS EnvelopedData; nobody here opens it.
func sealed(t *testing.T, content string) []byte {
	t.Helper()
	inner, err := asn1.Marshal(struct{ Content []byte }{[]byte(content)})
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// foreignEmail is a request that asks for an address that is not the handler's.
func foreignEmail(t *testing.T) []byte {
	t.Helper()
	o, err := csr.ParseAttributeType("O")
	if err != nil {
		t.Fatal(err)
	}
	der, err := csr.Build(newKey(t), csr.Request{Subject: []csr.Attribute{{Type: o, Value: testCompany}}, Emails: []string{"someone@example.test"}})
	if err != nil {
		t.Fatal(err)
	}
	return der
}
