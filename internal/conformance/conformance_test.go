package conformance

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
)

func TestMain(m *testing.M) {
	envelope.ChooseAES256()
	os.Exit(m.Run())
}

// underTest is usbkey-central with two stations.
func underTest(t *testing.T) Config {
	t.Helper()
	c := centraltest.New(t, nil)
	second := filepath.Join(t.TempDir(), "second")
	if err := c.Admin.AddStation(t.Context(), "second-station", second); err != nil {
		t.Fatal(err)
	}
	cfg := Config{URL: c.StationURL(), AdminURL: c.AdminURL(), AdminToken: c.AdminToken(), Roots: x509.NewCertPool()}
	root, err := os.ReadFile(filepath.Join(second, adminclient.CentralRoot))
	if err != nil || !cfg.Roots.AppendCertsFromPEM(root) {
		t.Fatalf("root of the server: %v", err)
	}
	for i, dir := range []string{c.StationDir, second} {
		if cfg.Stations[i], err = tls.LoadX509KeyPair(filepath.Join(dir, adminclient.StationCertificate), filepath.Join(dir, adminclient.StationKey)); err != nil {
			t.Fatal(err)
		}
	}
	_, document := centraltest.SampleOrder(t, 1)
	if err := json.Unmarshal(document, &cfg.Order); err != nil {
		t.Fatal(err)
	}
	cfg.Profile, err = csr.Profile{
		Subject: csr.SubjectTemplate{
			{Type: "C", Value: "CN"}, {Type: "O", Value: "{{.Company.Name}}"}, {Type: "CN", Value: "{{.Handler.Name}}"},
		},
		KeyUsage: []string{"digitalSignature"}, ValidityTolerance: time.Hour, ClockTolerance: time.Minute,
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	cfg.NewKey = func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
	return cfg
}

// liar changes answers on their way.
type liar struct {
	next http.RoundTripper
	lie  func(req *http.Request, resp *http.Response, body []byte) []byte
}

// RoundTrip implements http.RoundTripper.
func (l liar) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(l.lie(req, resp, body)))
	return resp, nil
}

// accepted turns a refusal of some kind into an acceptance.
func accepted(of api.ProblemType) func(*http.Request, *http.Response, []byte) []byte {
	return func(_ *http.Request, resp *http.Response, body []byte) []byte {
		if resp.StatusCode < 400 || !bytes.Contains(body, []byte(of)) {
			return body
		}
		resp.StatusCode = http.StatusOK
		resp.Header.Set("Content-Type", "application/json")
		return []byte(`{}`)
	}
}

// TestWhatIsBrokenIsFound changes single answers of a server that keeps the contract:
// each change is found, by the rule that is about it.
func TestWhatIsBrokenIsFound(t *testing.T) {
	var mu sync.Mutex
	var leases []json.RawMessage
	rows := []struct {
		name  string
		lie   func(*http.Request, *http.Response, []byte) []byte
		rules []string
	}{
		{"an empty claim without Retry-After", func(_ *http.Request, resp *http.Response, body []byte) []byte {
			resp.Header.Del("Retry-After")
			return body
		}, []string{"claim-empty"}},
		{"errors as a page", func(_ *http.Request, resp *http.Response, body []byte) []byte {
			if resp.StatusCode >= 400 {
				resp.Header.Set("Content-Type", "text/html")
			}
			return body
		}, []string{"session-conflict", "input-not-json", "bind-again"}},
		{"an old epoch is accepted", accepted(api.ProblemStaleEpoch), []string{"lease-released", "bind-epoch"}},
		{"a second request is accepted", accepted(api.ProblemCsrConflict), []string{"bind-again", "race-bind"}},
		{"a used key is accepted", accepted(api.ProblemKeyReused), []string{"bind-key-reused"}},
		{"a bad request is accepted", accepted(api.ProblemCsrInvalid), []string{"bind-invalid", "bind-key-type"}},
		{"a PIN in clear is accepted", accepted(api.ProblemInvalidContent), []string{"escrow-in-clear", "result-that-does-not-match"}},
		{"another result is accepted", accepted(api.ProblemResultConflict), []string{"result"}},
		{"a copied disk is accepted", accepted(api.ProblemSessionConflict), []string{"session-conflict"}},
		{"a key of a claim is accepted for another", accepted(api.ProblemIdempotencyKeyReused), []string{"claim-replay"}},
		{"a forked record is accepted", accepted(api.ProblemRecordForked), []string{"record-forked"}},
		{"a parcel leaves before its record", accepted(api.ProblemNotAnchored), []string{"shipment"}},
		{"a part of a record is accepted whoever signed it", accepted(api.ProblemInvalidContent), []string{"record-refused"}},
		{"a checkpoint has the station's signature alone", func(_ *http.Request, _ *http.Response, body []byte) []byte {
			return bytes.ReplaceAll(body, []byte("usbkeyd.central"), []byte("somebody"))
		}, []string{"record"}},
		{"no lease is held", func(_ *http.Request, resp *http.Response, body []byte) []byte {
			var s map[string]any
			if json.Unmarshal(body, &s) == nil && s["held"] != nil {
				s["held"] = []any{}
				body, _ = json.Marshal(s)
			}
			return body
		}, []string{"session-held"}},
		{"a lease is given out twice", func(req *http.Request, resp *http.Response, body []byte) []byte {
			var a struct {
				Leases []json.RawMessage `json:"leases"`
			}
			if !strings.HasSuffix(req.URL.Path, "/claims") || json.Unmarshal(body, &a) != nil || len(a.Leases) == 0 {
				return body
			}
			mu.Lock()
			defer mu.Unlock()
			leases = append(leases, a.Leases...)
			a.Leases = append(a.Leases, leases[0])
			body, _ = json.Marshal(a)
			return body
		}, []string{"race-claims"}},
		{"another certificate the second time", func(req *http.Request, resp *http.Response, body []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			if leases = append(leases, nil); len(leases)%2 == 0 {
				return bytes.Replace(body, []byte(`"certificateSha256":"`), []byte(`"certificateSha256":"00`), 1)
			}
			return body
		}, []string{"certificate"}},
	}
	c := underTest(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			leases = nil
			c.through = func(next http.RoundTripper) http.RoundTripper { return liar{next, row.lie} }
			for _, rule := range row.rules {
				_, err := Run(t.Context(), c, rule, func(r Result) {
					if r.Name == rule && r.Verdict != Broken {
						t.Errorf("%s %s (%s)", r.Name, r.Verdict, r.Detail)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestRulesAreTold: each rule has a name of its own and a sentence.
func TestRulesAreTold(t *testing.T) {
	var names []string
	for _, r := range Rules() {
		if slices.Contains(names, r.Name) || !strings.HasSuffix(r.Rule, ".") {
			t.Errorf("rule %q: %q", r.Name, r.Rule)
		}
		names = append(names, r.Name)
	}
}
