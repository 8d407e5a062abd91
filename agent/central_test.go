package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/provision"
)

// fakeServer counts what it is asked, and answers or lets callers wait.
func fakeServer(t *testing.T, answer func(http.ResponseWriter, *http.Request)) (*httptest.Server, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s, &asked
}

func trustAnswer(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"userPinRecipients":[],"soPinRecipients":[]}`))
}

func getTrust(c *Central, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	resp, err := c.api.GetTrust(ctx)
	_, err = c.call(resp, err, func(int, []byte) error { return nil }, http.StatusOK)
	return err
}

func centralOf(t *testing.T, servers ...*httptest.Server) *Central {
	t.Helper()
	roots := x509.NewCertPool()
	var urls []string
	for _, s := range servers {
		roots.AddCert(s.Certificate())
		urls = append(urls, s.URL)
	}
	c, err := NewCentral(urls, tls.Certificate{}, roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// The station stays with a server that answers, moves on when that one is gone, and
// stays there.
func TestNextServer(t *testing.T) {
	one, askedOne := fakeServer(t, trustAnswer)
	two, askedTwo := fakeServer(t, trustAnswer)
	c := centralOf(t, one, two)
	for range 3 {
		if err := getTrust(c, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if askedOne.Load() != 3 || askedTwo.Load() != 0 {
		t.Errorf("the servers were asked %d and %d times, want 3 and 0", askedOne.Load(), askedTwo.Load())
	}
	one.CloseClientConnections()
	one.Close()
	if err := getTrust(c, time.Second); err == nil {
		t.Error("a server that is gone answered")
	}
	for range 3 {
		if err := getTrust(c, time.Second); err != nil {
			t.Error(err)
		}
	}
	if askedTwo.Load() != 3 {
		t.Errorf("the second server was asked %d times, want 3", askedTwo.Load())
	}
}

// A server that takes calls and never answers is left too; a call that was given up
// says nothing about its server.
func TestSilentServerIsLeft(t *testing.T) {
	// It breaks off: a handler that returns has answered, which a caller that has just given up
	// may still read.
	silent, askedSilent := fakeServer(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	two, askedTwo := fakeServer(t, trustAnswer)
	c := centralOf(t, silent, two)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	if resp, err := c.api.GetTrust(ctx); err == nil {
		_ = resp.Body.Close()
		t.Error("a call that was given up was answered")
	}
	if err := getTrust(c, 500*time.Millisecond); err == nil {
		t.Error("the silent server answered")
	}
	if askedSilent.Load() != 2 || askedTwo.Load() != 0 {
		t.Errorf("the servers were asked %d and %d times, want 2 and 0", askedSilent.Load(), askedTwo.Load())
	}
	if err := getTrust(c, 10*time.Second); err != nil || askedTwo.Load() != 1 {
		t.Errorf("the second server was asked %d times: %v", askedTwo.Load(), err)
	}
}

// A gateway's answer in the form of a problem (RFC 9457) is no refusal of the central server's.
func TestAGatewaysProblemIsNoRefusal(t *testing.T) {
	s, _ := fakeServer(t, func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusServiceUnavailable, api.ProblemMediaType, map[string]any{"type": "about:blank", "title": "Service Unavailable", "status": 503})
	})
	c := centralOf(t, s)
	_, collected := c.Collect(t.Context(), "SAMPLE-001", 1)
	_, bound := c.Bind(t.Context(), provision.Bind{UnitID: "SAMPLE-001", Generation: 1, Epoch: 1})
	for name, err := range map[string]error{"Collect": collected, "Bind": bound} {
		if err == nil || errors.Is(err, provision.ErrRefused) || errors.Is(err, provision.ErrNotBound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
