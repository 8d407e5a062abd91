package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/internal/systemd"
	"github.com/usbkeyd/usbkeyd/provision"
)

// relay stands between a station and its server, and can be cut.
type relay struct {
	net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: to}
	t.Cleanup(func() {
		_ = l.Close()
		r.set(true)
	})
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			r.pass(from)
		}
	}()
	return r
}

func (r *relay) pass(from net.Conn) {
	to, err := net.Dial("tcp", r.to)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || r.cut {
		_ = from.Close()
		if err == nil {
			_ = to.Close()
		}
		return
	}
	r.conns = append(r.conns, from, to)
	for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
		}()
	}
}

func (r *relay) set(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	if cut {
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.conns = nil
	}
}

// freePort is one that nobody had a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// watched is a daemon in the test's process that can be held up.
type watched struct {
	*station
	server *relay
	port   int
	hold   chan chan struct{} // a channel in it is waited for when the next job is made
	post   *vitals
}

func newWatched(t *testing.T, notify string) *watched {
	t.Helper()
	at := centraltest.New(t, func(c *central.Config) { c.LeaseBase = 4 * time.Second })
	w := &watched{station: newStationAt(t, at, 1, "ec-p256"), port: freePort(t), hold: make(chan chan struct{}, 1)}
	there, err := url.Parse(at.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.server = newRelay(t, there.Host)
	loaded, err := config.Load(w.Config)
	if err != nil {
		t.Fatal(err)
	}
	loaded.Central.URLs = []string{"https://" + w.server.Addr().String()}
	for i := range loaded.TokenProfiles { // so that leases and heartbeats are short
		loaded.TokenProfiles[i].Deadlines.KeyGeneration = time.Second
	}
	st, err := openStationState(loaded, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	w.post = newVitals(loaded, st.journal)
	w.post.stuck, w.post.late, w.post.often = 2*time.Second, time.Second, 100*time.Millisecond
	a, closeAgent, err := newAgent(loaded, nil, st, log, &shelf{}, w.post, w.post.observe)
	if err != nil {
		t.Fatal(err)
	}
	label := a.Label
	a.Label = func(code string) (*csr.Text, error) {
		select {
		case until := <-w.hold:
			<-until
		default:
		}
		return label(code)
	}
	ctx, stop := context.WithCancel(t.Context())
	endVitals, err := w.post.begin(ctx, w.port, log)
	if err != nil {
		t.Fatal(err)
	}
	manager, err := systemd.New(func(name string) string {
		return map[string]string{"NOTIFY_SOCKET": notify, "WATCHDOG_USEC": "2000000"}[name]
	}, 1)
	if err != nil {
		t.Fatal(err)
	}
	endManager := manage(ctx, w.post, manager, log)
	done := make(chan error, 1)
	go func() {
		_, err := a.Run(ctx)
		done <- err
	}()
	t.Cleanup(func() {
		stop()
		<-done // however it ended
		endManager()
		endVitals()
		closeAgent()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *watched) page(path string) (int, string) {
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", w.port, path))
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// says waits until both pages have a status and, where it is not 200, a reason.
func (w *watched) says(what string, health, ready int, reason string) {
	w.t.Helper()
	stationtest.Eventually(w.t, fmt.Sprintf("%s: healthy %d, ready %d, %q", what, health, ready, reason), func() bool {
		h, hText := w.page("/healthz")
		r, rText := w.page("/readyz")
		return h == health && r == ready && (h == 200 || strings.Contains(hText, reason)) && (r == 200 || strings.Contains(rText, reason))
	})
	_, text := w.page("/metrics")
	yes := map[bool]int{true: 1}
	for name, code := range map[string]int{"usbkeyd_healthy": health, "usbkeyd_ready": ready} {
		if want := fmt.Sprintf("\n%s %d\n", name, yes[code == 200]); !strings.Contains(text, want) {
			w.t.Errorf("%s: the metrics have no line %q", what, strings.TrimSpace(want))
		}
	}
}

// TestHealthTellsTheTruth: a server that cannot be reached makes the station not ready, a
// journal that cannot be written and a loop that is really held up make it unhealthy, and
// each ends with its cause. The watchdog is fed while the loop goes on, and not while it is
// held up.
func TestHealthTellsTheTruth(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notified.Close() })
	manager := &heard{from: notified}
	go manager.listen()
	w := newWatched(t, socket)
	w.says("at work", 200, 200, "")
	manager.wait(t, "READY=1", 1)
	manager.wait(t, "WATCHDOG=1", 3)
	manager.wait(t, "STATUS=ready; 0 jobs at work, 0 waiting", 1)

	w.server.set(true)
	w.says("cut off", 200, 503, "the central server has not answered")
	w.server.set(false)
	w.says("reached again", 200, 200, "")

	db, err := sql.Open("sqlite", "file:"+w.Journal()+"?_txlock=immediate&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	w.says("a journal that is locked", 503, 503, "the journal cannot be written")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	w.says("a journal that is free", 200, 200, "")

	until := make(chan struct{})
	w.hold <- until
	w.Central.Order(t, 1)
	w.says("a loop that is held up", 503, 503, "it is stuck")
	manager.wait(t, "STATUS=unhealthy", 1)
	fed := manager.count("WATCHDOG=1")
	time.Sleep(3 * time.Second) // it would have been fed six times
	if n := manager.count("WATCHDOG=1"); n != fed {
		t.Errorf("the watchdog was fed %d times while the loop was held up", n-fed)
	}
	close(until)
	w.says("a loop that goes on", 200, 200, "")
	manager.wait(t, "WATCHDOG=1", fed+1)
	stationtest.Eventually(t, "the job", func() bool {
		_, text := w.page("/metrics")
		return strings.Contains(text, `usbkeyd_jobs_ended_total{state="finished",step="finish"} 1`)
	})
	_, text := w.page("/metrics")
	for _, line := range []string{
		`usbkeyd_step_seconds_count{model="SoftHSM v2",step="generate-key"} 1`, `usbkeyd_step_seconds_count{model="SoftHSM v2",step="finish"} 1`,
		`usbkeyd_module_up{module="bay-01"} 1`, `usbkeyd_journal_writable 1`, `usbkeyd_jobs_late 0`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s\n%s", line, text)
		}
	}
	unit := string(w.Central.Units(t)[0].UnitId)
	for _, private := range []string{unit, *w.Central.Units(t)[0].TokenSerial, "示例客车", "经办人甲"} {
		if strings.Contains(text, private) {
			t.Errorf("the metrics have %s in them", private)
		}
	}
}

// heard is what a service manager was told.
type heard struct {
	from *net.UnixConn
	mu   sync.Mutex
	said []string
}

func (h *heard) listen() {
	b := make([]byte, 4096)
	for {
		n, err := h.from.Read(b)
		if err != nil {
			return
		}
		h.mu.Lock()
		h.said = append(h.said, strings.TrimSpace(string(b[:n])))
		h.mu.Unlock()
	}
}

// count is how many datagrams began so.
func (h *heard) count(begins string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.said {
		if strings.HasPrefix(s, begins) {
			n++
		}
	}
	return n
}

func (h *heard) wait(t *testing.T, begins string, times int) {
	t.Helper()
	stationtest.Eventually(t, fmt.Sprintf("the manager to hear %q %d times", begins, times), func() bool { return h.count(begins) >= times })
}

// TestLookTriesToWrite: a journal that can be read and not written is no healthy one, until it
// can be written again.
func TestLookTriesToWrite(t *testing.T) {
	dir := t.TempDir()
	journal, err := provision.OpenJournal(journalPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = journal.Close() }()
	v := newVitals(&config.Station{StateDir: dir}, journal)
	v.agent = &agent.Agent{} // that has not begun
	beside, err := sql.Open("sqlite", journalPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = beside.Close() }()
	for _, step := range []struct {
		change string
		well   bool
	}{
		{"SELECT 1", true},
		{"CREATE TRIGGER no_room BEFORE INSERT ON room BEGIN SELECT RAISE(ABORT, 'there is no room'); END", false},
		{"DROP TRIGGER no_room", true},
	} {
		if _, err := beside.Exec(step.change); err != nil {
			t.Fatal(err)
		}
		v.look(t.Context())
		said := strings.Join(v.healthy(), "; ")
		if (said == "") != step.well || !step.well && !strings.Contains(said, "there is no room") {
			t.Errorf("after %s: %q", step.change, said)
		}
	}
}
