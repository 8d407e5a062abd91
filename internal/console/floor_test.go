package console

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing"
)

const testPort = 18470

// floor is a station that a test arranges.
type floor struct {
	mu   sync.Mutex
	bays []Bay
	jobs []Job
	is   Station
}

func (f *floor) Bays() []Bay {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.bays)
}

func (f *floor) Queue() []Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.jobs)
}

func (f *floor) Station() Station {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.is
}

func (f *floor) arrange(change func(*floor)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// noon is when tests take place, as far as they say so.
var noon = time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)

// sampleJob is unit i of an order of eight.
func sampleJob(i int) *Job {
	return &Job{
		ID: fmt.Sprintf("P-1001-%d-g1-1", i), Order: "P-1001", Unit: fmt.Sprintf("P-1001-%d", i), Company: "示例客车配件有限公司", Product: "CERT272353",
		Sequence: i, Of: 8, Done: 2, Due: noon.Add(30 * time.Hour), Bay: fmt.Sprintf("bay-%02d", i),
		Running: true, Step: "generate-key", Percent: 40, Began: noon, Usually: 12 * time.Second,
		Since: noon.Add(-5 * time.Second), Whole: 25 * time.Second,
	}
}

// sampleFloor has a bay in every state.
func sampleFloor() *floor {
	f := &floor{is: Station{
		Name: "demo-station", Version: "1.2.3", Started: noon.Add(-time.Hour), Tier: "tpm", Servers: []string{"https://central.example.com"},
		Session: "s-1", Answered: noon, DiskFree: 5 << 30,
		Modules: []Module{{Name: "bay-01", Path: "/usr/lib/softhsm/libsofthsm2.so", Tokens: 1, Looked: noon}},
	}}
	for i, s := range bayStates() {
		b := Bay{Name: fmt.Sprintf("bay-%02d", i+1), State: s, Token: fmt.Sprintf("T%04d", i)}
		switch s {
		case BayWorking, BayDone:
			b.Job = sampleJob(i + 1)
		case BayWaiting:
			b.Job = sampleJob(i + 1)
			b.Job.Running, b.Job.Waiting, b.Job.Hint, b.Job.Reason = false, "token", "Put the token back.", "generate-key: token removed"
		case BayFailed, BayQuarantined:
			b.Job = sampleJob(i + 1)
			b.Job.Running, b.Job.Hint, b.Job.Reason = false, "Put the token aside for inspection.", "read-back: <script>alert(1)</script>"
		}
		f.bays = append(f.bays, b)
		if b.Job != nil && (b.Job.Running || b.Job.Waiting != "") {
			f.jobs = append(f.jobs, *b.Job)
		}
	}
	return f
}

// newPage is a page over a floor, at a time that a test may move.
func newPage(t testing.TB, f Floor) (*Console, *time.Time) {
	t.Helper()
	now := noon
	c, err := New(Config{
		Floor: f, Books: sampleBooks(), Quarantine: sampleQuarantine(), Stockroom: sampleStock{}, Teacher: &lesson{}, Port: testPort, LockAfter: 15 * time.Minute, Zone: time.FixedZone("CST", 8*60*60), Log: slog.New(slog.DiscardHandler),
		Now:     func() time.Time { return now },
		Packing: newTable(t, packing.VerifySeveral, nil), Mailers: &post{letters: []Letter{{Unit: "P-1001-001", Order: "P-1001", State: LetterReady}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, &now
}

// visitor is a browser that behaves.
type visitor struct {
	c             *Console
	host          string
	cookie, token string
}

// signIn opens a session for a person with these roles.
func signIn(t *testing.T, c *Console, id string, roles ...Role) *visitor {
	t.Helper()
	v := &visitor{c: c, host: c.hosts[0]}
	link := c.sessions.offer(Person{UID: 1000, ID: id, Roles: roles})
	w := v.do(http.MethodPost, "/session", `{"link":"`+string(link)+`"}`, nil)
	if w.Code != http.StatusOK {
		t.Fatalf("the link was not taken: %d %s", w.Code, w.Body)
	}
	for _, k := range w.Result().Cookies() {
		v.cookie = k.Value
	}
	_, rest, _ := strings.Cut(w.Body.String(), `"token":"`)
	v.token, _, _ = strings.Cut(rest, `"`)
	return v
}

// request is what such a browser sends.
func (v *visitor) request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, "http://"+v.host+path, strings.NewReader(body))
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if method != http.MethodGet {
		r.Header.Set("Origin", "http://"+v.host)
		r.Header.Set("Content-Type", "application/json")
	}
	if v.cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: v.cookie})
		r.Header.Set(tokenHeader, v.token)
	}
	return r
}

func (v *visitor) do(method, path, body string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := v.request(method, path, body)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	v.c.ServeHTTP(w, r)
	return w
}
