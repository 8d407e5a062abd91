package agent

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/provision"
)

const enrolled = "sample-station"

// acts are the entries that the server has of the rig's installation.
func (r *rig) acts() []string {
	r.t.Helper()
	lines, err := r.central.Admin.RecordEntries(r.t.Context(), enrolled, r.config.InstanceID)
	if err != nil {
		r.t.Fatal(err)
	}
	return lines
}

// kinds are theirs.
func (r *rig) kinds() (out []audit.Kind) {
	r.t.Helper()
	for _, line := range r.acts() {
		e, err := audit.Decode([]byte(line))
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, e.Kind)
	}
	return out
}

// shut closes the journal, so that its file can be handled, and reopens it with open.
func (r *rig) shut() string {
	r.t.Helper()
	if err := r.journal.Close(); err != nil {
		r.t.Fatal(err)
	}
	return filepath.Join(r.dir, "journal.db")
}

// TestRecordIsAnchored: after a run the server has every entry, and the station its signature.
func TestRecordIsAnchored(t *testing.T) {
	r := newRig(t, 2, time.Minute)
	r.order(2)
	if summary, err := r.run(t.Context()); err != nil || summary.Finished != 2 {
		t.Fatalf("%+v (%v)", summary, err)
	}
	kinds := r.kinds()
	installed := 0
	for _, k := range kinds {
		if k == audit.KindInstalled {
			installed++
		}
	}
	if kinds[0] != audit.KindSession || installed != 2 {
		t.Errorf("the server has %v", kinds)
	}
	size, err := r.journal.RecordSize()
	if err != nil || int(size) != len(kinds) {
		t.Errorf("the station has %d entries, the server %d (%v)", size, len(kinds), err)
	}
	kept, err := r.journal.Anchor()
	if err != nil {
		t.Fatal(err)
	}
	c, err := audit.Keys{Central: r.config.Record.Central}.OpenCosigned(kept, audit.Origin(enrolled, r.config.InstanceID))
	if err != nil || c.Size != size {
		t.Fatalf("the anchor is of %d entries: %v", c.Size, err)
	}
	if _, err := audit.Verify(r.journal.Record(), c); err != nil {
		t.Error(err)
	}
	// What was not sent before a stop is sent by the next run.
	if err := r.journal.Witness(audit.Entry{Kind: audit.KindRefusal}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := r.kinds(); len(now) != len(kinds)+2 || now[len(kinds)] != audit.KindRefusal {
		t.Errorf("the server has %v", now)
	}
}

// TestBrokenRecordStopsTheStation: a disk that was put back, or a record that was edited
// in any way, is noticed before anything is claimed.
func TestBrokenRecordStopsTheStation(t *testing.T) {
	edit := func(queries ...string) func(*rig, string, string) {
		return func(r *rig, path, _ string) {
			db, err := sql.Open("sqlite", path)
			if err != nil {
				r.t.Fatal(err)
			}
			for _, q := range queries {
				if _, err := db.Exec(q); err != nil {
					r.t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for name, harm := range map[string]func(r *rig, path, older string){
		"the disk put back": func(r *rig, path, older string) {
			data, err := os.ReadFile(older)
			if err == nil {
				err = os.WriteFile(path, data, 0o600)
			}
			if err != nil {
				r.t.Fatal(err)
			}
		},
		"an entry edited":                     edit(`UPDATE record SET line = replace(line, '"epoch":1', '"epoch":2') WHERE n = 3`),
		"the last entries cut off":            edit(`DELETE FROM record WHERE n > 4`),
		"the record removed":                  edit(`DELETE FROM record`),
		"the record and the anchor removed":   edit(`DELETE FROM record`, `DELETE FROM anchor`),
		"the anchor edited":                   edit(`UPDATE anchor SET note = replace(note, 'usbkeyd', 'usbkeye')`),
		"an entry at the end, with no hashes": edit(`INSERT INTO record VALUES ((SELECT MAX(n) + 1 FROM record), '{}', x'')`),
		"an old entry edited, anchor removed": edit(`UPDATE record SET line = replace(line, '"epoch":1', '"epoch":2') WHERE n = 3`, `DELETE FROM anchor`),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 2, time.Minute)
			r.order(1)
			older := filepath.Join(t.TempDir(), "older.db")
			if _, err := r.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			db, err := sql.Open("sqlite", filepath.Join(r.dir, "journal.db"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec("VACUUM INTO $1", older); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.run(t.Context()); err != nil { // one session more
				t.Fatal(err)
			}
			path := r.shut()
			harm(r, path, older)
			r.openState()
			r.orderMore(2)
			summary, err := r.run(t.Context())
			if !errors.Is(err, audit.ErrBroken) {
				t.Errorf("the station works on: %v", err)
			}
			if !slices.ContainsFunc(summary.Alarms, func(a Alarm) bool { return a.Code == AlarmRecord && a.Hint != "" }) {
				t.Errorf("alarms %+v", summary.Alarms)
			}
			ready := 0
			for _, u := range r.units() {
				if u.State == api.READY && u.Epoch == 0 {
					ready++
				}
			}
			if ready != 2 {
				t.Errorf("%d units are as they were, want 2", ready)
			}
		})
	}
}

// orderMore submits a second order.
func (r *rig) orderMore(n int) {
	r.t.Helper()
	const id = "SAMPLE-LATER"
	first, document := centraltest.SampleOrder(r.t, n)
	if _, _, err := r.central.Admin.PutOrder(r.t.Context(), id, bytes.ReplaceAll(document, []byte(first), []byte(id))); err != nil {
		r.t.Fatal(err)
	}
}

// TestAnAnchorOfAnotherInstallation: the installation's id was changed, so that the record
// would begin anew at the server.
func TestAnAnchorOfAnotherInstallation(t *testing.T) {
	r := newRig(t, 0, time.Minute)
	if err := r.journal.Witness(audit.Entry{Kind: audit.KindRefusal}); err != nil {
		t.Fatal(err)
	}
	if n, err := New(r.config).sendRecord(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := New(r.config).checkRecord(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.config.InstanceID = uuid.NewString()
	if err := New(r.config).checkRecord(t.Context()); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("got %v", err)
	}
}

// TestForkAtWork: somebody else adds to the record under this station's name while it
// works. It stops, with an alarm, and the server refuses the record from then on.
func TestForkAtWork(t *testing.T) {
	r := newRig(t, 1, 4*time.Second) // a heartbeat each second
	r.config.Drain, r.config.RecordInterval = false, 20*time.Millisecond
	var claims, broken, beats atomic.Int32
	r.throughProxy(func(_ http.ResponseWriter, req *http.Request) bool {
		switch {
		case strings.HasSuffix(req.URL.Path, "/heartbeat"):
			beats.Add(1)
		case strings.HasSuffix(req.URL.Path, "/claims"): // has no answer until the station breaks it off
			claims.Add(1)
			_, _ = io.Copy(io.Discard, req.Body)
			<-req.Context().Done()
			broken.Add(1)
			return true
		}
		return false
	})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	type end struct {
		Summary
		error
	}
	ended := make(chan end, 1)
	go func() {
		s, err := r.run(ctx)
		ended <- end{s, err}
	}()
	r.waitFor("the first entries, and a claim", func() bool { return len(r.acts()) > 0 && claims.Load() == 1 })
	config := r.config
	config.Runner.Journal = r.copyOfJournal()
	thief := New(config)
	if err := thief.Runner.Journal.Witness(audit.Entry{Kind: audit.KindDrain, Code: "thief"}); err != nil {
		t.Fatal(err)
	}
	thief.sent = int64(len(r.acts()))
	if n, err := thief.sendRecord(t.Context()); err != nil || n != 1 {
		t.Fatalf("the thief's entry: %d %v", n, err)
	}
	if err := r.journal.Witness(audit.Entry{Kind: audit.KindRefusal}); err != nil {
		t.Fatal(err)
	}
	r.waitFor("the fork", func() bool {
		stations, err := r.central.Admin.Stations(t.Context())
		return err == nil && stations[0].RecordForkedAt != nil
	})
	r.waitFor("the end of the claim", func() bool { return broken.Load() == 1 })
	// After each heartbeat the station looks whether there is something to do.
	heard := beats.Load()
	r.waitFor("more heartbeats", func() bool { return beats.Load() >= heard+3 })
	if n := claims.Load(); n != 1 {
		t.Errorf("it claimed %d times more", n-1)
	}
	stop()
	e := <-ended
	if !slices.ContainsFunc(e.Alarms, func(a Alarm) bool { return a.Code == AlarmRecord }) {
		t.Errorf("alarms %+v (%v)", e.Alarms, e.error)
	}
	// The next start says so at once.
	if _, err := r.run(t.Context()); !errors.Is(err, audit.ErrBroken) {
		t.Errorf("the next start: %v", err)
	}
}

// copyOfJournal opens a copy of the journal as it is now.
func (r *rig) copyOfJournal() *provision.Journal {
	r.t.Helper()
	path := filepath.Join(r.t.TempDir(), "copy.db")
	db, err := sql.Open("sqlite", filepath.Join(r.dir, "journal.db"))
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := db.Exec("VACUUM INTO $1", path); err != nil {
		r.t.Fatal(err)
	}
	if err := errors.Join(db.Close(), os.Chmod(path, 0o600)); err != nil {
		r.t.Fatal(err)
	}
	j, err := provision.OpenJournal(path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = j.Close() })
	return j
}

// TestAServerThatWasPutBackGetsTheRest: it has fewer entries than the station thinks.
func TestAServerThatWasPutBackGetsTheRest(t *testing.T) {
	r := newRig(t, 0, time.Minute)
	for range 5 {
		if err := r.journal.Witness(audit.Entry{Kind: audit.KindRefusal}); err != nil {
			t.Fatal(err)
		}
	}
	a := New(r.config)
	a.sent = 3
	if n, err := a.sendRecord(t.Context()); !isProblem(err, api.ProblemInvalidContent) || n != 0 {
		t.Fatalf("got %d, %v", n, err)
	}
	if n, err := a.sendRecord(t.Context()); err != nil || n != 5 || len(r.acts()) != 5 {
		t.Errorf("got %d, %v", n, err)
	}
}

// TestOldServersAndStrangeAnswers: a server without records is worked for, one whose
// checkpoints cannot be used is not.
func TestOldServersAndStrangeAnswers(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(w http.ResponseWriter)
		wrong  bool
	}{
		"no such operation": {func(w http.ResponseWriter) { http.NotFound(w, nil) }, false},
		"an unsigned checkpoint": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"size":1,"forked":false,"checkpoint":"usbkeyd/record/sample-station/x\n1\nAA==\n"}`))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, time.Minute)
			r.order(1)
			r.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
				if !strings.HasPrefix(req.URL.Path, "/v1/records/") {
					return false
				}
				row.answer(w)
				return true
			})
			summary, err := r.run(t.Context())
			if row.wrong != (err != nil) || !row.wrong && summary.Finished != 1 {
				t.Errorf("%+v (%v)", summary, err)
			}
			if row.wrong && (!errors.Is(err, errRecordAnswer) || errors.Is(err, audit.ErrBroken)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestWhatTheServerAnswers: a checkpoint that it has signed is believed only if it is of
// this very record.
func TestWhatTheServerAnswers(t *testing.T) {
	r := newRig(t, 0, time.Minute)
	key, err := keyfile.ReadKey(filepath.Join(r.central.DataDir, "station-root", "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(audit.Cosigner, key)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := r.journal.Witness(audit.Entry{Kind: audit.KindRefusal}); err != nil {
			t.Fatal(err)
		}
	}
	for name, row := range map[string]struct {
		size, sent int64
		change     func(*audit.Checkpoint)
		want       error
	}{
		"as it is":          {4, 4, func(*audit.Checkpoint) {}, nil},
		"more was there":    {4, 2, func(*audit.Checkpoint) {}, nil},
		"less than sent":    {2, 4, func(*audit.Checkpoint) {}, errRecordAnswer},
		"another root":      {4, 4, func(c *audit.Checkpoint) { c.Root[7] ^= 1 }, audit.ErrBroken},
		"more than is here": {4, 4, func(c *audit.Checkpoint) { c.Size = 5 }, audit.ErrBroken},
		"another station's": {4, 4, func(c *audit.Checkpoint) { c.Origin = audit.Origin("another", r.config.InstanceID) }, errRecordAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := r.journal.Checkpoint(row.size)
			if err != nil {
				t.Fatal(err)
			}
			c.Origin = audit.Origin(enrolled, r.config.InstanceID)
			row.change(&c)
			note, err := c.Sign(signer)
			if err != nil {
				t.Fatal(err)
			}
			text := string(note)
			if err := New(r.config).anchor(api.RecordAnchor{Size: c.Size, Checkpoint: &text}, row.sent); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
	if err := New(r.config).anchor(api.RecordAnchor{}, 0); !errors.Is(err, errRecordAnswer) {
		t.Errorf("none: %v", err)
	}
}
