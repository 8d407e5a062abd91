package crashmatrix

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// program is which of the two dies.
type program string

const (
	daemon  program = "usbkeyd"
	central program = "usbkey-central"
)

// cell is one life of a unit, with one program killed at a point, and perhaps once
// more at another while it recovers.
type cell struct {
	program program
	setting setting
	kills   []point
}

func (c cell) String() string {
	name := string(c.program) + "/" + c.setting.name
	for _, k := range c.kills {
		name += "/" + strings.ReplaceAll(k.String(), "/", "|")
	}
	return strings.ReplaceAll(name, " ", "_")
}

// parseCell finds the cell that has a name.
func parseCell(name string) (cell, error) {
	part := strings.Split(strings.ReplaceAll(name, "_", " "), "/")
	if len(part) < 2 || part[0] != string(daemon) && part[0] != string(central) {
		return cell{}, fmt.Errorf("%q names no cell", name)
	}
	c := cell{program: program(part[0])}
	at := slices.IndexFunc(settings(c.program), func(s setting) bool { return s.name == part[1] })
	if at < 0 {
		return cell{}, fmt.Errorf("%q names no setting of %s", part[1], c.program)
	}
	c.setting = settings(c.program)[at]
	for _, kill := range part[2:] {
		p, err := parsePoint(strings.ReplaceAll(kill, "|", "/"))
		if err != nil {
			return cell{}, err
		}
		c.kills = append(c.kills, p)
	}
	return c, nil
}

// run runs a cell. It returns the points that each run of the program that dies has
// passed: the first run up to the kill, then the recovery; and all labels that either
// program has passed.
func (c cell) run(t testing.TB) (runs [][]point, labels map[crashpoint.Label]bool) {
	t.Helper()
	w := newWorld(t, c.setting)
	if c.program == daemon {
		c.killDaemon(w)
		runs = w.passed(daemon)
	} else {
		c.killServer(w)
		runs = w.passed(central) // what the checks ask for is no part of it
	}
	w.checkEnd()
	if err := w.server.Stop(); err != nil {
		t.Errorf("the server did not stop cleanly: %v\n%s", err, stationtest.Tail(w.serverLog()))
	}
	w.checkFiles()
	if t.Failed() {
		t.Logf("usbkeyd:\n%s\nusbkey-central:\n%s", stationtest.Tail(w.daemonLog()), stationtest.Tail(w.serverLog()))
	}
	labels = map[crashpoint.Label]bool{}
	for _, points := range append(w.passed(daemon), w.passed(central)...) {
		for _, p := range points {
			labels[p.label] = true
		}
	}
	return runs, labels
}

// killDaemon runs the daemon into its kills, and then until nothing is left to do.
func (c cell) killDaemon(w *world) {
	w.t.Helper()
	w.startServer()
	w.enrol()
	w.firstRun()
	for _, k := range c.kills {
		w.dieAt(k)
		if k.moment == crashpoint.AfterIt { // the others are started again at once
			w.checkDead()
		}
	}
	if len(c.kills) > 0 && c.setting.person == nil { // who may want a daemon after it has no work
		// A job that ended badly has another exit code; checkEnd judges it.
		if err := w.startDaemon(nil, "--drain").Wait(); err != nil && !c.setting.mayEndBadly() {
			w.t.Fatalf("the last run: %v\n%s", err, stationtest.Tail(w.daemonLog()))
		}
		w.eventually("nothing to be left", w.settled)
		return
	}
	p := w.startDaemon(nil)
	w.eventually("the start of the daemon", func() bool { return passedLabel(w.t, w.daemonTrace(w.runs), "PUT /v1/session") }) // all may be done
	w.eventually("the end of the job", w.settled)
	if c.setting.first() {
		w.eventually("a heartbeat", func() bool { return passedLabel(w.t, w.daemonTrace(w.runs), "POST /v1/heartbeat") })
	}
	if err := p.Stop(); err != nil {
		w.t.Errorf("the daemon did not stop cleanly: %v\n%s", err, stationtest.Tail(w.daemonLog()))
	}
}

// killServer has all that a server is asked for in a unit's life asked of one that
// dies, and is started again, meanwhile.
func (c cell) killServer(w *world) {
	w.t.Helper()
	w.later = slices.Clone(c.kills)
	w.startServer()
	c.liveThrough(w)
	// What dies late is given a moment; what is not reached by then never will be.
	for until := time.Now().Add(time.Second); w.at != nil && time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		w.revive()
	}
	if w.at != nil {
		w.t.Fatalf("%s was not reached\n%s", w.at, stationtest.Tail(w.serverLog()))
	}
}

// liveThrough is the life of a unit, and every question that can be asked about it.
func (c cell) liveThrough(w *world) {
	w.t.Helper()
	w.enrol()
	w.try("GET /meta", w.meta)
	w.firstRun()
	w.daemon = w.startDaemon(nil)
	w.eventually("the end of the job", w.settled)
	waits := len(c.kills) == 0 && c.setting.first() || slices.ContainsFunc(c.kills, func(k point) bool { return strings.Contains(strings.ToLower(string(k.label)), "heartbeat") })
	if waits {
		w.eventually("a heartbeat", func() bool { return passedLabel(w.t, w.daemonTrace(w.runs), "POST /v1/heartbeat") })
		w.eventually("its answer", func() bool { return passedLabel(w.t, w.serverTrace(w.starts), "PostHeartbeat") })
	}
	// Where nothing is killed there, the record comes with the daemon's end.
	if slices.ContainsFunc(c.kills, func(k point) bool { return k.label == "PutRecord" || k.label == "keep the record of station *" }) {
		w.eventually("some of the record to be at the server", func() bool { return w.count("SELECT COUNT(*) FROM record_entries") > 0 })
	}
	if err := w.daemon.Stop(); err != nil {
		w.t.Errorf("the daemon did not stop cleanly: %v\n%s", err, stationtest.Tail(w.daemonLog()))
	}
	w.ask()
}

