package console

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// FuzzStranger: whatever somebody without a session sends, nothing of the station and no
// session comes back.
func FuzzStranger(f *testing.F) {
	f.Add("GET", "/live/bays", "127.0.0.1:18470", "", "same-origin", "usbkeyd=x", "x", "")
	f.Add("POST", "/session", "[::1]:18470", "http://[::1]:18470", "same-origin", "", "", `{"link":"x"}`)
	f.Add("POST", "/language", "127.0.0.1:18470", "http://127.0.0.1:18470", "same-origin", "usbkeyd=; usbkeyd=", "", `{"language":"en"}`)
	f.Add("GET", "/assets/../live/bays", "127.0.0.1:18470", "", "cross-site", "", "", "")
	c, err := New(Config{Floor: sampleFloor(), Packing: newTable(f, packing.VerifySeveral, nil), Mailers: &post{}, Port: testPort, LockAfter: time.Minute, Zone: time.UTC})
	if err != nil {
		f.Fatal(err)
	}
	c.sessions.offer(Person{UID: 1, ID: "writer.a", Roles: Roles()})
	f.Fuzz(func(t *testing.T, method, path, host, origin, site, cookie, token, body string) {
		r := &http.Request{
			Method: method, Host: host, URL: &url.URL{Path: path}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Sec-Fetch-Site": {site}, "Cookie": {cookie}, "X-Usbkeyd-Token": {token}, "Content-Type": {"application/json"}},
			Body:   http.NoBody,
		}
		if body != "" {
			r.Body = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)).Body
		}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "P-1001") || strings.Contains(w.Body.String(), "demo-station") || len(w.Result().Cookies()) > 0 {
			t.Errorf("%d %.200q", w.Code, w.Body)
		}
	})
}

// FuzzDoor: whatever is sent to the socket, one line comes back at most, and a link only
// to who asks for one.
func FuzzDoor(f *testing.F) {
	f.Add([]byte(`{"ask":"link"}` + "\n"))
	f.Add([]byte(`{"ask":"link"`))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		here, there := net.Pipe()
		go func() {
			_, _ = there.Write(sent)
			_ = there.Close()
		}()
		var q question
		err := readLine(here, maxLine, &q)
		_ = here.Close()
		if err == nil && len(sent) > maxLine && !strings.Contains(string(sent[:maxLine]), "\n") {
			t.Errorf("%d bytes were taken for a line", len(sent))
		}
		if err == nil && q.Ask == askLink && !strings.Contains(string(sent), "link") && !strings.Contains(string(sent), `\u`) {
			t.Errorf("%q asks for a link", sent)
		}
	})
}
