package console

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing"
)

// concrete is a route's path as a browser asks for it, and a body that it takes.
func concrete(t *testing.T, c *Console, r route) (path, body string) {
	t.Helper()
	switch r.path {
	case "/{$}":
		return "/", ""
	case "/assets/{name}":
		return "/assets/console.js", ""
	case "/session":
		return r.path, `{"link":"` + string(c.sessions.offer(Person{UID: 1000, ID: "writer.a", Roles: Roles()})) + `"}`
	case "/language":
		return r.path, `{"language":"en"}`
	case "/labels/print", "/labels/confirm":
		return r.path, `{"token":"T0001"}`
	case "/lock", "/present":
		return r.path, `{}`
	case "/act/cancel":
		p, err := c.acts.ask(Person{UID: 1000, ID: "writer.a", Roles: Roles()}, func() (Act, error) { return Act{What: "release", First: Roles()}, nil })
		if err != nil {
			t.Fatal(err)
		}
		return r.path, `{"code":"` + p.code + `"}`
	case "/quarantine/wipe":
		return r.path, `{"job":"P-1001-1-g1-1"}`
	case "/quarantine/release":
		return r.path, `{"job":"P-1001-2-g1-1"}`
	case "/teach":
		return r.path, `{"do":"begin"}`
	case "/live/teach", "/live/bays", "/live/queue", "/live/quarantine", "/live/stock", "/live/station":
		return r.path, ""
	case "/live/order/{asked}", "/live/search/{asked}":
		return strings.ReplaceAll(r.path, "{asked}", "P-1001"), ""
	case "/live/today":
		return r.path, ""
	case "/live/packing", "/live/mailers":
		return r.path, ""
	case "/packing":
		return r.path, `{"act":"undo","code":""}`
	case "/mailers":
		return r.path, `{"act":"confirm","code":"P-1001-001"}`
	case "/mailers/print":
		return r.path, `{"act":"print","code":"P-1001-001"}`
	}
	t.Fatalf("route %s %s has no row in this test: give it one", r.method, r.path)
	return "", ""
}

// able is a session of somebody who may take a route, and nothing else.
func able(t *testing.T, c *Console, r route) *visitor {
	t.Helper()
	if len(r.policy.roles) == 0 {
		return signIn(t, c, "writer.a", RoleWriter)
	}
	return signIn(t, c, "writer.a", r.policy.roles[0])
}

// briefly lets a stream that was let in end.
func briefly(t *testing.T, r *http.Request) *http.Request {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return r.WithContext(ctx)
}

