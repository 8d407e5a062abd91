//go:build !race

package simulation

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing/synctest"
	"time"
)

// errReset is what a sender sees of a message that was lost on the way.
var errReset = errors.New("connection reset")

// message is a request on its way from a station to a node.
type message struct {
	from   *station
	to     *node
	method string
	path   string
	uri    string
	header http.Header
	body   []byte
}

func (m message) String() string {
	return m.method + " " + strings.TrimPrefix(m.path, "/v1") + " at " + m.to.name
}

// writes says that it says something about a unit that the server has to remember.
func (m message) writes() bool {
	return m.method == http.MethodPut && strings.Contains(m.path, "/units/")
}

// wire is one start of a station's way to the servers. It implements http.RoundTripper.
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
	n.w.model.sent(n.life.station, fmt.Appendf(nil, "%s %v %s", r.URL.RequestURI(), r.Header, body))
	back := make(chan *http.Response, 2)
	go n.w.flight(message{n.life.station, n.w.nodeAt(r.URL.Host), r.Method, r.URL.Path, r.URL.RequestURI(), r.Header.Clone(), body}, back)
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

// flight takes one request to its server and the answer back; nil on back is a loss
// that the sender sees.
func (w *world) flight(m message, back chan<- *http.Response) {
	a := &action{kind: request, actor: m.from.name, what: "→ " + m.String(), message: &m}
	switch v, ok := w.gate.enter(context.Background(), a, nil); {
	case !ok || v == lose:
		back <- nil
		return
	case v == silence:
		return
	case v == twice || v == twiceElsewhere:
		again := m
		again.header = m.header.Clone()
		if v == twiceElsewhere {
			again.to = w.nodes[(a.chance+1)%len(w.nodes)]
		}
		go w.flight(again, make(chan *http.Response, 2))
	case v == forged:
		w.forge(m, a.chance)
	}
	resp := w.serve(m)
	if resp == nil {
		back <- nil
		return
	}
	a = &action{kind: answer, actor: m.from.name, what: "← " + m.String() + " " + resp.Status, message: &m}
	switch v, ok := w.gate.enter(context.Background(), a, nil); {
	case !ok || v == lose || v == loseAfter:
		back <- nil
	case v == silence:
	default:
		back <- resp
	}
}

// serve has a server answer a station, which it knows by the certificate; nil when it
// is not there, or goes away meanwhile.
func (w *world) serve(m message) *http.Response {
	srv := m.to.server
	if srv == nil {
		return nil
	}
	// Longer than any long poll; a real server bounds its writing likewise.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req := httptest.NewRequestWithContext(ctx, m.method, m.uri, bytes.NewReader(m.body))
	req.Header = m.header
	req.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{m.from.certificate}}
	rec := httptest.NewRecorder()
	srv.StationHandler().ServeHTTP(rec, req)
	died := m.to.server != srv
	if died && rec.Code >= 300 {
		return nil // of what it did not do, nobody hears
	}
	w.model.sent(m.from, fmt.Appendf(nil, "%v %s", rec.Header(), rec.Body.Bytes()))
	w.model.answered(m.from, m.method, m.path, m.body, rec.Code, rec.Body.Bytes())
	if died {
		return nil
	}
	resp := rec.Result()
	if resp.Header.Get("Retry-After") != "" {
		resp.Header.Set("Retry-After", "2") // the server draws it by chance, which the seed has no say in
	}
	return resp
}

// notice takes what one server tells another. How much a server puts into one notice
// depends on which of its goroutines is first, so all of one step go on their way together.
func (w *world) notice(hear func()) {
	w.noticesMu.Lock()
	defer w.noticesMu.Unlock()
	w.notices = append(w.notices, hear)
}

// sendNotices sends those of the step before on their way.
func (w *world) sendNotices() {
	hear := w.notices
	w.notices = nil
	if len(hear) == 0 {
		return
	}
	go func() {
		if v, ok := w.gate.enter(context.Background(), &action{kind: notice, actor: "central", what: "notice"}, nil); ok && v == pass {
			for _, h := range hear {
				h()
			}
		}
	}()
	synctest.Wait()
}
