package soak

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// bays is how many tokens there are at a time.
const bays = 4

// keep is how long the journal keeps all of a key that has left: short, so that a run of
// minutes is one of years.
const keep = 5 * time.Second

// world is a central server and a daemon, each in a process of its own, and people at the bays.
type world struct {
	t      testing.TB
	access centraltest.Access
	*stationtest.Station
	shims     []pkcs11test.Shim
	recipient string // PEM files: who may open both PINs
	officer   string // and who SO PINs too
	host      string
	station   string // host:port of the server's listeners
	admin     string
	server    *stationtest.Process
	daemon    *stationtest.Process
	port      int // of the daemon's metrics
	client    *http.Client
	dir       string
	orders    int
	parcels   int
	taken     map[string]bool // jobs whose token was taken out
	packed    map[string]bool // orders whose parcel has left
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "soak-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	// A restarted server gets its ports back: whoever dials out does so from 127.0.0.1.
	host := fmt.Sprintf("127.%d.%d.%d", 16+rand.IntN(200), rand.IntN(256), 1+rand.IntN(250))
	w := &world{
		t: t, access: centraltest.NewAccess(t, dir), dir: dir, host: host, station: host + ":0", admin: host + ":0",
		recipient: filepath.Join(dir, "recipient.pem"), officer: filepath.Join(dir, "officer.pem"),
		client: &http.Client{Timeout: 5 * time.Second}, taken: map[string]bool{}, packed: map[string]bool{},
	}
	for path, cert := range map[string]*x509.Certificate{w.recipient: w.access.Recipient, w.officer: w.access.SecondOfficer} {
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.startServer()
	w.enrol()
	return w
}

// startServer starts the server, again where it was before.
func (w *world) startServer() {
	w.t.Helper()
	ready := func(line string) bool {
		what, where, _ := strings.Cut(line, ": ")
		if u, err := url.Parse(where); err == nil {
			switch what {
			case "stations":
				w.station = u.Host
			case "administration":
				w.admin = u.Host
			}
		}
		return what == "administration" // it comes last
	}
	w.server = launch(w.t, "usbkey-central", filepath.Join(w.dir, "central.log"), ready,
		"--data", w.access.DataDir, "serve", "--listen", w.station, "--admin-listen", w.admin, "--name", w.host,
		"--pin-recipient", w.recipient, "--so-pin-recipient", w.recipient, "--so-pin-recipient", w.officer, "--lease-seconds", "20")
}

// enrol configures the station, with a module before each token that misbehaves on order.
func (w *world) enrol() {
	t := w.t
	t.Helper()
	token, err := os.ReadFile(filepath.Join(w.access.DataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	w.access.URL = "https://" + w.station + "/v1"
	if w.access.Admin, err = adminclient.New("http://"+w.admin+"/v1", strings.TrimSpace(string(token))); err != nil {
		t.Fatal(err)
	}
	if err := w.access.Admin.AddStation(t.Context(), "sample-station", w.access.StationDir); err != nil {
		t.Fatal(err)
	}
	work := filepath.Join(w.dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	w.port = freePort(t)
	more := fmt.Sprintf("metrics: {port: %d}\npacking: {verify: never}\njournal: {keep: %s}\ntokenProfiles:\n", w.port, keep)
	for _, profile := range []string{"softhsm2, match: {manufacturer: SoftHSM project, model: SoftHSM v2}", "opencryptoki-soft, match: {manufacturer: none, model: none}", "ykcs11, match: {manufacturer: none, model: none}"} {
		more += fmt.Sprintf("  - {name: %s, deadlines: {keyGeneration: 5s, init: 5s, call: 2s}}\n", profile)
	}
	w.Station = stationtest.New(t, &w.access, work, bays, "ec-p256", more)
	text, err := os.ReadFile(w.Config)
	if err != nil {
		t.Fatal(err)
	}
	for i, bay := range w.Bays {
		shim := pkcs11test.NewShim(t, bay).Alone(t)
		w.shims = append(w.shims, shim)
		name := fmt.Sprintf("name: bay-%02d, ", i+1)
		text = bytes.Replace(text, fmt.Appendf(nil, "%spath: %q", name, bay.Path), fmt.Appendf(nil, "%strust: owner, path: %q", name, shim.Path), 1)
	}
	if n := bytes.Count(text, []byte("trust: owner")); n != bays {
		t.Fatalf("%d of %d modules are behind a shim\n%s", n, bays, text)
	}
	if err := os.WriteFile(w.Config, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func (w *world) startDaemon() {
	w.t.Helper()
	w.daemon = launch(w.t, "usbkeyd", filepath.Join(w.dir, "usbkeyd.log"), nil, "--config", w.Config, "run", "--log", filepath.Join(w.dir, "usbkeyd.json"))
	stationtest.Eventually(w.t, "the daemon's metrics", func() bool {
		if !w.daemon.Alive() {
			w.t.Fatalf("the daemon ended: %v\n%s", w.daemon.Err(), w.daemon.Tail())
		}
		_, ok := w.scrape("go_goroutines")
		return ok
	})
}

// enough is how many units wait at least.
const enough = 2 * bays

// order submits orders of one to three keys until enough units wait. A server that is being
// restarted is asked again later.
func (w *world) order(r *rand.Rand) {
	waiting := stationtest.Count(filepath.Join(w.access.DataDir, "central.db"), "SELECT COUNT(*) FROM units WHERE state = 'READY'")
	for ; waiting < enough; waiting += 3 {
		n := 1 + r.IntN(3)
		first, document := centraltest.SampleOrder(w.t, n)
		w.orders++
		id := fmt.Sprintf("SOAK-2026-%04d", w.orders)
		document = bytes.ReplaceAll(document, []byte(first), []byte(id))
		if _, _, err := w.access.Admin.PutOrder(w.t.Context(), id, document); err != nil {
			w.orders--
			return
		}
	}
}

// exchange takes every token out that is finished or quarantined and puts a blank one in its
// place. The module dies of it, so that another process finds the blank.
func (w *world) exchange() (n int) {
	for _, rec := range w.Records() {
		if s := string(rec.State); s != "finished" && s != "quarantined" || w.taken[rec.Job.ID] {
			continue
		}
		w.taken[rec.Job.ID] = true
		var bay int
		if _, err := fmt.Sscanf(rec.Token.Module, "bay-%02d", &bay); err != nil {
			w.t.Fatal(err)
		}
		found, err := filepath.Glob(filepath.Join(w.Bays[bay-1].Dir, "tokens", "*"))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range found {
			if err := os.RemoveAll(f); err != nil {
				w.t.Fatal(err)
			}
		}
		w.shims[bay-1].Rules(w.t, "*#1 segv")
		n++
	}
	return n
}

// packedKeys is how many keys have left in parcels.
func (w *world) packedKeys() (n int) {
	for _, rec := range w.Records() {
		if string(rec.State) == "finished" && w.packed[rec.Job.Subject.OrderID] {
			n++
		}
	}
	return n
}

// pack puts the keys of one order, if all are ready, into a parcel, as a person does beside the
// daemon. What cannot be done now, such as without a server, is tried again later.
func (w *world) pack() {
	w.t.Helper()
	pack := func(args ...string) bool {
		return launch(w.t, "usbkeyd", filepath.Join(w.dir, "pack.log"), nil, append([]string{"--config", w.Config, "pack"}, args...)...).Wait() == nil
	}
	serials := map[string][]string{}
	of := map[string]int{}
	for _, rec := range w.Records() {
		if order := rec.Job.Subject.OrderID; string(rec.State) == "finished" && !w.packed[order] {
			serials[order] = append(serials[order], string(rec.Token.Identity.Serial))
			of[order] = rec.Job.Subject.Of
		}
	}
	for order, keys := range serials {
		if len(keys) != of[order] {
			continue
		}
		ready := stationtest.Count(w.Journal(), `SELECT COUNT(*) FROM evidence e JOIN job ON job.id = e.job_id
			WHERE json_extract(job.job, '$.Subject.OrderID') = $1 AND e.statement IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM report WHERE report.job_id = job.id AND report.sent_at IS NULL)`, order)
		if ready != len(keys) || !pack("open", "--by", "packer-1", order) {
			continue
		}
		done := true
		for _, serial := range keys {
			done = pack("scan", "--by", "packer-1", serial) && done
		}
		w.parcels++
		done = pack("waybill", "--by", "packer-1", fmt.Sprintf("SF%012d", w.parcels)) && done
		if !pack("close", "--by", "packer-1") || !done {
			w.t.Fatalf("the parcel of %s cannot be closed\n%s", order, stationtest.Tail(filepath.Join(w.dir, "pack.log")))
		}
		w.packed[order] = true
		return
	}
}

// check: no unit has two certificates, every finished job is a unit that the server has as
// installed or on its way, and nothing of the station's record is missing.
func (w *world) check() {
	w.t.Helper()
	issued, err := w.access.Admin.Certificates(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	certificates, keys := map[string]int{}, map[string]int{}
	for _, c := range issued {
		certificates[c.UnitId]++
		keys[c.PublicKeySha256]++
	}
	units := map[string]api.UnitStateName{}
	for _, u := range w.access.Units(w.t) {
		units[u.UnitId] = u.State
	}
	for unit, n := range certificates {
		if n != 1 {
			w.t.Errorf("unit %s has %d certificates", unit, n)
		}
	}
	for key, n := range keys {
		if n != 1 {
			w.t.Errorf("key %s has %d certificates", key, n)
		}
	}
	for _, rec := range w.Records() {
		if s := units[rec.Job.UnitID()]; rec.State == "finished" && s != api.INSTALLED && s != api.SHIPPED {
			w.t.Errorf("unit %s is finished here, and %s at the server", rec.Job.UnitID(), s)
		}
	}
	w.CheckRecord()
}
