package console

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
)

// Names of what a browser brings along.
const (
	cookieName  = "usbkeyd"
	tokenHeader = "X-Usbkeyd-Token"
)

// maxBody bounds what may be sent to the page.
const maxBody = 4 << 10

// contentPolicy lets the page load what we serve and nothing else, and keeps scripts from
// making markup of text except by the one policy that console.js names.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types usbkeyd"

// harden sets the headers of every answer.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), usb=(), hid=(), serial=()")
	h.Set("Cache-Control", "no-store")
}

// ours refuses, on every method and path, what did not come from our page at our address:
// a name that was bound to 127.0.0.1, another origin, a form elsewhere. It returns 0 for
// what may go on, else a status.
func (c *Console) ours(r *http.Request) int {
	if !slices.Contains(c.hosts, r.Host) {
		return http.StatusMisdirectedRequest
	}
	switch origin := r.Header.Values("Origin"); {
	case len(origin) == 0 && r.Method == http.MethodGet: // browsers leave it out there
	case len(origin) != 1 || origin[0] != "http://"+r.Host:
		return http.StatusForbidden
	}
	// W3C Fetch Metadata: every current browser sends it, and no script can change it.
	switch site := r.Header.Values("Sec-Fetch-Site"); {
	case len(site) == 1 && site[0] == "same-origin":
	case len(site) == 1 && r.Method == http.MethodGet && r.URL.Path == "/" &&
		r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document":
		// Whoever follows a link to the shell, from a file or by hand. There is nothing in it.
	default:
		return http.StatusForbidden
	}
	return 0
}

// ServeHTTP lets a request through to its route, or refuses it.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	harden(w.Header())
	if status := c.ours(r); status != 0 {
		refuse(w, status)
		return
	}
	c.mux.ServeHTTP(w, r)
}

// guarded puts a route's policy before what serves it.
func (c *Console) guarded(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != rt.method { // a GET pattern takes HEAD too
			refuse(w, http.StatusMethodNotAllowed)
			return
		}
		if r.URL.RawQuery != "" || r.URL.ForceQuery {
			refuse(w, http.StatusBadRequest) // nothing here is asked that way, so nothing gets into a history
			return
		}
		if rt.changes && !slices.Equal(r.Header.Values("Content-Type"), []string{"application/json"}) {
			refuse(w, http.StatusUnsupportedMediaType) // no form can send it
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		var s *session
		if rt.policy.kind == signed {
			var err error
			if s, err = c.sessionOf(r); err != nil {
				refuse(w, http.StatusUnauthorized)
				return
			}
			if !s.person.may(rt.policy.roles) {
				refuse(w, http.StatusForbidden)
				return
			}
		}
		rt.serve(w, r, s)
	}
}

// sessionOf is the session that a request belongs to: its cookie alone is not enough, for
// a browser sends it to every port of this machine. errLocked.
func (c *Console) sessionOf(r *http.Request) (*session, error) {
	cookies, tokens := r.CookiesNamed(cookieName), r.Header.Values(tokenHeader)
	if len(cookies) != 1 || len(tokens) != 1 {
		return nil, errLocked
	}
	return c.sessions.find(secret(cookies[0].Value), secret(tokens[0]), r.Host)
}

func refuse(w http.ResponseWriter, status int) { http.Error(w, http.StatusText(status), status) }

// read takes the one JSON value of a request's body, strictly.
func read(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}