// TestEveryRouteIsGuarded: what an honest browser may ask is answered, and each thing that
// makes a request another one has it refused, on every route, without a word about the
// station.
func TestEveryRouteIsGuarded(t *testing.T) {
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Del(name)
			for _, v := range values {
				r.Header.Add(name, v)
			}
		}
	}
	attacks := []struct {
		name string
		kind int // of policies from which on it matters
		do   func(*http.Request)
	}{
		{"rebound Host", anyone, func(r *http.Request) { r.Host = "evil.example.com:18470" }},
		{"Host without a port", anyone, func(r *http.Request) { r.Host = "127.0.0.1" }},
		{"Host by name", anyone, func(r *http.Request) { r.Host = "localhost:18470" }},
		{"Host of another port", anyone, func(r *http.Request) { r.Host = "127.0.0.1:18471" }},
		{"another loopback address", anyone, func(r *http.Request) { r.Host = "127.0.0.2:18470" }},
		{"no Host", anyone, func(r *http.Request) { r.Host = "" }},
		{"null Origin", anyone, set("Origin", "null")},
		{"another origin", anyone, set("Origin", "http://evil.example.com")},
		{"the origin of another port", anyone, set("Origin", "http://127.0.0.1:18471")},
		{"the other address's origin", anyone, set("Origin", "http://[::1]:18470")},
		{"https Origin", anyone, set("Origin", "https://127.0.0.1:18470")},
		{"two Origins", anyone, set("Origin", "http://127.0.0.1:18470", "http://127.0.0.1:18470")},
		{"empty Origin", anyone, set("Origin", "")},
		{"cross-site fetch", anyone, set("Sec-Fetch-Site", "cross-site")},
		{"fetch from another port", anyone, set("Sec-Fetch-Site", "same-site")},
		{"no fetch metadata", anyone, set("Sec-Fetch-Site")},
		{"cross-site form", anyone, func(r *http.Request) {
			set("Origin", "http://evil.example.com")(r)
			set("Sec-Fetch-Site", "cross-site")(r)
			set("Sec-Fetch-Mode", "navigate")(r)
			set("Sec-Fetch-Dest", "document")(r)
			set("Content-Type", "application/x-www-form-urlencoded")(r)
		}},
		{"framed", anyone, func(r *http.Request) {
			set("Sec-Fetch-Site", "cross-site")(r)
			set("Sec-Fetch-Mode", "navigate")(r)
			set("Sec-Fetch-Dest", "iframe")(r)
		}},
		{"a secret in the address", anyone, func(r *http.Request) { r.URL.RawQuery = "token=x" }},
		{"HEAD", anyone, func(r *http.Request) { r.Method = http.MethodHead; set("Origin", "http://127.0.0.1:18470")(r) }},
		{"PUT", anyone, func(r *http.Request) { r.Method = http.MethodPut; set("Origin", "http://127.0.0.1:18470")(r) }},
		{"OPTIONS", anyone, func(r *http.Request) { r.Method = http.MethodOptions; set("Origin", "http://127.0.0.1:18470")(r) }},
		{"no cookie", signed, set("Cookie")},
		{"two cookies", signed, func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookieName, Value: "x"}) }},
		{"no token", signed, set(tokenHeader)},
		{"wrong token", signed, set(tokenHeader, "x")},
		{"two tokens", signed, func(r *http.Request) { r.Header.Add(tokenHeader, "x") }},
		{"at the other address", signed, func(r *http.Request) {
			r.Host = "[::1]:18470"
			if r.Header.Get("Origin") != "" {
				set("Origin", "http://[::1]:18470")(r)
			}
		}},
	}
	c, now := newPage(t, sampleFloor())
	refused := func(name string, r *http.Request) {
		t.Helper()
		w := httptest.NewRecorder()
		c.ServeHTTP(w, briefly(t, r))
		if w.Code < 400 || strings.Contains(w.Body.String(), "P-1001") || len(w.Result().Cookies()) > 0 {
			t.Errorf("%s %s, %s: %d %.80q", r.Method, r.URL.Path, name, w.Code, w.Body)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: other origins may read it", name)
		}
	}
	for _, rt := range c.routes() {
		honest := func() *http.Request {
			path, body := concrete(t, c, rt)
			v := able(t, c, rt)
			return v.request(rt.method, path, body)
		}
		w := httptest.NewRecorder()
		c.ServeHTTP(w, briefly(t, honest()))
		if w.Code >= 300 {
			t.Errorf("%s %s: an honest browser gets %d %s", rt.method, rt.path, w.Code, w.Body)
		}
		if again := slices.Contains([]string{"/mailers/print", "/quarantine/wipe", "/quarantine/release"}, rt.path); again != rt.policy.again || again != (w.Code == http.StatusAccepted) {
			t.Errorf("%s %s: asked again %v, %d", rt.method, rt.path, rt.policy.again, w.Code)
		}
		for name, want := range map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
			if w.Header().Get(name) != want {
				t.Errorf("%s %s: %s is %q", rt.method, rt.path, name, w.Header().Get(name))
			}
		}
		for _, a := range attacks {
			if rt.policy.kind < a.kind {
				continue
			}
			r := honest()
			a.do(r)
			refused(a.name, r)
		}
		if rt.changes {
			r := honest()
			set("Content-Type", "text/plain")(r) // what a form may send without asking first
			refused("a form's type", r)
			r = honest()
			set("Origin")(r)
			refused("no Origin", r)
			r = honest()
			r.Method = http.MethodGet
			set("Origin")(r)
			refused("a change by GET", r)
			path, body := concrete(t, c, rt)
			refused("something after the body", able(t, c, rt).request(rt.method, path, `{} {}`))
			refused("a field that nobody knows", able(t, c, rt).request(rt.method, path, `{"x":1}`))
			refused("a long body", able(t, c, rt).request(rt.method, path, strings.TrimSuffix(body, "}")+strings.Repeat(" ", maxBody)+"}"))
		}
		switch rt.policy.kind {
		case holder:
			path, body := concrete(t, c, rt)
			v := &visitor{c: c, host: c.hosts[0]}
			if w := v.do(rt.method, path, body, nil); w.Code != http.StatusOK {
				t.Errorf("a link: %d", w.Code)
			}
			refused("replayed link", v.request(rt.method, path, body))
			_, body = concrete(t, c, rt)
			*now = now.Add(linkLife)
			refused("expired link", v.request(rt.method, path, body))
			refused("no such link", v.request(rt.method, path, `{"link":"x"}`))
			refused("empty link", v.request(rt.method, path, `{"link":""}`))
		case signed:
			path, body := concrete(t, c, rt)
			one, other := able(t, c, rt), signIn(t, c, "packer.b", rt.policy.roles[0])
			r := one.request(rt.method, path, body)
			set(tokenHeader, other.token)(r)
			refused("other user's token", r)
			r = one.request(rt.method, path, body)
			set("Cookie", cookieName+"="+other.cookie)(r)
			refused("other user's cookie", r)
			for _, other := range Roles() {
				if !slices.Contains(rt.policy.roles, other) {
					refused("the role "+string(other), signIn(t, c, "other.d", other).request(rt.method, path, body))
				}
			}
			refused("no role", signIn(t, c, "nobody.c").request(rt.method, path, body))
			others := slices.DeleteFunc(Roles(), func(r Role) bool { return slices.Contains(rt.policy.roles, r) })
			if len(others) > 0 {
				refused("other roles", signIn(t, c, "nobody.c", others...).request(rt.method, path, body))
			}
			*now = now.Add(c.LockAfter)
			refused("idle session", one.request(rt.method, path, body))
			old := able(t, c, rt)
			for range 2 * int(sessionLife/c.LockAfter) {
				*now = now.Add(c.LockAfter / 2)
				old.do(http.MethodPost, "/present", "{}", nil)
			}
			refused("a session of yesterday's", old.request(rt.method, path, body))
			locked := able(t, c, rt)
			if w := locked.do(http.MethodPost, "/lock", "{}", nil); w.Code != http.StatusNoContent {
				t.Errorf("lock: %d", w.Code)
			}
			refused("locked session", locked.request(rt.method, path, body))
		}
	}
}

