package est

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

func TestDecide(t *testing.T) {
	const (
		issued  = "issued"
		refused = "refused"
		pending = "pending"
		unclear = "unclear"
	)
	now := time.Date(2026, 11, 25, 8, 0, 0, 0, time.UTC)
	rows := []struct {
		status int
		header map[string]string
		want   string
		after  time.Duration
	}{
		{status: 200, want: issued},
		{status: 201, want: unclear},
		{status: 202, want: pending},
		{status: 202, header: map[string]string{"Retry-After": "0"}, want: pending},
		{status: 202, header: map[string]string{"Retry-After": "120"}, want: pending, after: 2 * time.Minute},
		{status: 202, header: map[string]string{"Retry-After": "Wed, 25 Nov 2026 08:05:00 GMT"}, want: pending, after: 5 * time.Minute},
		{status: 202, header: map[string]string{"Retry-After": "Wed, 25 Nov 2026 08:05:00 GMT", "Date": "Wed, 25 Nov 2026 08:04:00 GMT"}, want: pending, after: time.Minute},
		{status: 202, header: map[string]string{"Retry-After": "Wed, 25 Nov 2026 07:00:00 GMT"}, want: pending},
		{status: 202, header: map[string]string{"Retry-After": "99999999999999999999"}, want: pending, after: 10 * 365 * 24 * time.Hour},
		{status: 202, header: map[string]string{"Retry-After": "-5"}, want: pending},
		{status: 202, header: map[string]string{"Retry-After": "soon"}, want: pending},
		{status: 204, want: unclear},
		{status: 301, want: pending},
		{status: 302, want: unclear},
		{status: 303, want: unclear},
		{status: 307, want: pending},
		{status: 308, want: pending},
		{status: 400, want: refused},
		{status: 401, want: pending},
		{status: 403, want: pending},
		{status: 404, want: pending},
		{status: 405, want: pending},
		{status: 408, want: pending},
		{status: 409, want: unclear},
		{status: 410, want: pending},
		{status: 413, want: refused},
		{status: 415, want: refused},
		{status: 422, want: refused},
		{status: 429, header: map[string]string{"Retry-After": "30"}, want: pending, after: 30 * time.Second},
		{status: 451, want: unclear},
		{status: 500, want: unclear},
		{status: 502, want: unclear},
		{status: 503, want: unclear},
		{status: 503, header: map[string]string{"Retry-After": "60"}, want: pending, after: time.Minute},
		{status: 504, want: unclear},
	}
	for _, row := range rows {
		a := answer{status: row.status, header: http.Header{}}
		for k, v := range row.header {
			a.header.Set(k, v)
		}
		err := decide(a, now)
		var r *ca.RefusedError
		var p *ca.PendingError
		got := "something else"
		switch {
		case err == nil:
			got = issued
		case errors.As(err, &r):
			got = refused
		case errors.As(err, &p):
			got = pending
		case errors.Is(err, ErrUnclear):
			got = unclear
		}
		if got != row.want || p != nil && p.After != row.after {
			t.Errorf("%d %v: %s %v, want %s %s", row.status, row.header, got, err, row.want, row.after)
		}
	}
}

// The server's words are kept, and fit into a line.
func TestDescribe(t *testing.T) {
	a := answer{status: 400, header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, body: []byte("  no\x1b[31m\n\tsuch \xff company\r\n")}
	if got, want := describe(a), "400 Bad Request: no [31m such ? company"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	a.body = []byte(strings.Repeat("长", 5000))
	if got := describe(a); len([]rune(got)) > 400 {
		t.Errorf("%d characters", len([]rune(got)))
	}
	a.header.Set("Content-Type", "text/html")
	if got := describe(a); got != "400 Bad Request" {
		t.Errorf("got %q", got)
	}
}

// FuzzAnswer: no answer crashes the reader, and only a bundle is a bundle.
func FuzzAnswer(f *testing.F) {
	f.Add(200, "application/pkcs7-mime; smime-type=certs-only", "", []byte("MCMGCSqGSIb3DQEHAqAWMBQCAQExADALBgkqhkiG9w0BBwExAA=="))
	f.Add(200, "application/pkcs7-mime", "", []byte("MII\r\n%%"))
	f.Add(202, "text/plain", "120", []byte("wait"))
	f.Add(503, "", "Wed, 25 Nov 2026 08:05:00 GMT", []byte{0, 0xff})
	f.Fuzz(func(t *testing.T, status int, kind, retry string, body []byte) {
		a := answer{status: status, header: http.Header{"Content-Type": {kind}, "Retry-After": {retry}}, body: body}
		err := decide(a, time.Unix(0, 0))
		var p *ca.PendingError
		if errors.As(err, &p) && p.After < 0 {
			t.Errorf("a wait of %s", p.After)
		}
		if (err == nil) != (status == 200) {
			t.Errorf("status %d: %v", status, err)
		}
		if certs, err := bundle(a); err == nil && len(certs) == 0 {
			t.Error("a bundle without certificates")
		}
		if said := describe(a); strings.ContainsAny(said, "\r\n\x00\x1b") || len([]rune(said)) > 3*maxSaid {
			t.Errorf("described as %q", said)
		}
	})
}
