package crashmatrix

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// world is a central server in a process of its own, a station and its tokens.
type world struct {
	t      testing.TB
	access centraltest.Access
	*stationtest.Station
	setting            setting
	lease              int
	recipient, officer string // PEM files: who may open both PINs, and who SO PINs too
	host               string // where the server listens
	station            string // host:port of its listeners
	admin              string
	server             *stationtest.Process
	at                 *point  // where the server is to die
	later              []point // and where after that
	starts             int     // of the server
	daemon             *stationtest.Process
	runs               int // of the daemon
}

// newHost is a loopback address for one world. A restarted server gets its ports back:
// whoever dials out does so from 127.0.0.1, and no other server listens there.
func newHost() string {
	return fmt.Sprintf("127.%d.%d.%d", 16+rand.IntN(200), rand.IntN(256), 1+rand.IntN(250))
}

// blankServer is the data directory of a server that was started once and knows nobody:
// its keys take a while to make.
var blankServer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp(memory(), "crashmatrix-server-")
	return filepath.Join(dir, "central"), err
})

var makeBlankServer sync.Mutex

func newWorld(t testing.TB, set setting) *world {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "crashmatrix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	host := newHost()
	w := &world{t: t, access: centraltest.NewAccess(t, dir), setting: set, lease: set.lease, host: host, station: host + ":0", admin: host + ":0"}
	w.recipient = filepath.Join(dir, "recipient.pem")
	w.officer = filepath.Join(dir, "officer.pem")
	for path, cert := range map[string]*x509.Certificate{w.recipient: w.access.Recipient, w.officer: w.access.SecondOfficer} {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !set.newServer {
		w.copyServer()
	}
	return w
}

// copyServer gives the server a data directory as after its first start.
func (w *world) copyServer() {
	w.t.Helper()
	from, err := blankServer()
	if err != nil {
		w.t.Fatal(err)
	}
	makeBlankServer.Lock()
	defer makeBlankServer.Unlock()
	if _, err := os.Stat(from); err != nil {
		first := launch(w.t, "usbkey-central", from+".log", from+".trace", nil, announces(nil, nil), w.serve(from)...)
		if err := first.Stop(); err != nil {
			w.t.Fatalf("first start of the server: %v\n%s", err, stationtest.Tail(from+".log"))
		}
	}
	if err := os.CopyFS(w.access.DataDir, os.DirFS(from)); err != nil {
		w.t.Fatal(err)
	}
	// CopyFS makes files as the umask has it; keys must be their owner's alone.
	err = filepath.Walk(w.access.DataDir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if info.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) serve(data string) []string {
	return []string{
		"--data", data, "serve", "--listen", w.station, "--admin-listen", w.admin, "--name", w.host,
		"--pin-recipient", w.recipient, "--so-pin-recipient", w.recipient, "--so-pin-recipient", w.officer, "--lease-seconds", fmt.Sprint(w.lease),
	}
}

// announces recognises the lines in which a server says where it listens; the second
// one comes when it is ready.
func announces(station, admin *string) func(string) bool {
	return func(line string) bool {
		what, where, _ := strings.Cut(line, ": ")
		if u, err := url.Parse(where); err == nil && station != nil && admin != nil {
			switch what {
			case "stations":
				*station = u.Host
			case "administration":
				*admin = u.Host
			}
		}
		return what == "administration"
	}
}

// startServer starts the server, again where it was before.
func (w *world) startServer() {
	w.t.Helper()
	w.starts++
	w.at = nil
	if len(w.later) > 0 {
		w.at, w.later = &w.later[0], w.later[1:]
	}
	w.server = launch(w.t, "usbkey-central", w.serverLog(), w.serverTrace(w.starts), w.at, announces(&w.station, &w.admin), w.serve(w.access.DataDir)...)
	if w.Station != nil {
		return
	}
	if !w.server.Alive() {
		w.revive() // it has died on its first start
		return
	}
	token, err := os.ReadFile(filepath.Join(w.access.DataDir, "admin.token"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.access.URL = "https://" + w.station + "/v1"
	if w.access.Admin, err = adminclient.New("http://"+w.admin+"/v1", strings.TrimSpace(string(token))); err != nil {
		w.t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(w.access.DataDir), "work")
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.Station = stationtest.New(w.t, &w.access, dir, max(1, w.setting.bays), "ec-p256", w.setting.profiles(w.t, dir))
	if w.setting.token != nil {
		w.setting.token(w)
	}
}

// revive starts the server again when it has died as it was to.
func (w *world) revive() {
	w.t.Helper()
	if w.server.Alive() {
		return
	}
	if w.at == nil || !w.server.Killed() {
		w.t.Fatalf("the server ended by itself: %v\n%s", w.server.Err(), stationtest.Tail(w.serverLog()))
	}
	w.startServer()
}

func (w *world) serverLog() string {
	return filepath.Join(filepath.Dir(w.access.DataDir), "central.log")
}

func (w *world) serverTrace(n int) string {
	return filepath.Join(filepath.Dir(w.access.DataDir), fmt.Sprintf("central-%d.trace", n))
}

func (w *world) daemonLog() string { return filepath.Join(w.Dir, "usbkeyd.log") }

func (w *world) daemonTrace(n int) string {
	return filepath.Join(w.Dir, fmt.Sprintf("usbkeyd-%d.trace", n))
}

// passed are the points that each run of a program has passed so far.
func (w *world) passed(p program) (runs [][]point) {
	w.t.Helper()
	n, trace := w.runs, w.daemonTrace
	if p == central {
		n, trace = w.starts, w.serverTrace
	}
	for i := range n {
		runs = append(runs, passed(w.t, trace(i+1)))
	}
	return runs
}

// startDaemon starts the daemon; more are flags of run.
func (w *world) startDaemon(at *point, more ...string) *stationtest.Process {
	w.t.Helper()
	w.runs++
	args := append([]string{"--config", w.Config, "run", "--log", "-", "--log-level", "debug"}, more...)
	return launch(w.t, "usbkeyd", w.daemonLog(), w.daemonTrace(w.runs), at, nil, args...)
}

// count asks the server's database, beside the server.
func (w *world) count(query string, args ...any) int {
	return stationtest.Count(filepath.Join(w.access.DataDir, "central.db"), query, args...)
}

// settled reports that the unit was installed, cancelled or given back, and that the
// station has nothing left to do or to say.
func (w *world) settled() bool {
	const open = "SELECT COUNT(*) FROM job WHERE state IN ('queued', 'running', 'parked')"
	over := w.setting.over
	if over == nil {
		over = func(w *world) bool {
			return w.count("SELECT COUNT(*) FROM units WHERE state IN ('INSTALLED', 'CANCELLED') OR attempts > 0") == 1
		}
	}
	return over(w) && stationtest.Count(w.Journal(), open) == 0 &&
		stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report WHERE sent_at IS NULL") == 0
}

// try repeats a call of the administration until it is answered: the server may be
// dead, and be started again meanwhile.
func (w *world) try(what string, call func() error) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for err := call(); err != nil; err = call() {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: %v\n%s", what, err, stationtest.Tail(w.serverLog()))
		}
		w.revive()
		time.Sleep(20 * time.Millisecond)
	}
}

// eventually waits until something holds that happens elsewhere, with the server kept
// alive and the setting's person at work.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !stationtest.Look(25*time.Millisecond, holds) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain for %s\nusbkeyd:\n%s\nusbkey-central:\n%s", what, stationtest.Tail(w.daemonLog()), stationtest.Tail(w.serverLog()))
		}
		w.revive()
		if w.setting.person != nil {
			w.setting.person(w)
		}
	}
}
