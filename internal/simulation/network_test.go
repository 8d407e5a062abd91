//go:build !race

package simulation

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// errReset is what a sender sees of a message that was lost on the way.
var errReset = errors.New("connection reset")

// wire is one start of a station's way to the server. It implements http.RoundTripper.
type wire struct {
	w    *world
	life *life
}

// RoundTrip sends a request. What is on its way goes on after the sender has given up
// or died: it may still arrive.
func (n *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	n.w.model.sent(n.life.station, body)
	back := make(chan *http.Response, 2)
	go n.w.flight(n.life.station, r.Method, r.URL.Path, r.URL.RequestURI(), r.Header.Clone(), body, back)
	select {
	case resp := <-back:
		if resp == nil {
			return nil, errReset
		}
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-n.life.dead:
		return nil, errDied
	}
}

// flight takes one request to the server and its answer back; nil on back is a loss
// that the sender sees.
func (w *world) flight(st *station, method, path, uri string, header http.Header, body []byte, back chan<- *http.Response) {
	what := method + " " + strings.TrimPrefix(path, "/v1")
	switch v, ok := w.gate.enter(context.Background(), request, st.name, "→ "+what, nil); {
	case !ok || v == lose:
		back <- nil
		return
	case v == silence:
		return
	case v == twice:
		go w.flight(st, method, path, uri, header.Clone(), body, make(chan *http.Response, 2))
	}
	resp := w.serve(st, method, uri, path, header, body)
	if resp == nil {
		back <- nil
		return
	}
	switch v, ok := w.gate.enter(context.Background(), answer, st.name, "← "+what+" "+resp.Status, nil); {
	case !ok || v == lose || v == loseAfter:
		back <- nil
	case v == silence:
	default:
		back <- resp
	}
}

// serve has the server answer a station, which it knows by the certificate; nil when it
// is not there, or goes away meanwhile.
func (w *world) serve(st *station, method, uri, path string, header http.Header, body []byte) *http.Response {
	srv := w.server
	if srv == nil {
		return nil
	}
	// Longer than any long poll; a real server bounds its writing likewise.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req := httptest.NewRequestWithContext(ctx, method, uri, bytes.NewReader(body))
	req.Header = header
	req.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{st.certificate}}
	rec := httptest.NewRecorder()
	srv.StationHandler().ServeHTTP(rec, req)
	if w.server != srv {
		return nil
	}
	w.model.answered(st, method, path, body, rec.Code, rec.Body.Bytes())
	resp := rec.Result()
	if resp.Header.Get("Retry-After") != "" {
		resp.Header.Set("Retry-After", "2") // the server draws it by chance, which the seed has no say in
	}
	return resp
}