// TestSleepLocksThePage: a machine that slept has a page that nobody has touched for as long, though
// its other clocks may have stood still or have been set back.
func TestSleepLocksThePage(t *testing.T) {
	awake := time.Duration(0)
	c, err := New(Config{
		Floor: sampleFloor(), Books: sampleBooks(), Packing: newTable(t, packing.VerifySeveral, nil), Mailers: &post{}, Port: testPort,
		LockAfter: 15 * time.Minute, Zone: time.UTC, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return noon }, Clock: func() time.Duration { return awake },
	})
	if err != nil {
		t.Fatal(err)
	}
	v := signIn(t, c, "packer.a", RolePacker)
	present := func(want int) {
		t.Helper()
		if w := v.do(http.MethodPost, "/present", "{}", nil); w.Code != want {
			t.Errorf("status %d, want %d", w.Code, want)
		}
	}
	awake += 14 * time.Minute
	present(http.StatusNoContent)
	awake += 14 * time.Minute
	present(http.StatusNoContent)
	awake += 8 * time.Hour
	present(http.StatusUnauthorized)
}

// TestShellMayBeFollowed: a link in a file of the account's leads to the shell, which is a
// navigation from another site; nothing else may be reached so.
func TestShellMayBeFollowed(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	v := &visitor{c: c, host: c.hosts[1]}
	follow := func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
	}
	if w := v.do(http.MethodGet, "/", "", follow); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "已锁定") {
		t.Errorf("the shell: %d", w.Code)
	}
	if w := v.do(http.MethodGet, "/live/bays", "", follow); w.Code != http.StatusForbidden {
		t.Errorf("a screen: %d", w.Code)
	}
}

// TestARouteNeedsAPolicy: what is wrong with a route keeps the page from being made.
func TestARouteNeedsAPolicy(t *testing.T) {
	serve := func(http.ResponseWriter, *http.Request, *session) {}
	good := route{http.MethodPost, "/x", signedIn(RolePacker), true, serve}
	rows := []struct {
		name   string
		change func(*route)
		wrong  bool
	}{
		{"whole", func(*route) {}, false},
		{"no policy", func(r *route) { r.policy = policy{} }, true},
		{"no role", func(r *route) { r.policy = signedIn() }, true},
		{"a role that does not exist", func(r *route) { r.policy = signedIn("root") }, true},
		{"a change by GET", func(r *route) { r.method = http.MethodGet }, true},
		{"POST without a change", func(r *route) { r.changes = false }, true},
		{"a change by anybody", func(r *route) { r.policy = open() }, true},
		{"another method", func(r *route) { r.method = http.MethodPut }, true},
		{"roles without a session", func(r *route) { r.policy.kind = holder }, true},
		{"asked again", func(r *route) { r.policy = again(r.policy) }, false},
		{"asked again of nobody", func(r *route) { r.policy = again(withLink()) }, true},
		{"nothing serves it", func(r *route) { r.serve = nil }, true},
	}
	for _, row := range rows {
		c, _ := newPage(t, sampleFloor())
		r := good
		row.change(&r)
		if err := c.mount([]route{r}); (err != nil) != row.wrong {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}