// firstRun is all that happens before the run of the daemon that the cell is about.
func (w *world) firstRun() {
	w.t.Helper()
	if w.setting.caAway {
		w.sendCAAway()
	}
	if w.setting.dies != nil {
		w.dieAt(*w.setting.dies)
		w.childGone()
		w.setting.meanwhile(w)
	}
}

// dieAt runs the daemon until it dies.
func (w *world) dieAt(k point) {
	w.t.Helper()
	p := w.startDaemon(&k)
	w.eventually(k.String()+" to be reached", func() bool { return !p.Alive() })
	if !p.Killed() {
		w.t.Fatalf("%s was not reached\n%s", k, stationtest.Tail(w.daemonLog()))
	}
}

func passedLabel(t testing.TB, trace string, label crashpoint.Label) bool {
	return slices.ContainsFunc(passed(t, trace), func(p point) bool { return p.label == label && p.moment == crashpoint.AfterIt })
}

// enrol makes the station known and submits an order of one key.
func (w *world) enrol() {
	w.t.Helper()
	w.try("enrol the station", func() error { return w.access.Admin.AddStation(w.t.Context(), "sample-station", w.access.StationDir) })
	id, document := centraltest.SampleOrder(w.t, 1)
	w.try("submit the order", func() error {
		_, _, err := w.access.Admin.PutOrder(w.t.Context(), id, document)
		return err
	})
}

// ask asks every question of the administration.
func (w *world) ask() {
	w.t.Helper()
	ctx, admin := w.t.Context(), w.access.Admin
	order, unit := w.order()
	questions := []struct {
		name string
		ask  func() error
	}{
		{"stations", func() error { _, err := admin.Stations(ctx); return err }},
		{"records", func() error { _, err := admin.Records(ctx, "sample-station"); return err }},
		{"entries of a record", func() error { _, err := admin.RecordEntries(ctx, "sample-station", uuid.Nil.String()); return err }},
		{"orders", func() error { _, err := admin.Orders(ctx); return err }},
		{"order", func() error { _, err := admin.Order(ctx, order); return err }},
		{"units", func() error { _, err := admin.Units(ctx, "", ""); return err }},
		{"unit", func() error { _, err := admin.Unit(ctx, unit); return err }},
		{"certificates", func() error { _, err := admin.Certificates(ctx); return err }},
		{"history", func() error { _, err := admin.History(ctx, unit); return err }},
		{"decisions", func() error { _, err := admin.Decisions(ctx); return err }},
		{"escrows", func() error { _, err := admin.Escrows(ctx, "", unit); return err }},
		{"events", func() error { _, err := admin.Events(ctx, 0); return err }},
		{"revocation list", w.revocationList},
		{"flags", func() error {
			_, err := admin.FlagOrder(ctx, order, api.OrderFlags{Hold: true, Urgent: true})
			return err
		}},
		{"drain", func() error { _, err := admin.DrainStation(ctx, "sample-station", true); return err }},
		{"reset", func() error { _, err := admin.ResetStation(ctx, "sample-station"); return err }},
	}
	for _, q := range questions {
		w.try(q.name, q.ask)
	}
	if w.count("SELECT COUNT(*) FROM units WHERE state = 'INSTALLED'") == 1 {
		w.try("sealed PIN", func() error { _, err := admin.SealedPIN(ctx, unit); return err })
		w.try("sealed SO PIN", func() error { return w.sealedSOPIN(unit) })
	}
	w.try("revoke the station", func() error { _, err := admin.RevokeStation(ctx, "sample-station"); return err })
}

// sealedSOPIN asks for the envelope of a unit's escrow, as a recovery officer does.
func (w *world) sealedSOPIN(unit string) error {
	escrows, err := w.access.Admin.Escrows(w.t.Context(), "", unit)
	if err != nil || len(escrows) == 0 {
		return errors.Join(err, errors.New("no SO PIN in escrow"))
	}
	_, err = w.access.Admin.SealedSOPIN(w.t.Context(), escrows[0].EscrowId)
	return err
}

// order is the id of the order and of its one unit.
func (w *world) order() (order, unit string) {
	w.t.Helper()
	order, _ = centraltest.SampleOrder(w.t, 1)
	return order, order + "-001"
}

// revocationList asks for the CA's list, as whoever checks a certificate does.
func (w *world) revocationList() error {
	token, err := os.ReadFile(filepath.Join(w.access.DataDir, "admin.token"))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+w.admin+"/v1/crls/ecdsa", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return err
	}
	der, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	_, err = x509.ParseRevocationList(der)
	return err
}

// meta asks which protocol is spoken, as a new station does.
func (w *world) meta() error {
	root, err := os.ReadFile(filepath.Join(w.access.StationDir, "central-root.pem"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(root) {
		return errors.New("no root")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.access.URL+"/meta", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// childGone waits until no process of a module is at work any more, as the next
// daemon does.
func (w *world) childGone() {
	w.t.Helper()
	for i := range w.Bays {
		path := filepath.Join(w.State(), "modules", bayName(i)+".lock")
		if _, err := os.Stat(path); err != nil {
			continue
		}
		w.eventually("the module's process to end", func() bool {
			lock, err := filelock.Exclusive(path)
			if err != nil {
				return false
			}
			return lock.Close() == nil
		})
	}
}

// bayName is what the configuration calls a bay.
func bayName(i int) string { return fmt.Sprintf("bay-%02d", i+1) }
