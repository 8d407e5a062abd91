package crashmatrix

import (
	"database/sql"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/provision"
)

// mayRefuse reports that a job may end here without a finished key, its token as it came.
func (s setting) mayRefuse() bool { return s.refused || s.factory != "" }

// mayEndBadly reports that a drain may say here that not all went well.
func (s setting) mayEndBadly() bool { return s.mayRefuse() || s.badly }

// checkDead is for the moment after a kill. A token that was initialised has a job in
// the journal that says so, a unit that is ours at the server, and an SO PIN in escrow
// that opens it.
func (w *world) checkDead() {
	t := w.t
	t.Helper()
	w.childGone()
	for bay := range w.Bays {
		w.checkWritten(bay)
	}
}

func (w *world) checkWritten(bay int) {
	t := w.t
	t.Helper()
	label, _ := w.Token(bay)
	if label == "" || label == "factory" || label == "made" {
		return
	}
	if n := w.count("SELECT COUNT(*) FROM escrows"); n == 0 {
		t.Errorf("token %q was initialised, and no SO PIN is in escrow", label)
	}
	// With a factory SO PIN both are good until the new one is verified; trying both
	// would spend a try.
	if w.setting.factory == "" && !w.Escrowed(bay, "") {
		t.Errorf("no SO PIN in escrow opens token %q", label)
	}
	// Where a person takes a unit away from its token, the setting's own check has a say.
	if w.setting.check == nil && w.count("SELECT COUNT(*) FROM units WHERE station IS NOT NULL AND state NOT IN ('READY', 'HELD')") != 1 {
		t.Errorf("token %q was initialised for a unit that is not ours", label)
	}
	jobs := slices.DeleteFunc(w.Records(), func(r *provision.Record) bool { return r.Token.Module != bayName(bay) })
	if len(jobs) != 1 || !jobs[0].Facts.Touched || string(jobs[0].Job.TokenLabel) != label {
		t.Errorf("token %q was initialised, and the journal has %d jobs for it: %+v", label, len(jobs), jobs)
	}
}

// checkEnd checks how it all ended: a finished key, or where the setting has it a token
// that was set aside as it was.
func (w *world) checkEnd() {
	t := w.t
	t.Helper()
	w.childGone()
	units := w.access.Units(t)
	if len(units) != 1 {
		t.Fatalf("%d units", len(units))
	}
	switch {
	case w.setting.check != nil:
		w.setting.check(w)
	case units[0].State == api.INSTALLED && !w.setting.refused:
		w.CheckBatch(1)
		w.checkInstalled()
	case w.setting.mayRefuse():
		w.checkSetAside(units[0])
	default:
		t.Errorf("%s is %s", units[0].UnitId, units[0].State)
	}
	w.CheckRecord()
	w.CheckNoPIN()
}

// checkInstalled: one job finished, one report was made and answered, the unit was
// installed once and nothing came after it.
func (w *world) checkInstalled() {
	t := w.t
	t.Helper()
	finished := 0
	for _, r := range w.Records() {
		if r.State == provision.StateFinished {
			finished++
		}
		if !r.State.Final() {
			t.Errorf("job %s is %s", r.Job.ID, r.State)
		}
	}
	if finished != 1 {
		t.Errorf("%d jobs finished for one unit", finished)
	}
	w.checkCounts(map[string]counted{
		"reports of results":       {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report WHERE body ->> '$.Kind' = $1", provision.ReportResult), 1},
		"reports answered as such": {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report WHERE answer = 'INSTALLED'"), 1},
		"results at the server":    {w.count("SELECT COUNT(*) FROM results WHERE outcome = 'installed'"), 1},
		"other results":            {w.count("SELECT COUNT(*) FROM results WHERE outcome <> 'installed'"), 0},
		"bound keys":               {w.count("SELECT COUNT(*) FROM bindings"), 1},
		"times installed":          {w.count("SELECT COUNT(*) FROM history WHERE to_state = 'INSTALLED'"), 1},
		"moves after that":         {w.count("SELECT COUNT(*) FROM history h WHERE version > (SELECT version FROM history WHERE to_state = 'INSTALLED')"), 0},
		"generations":              {w.count("SELECT generation FROM units"), 1},
	})
}

// counted is a number that was found, and the only right one.
type counted struct{ got, want int }

func (w *world) checkCounts(rows map[string]counted) {
	w.t.Helper()
	for what, row := range rows {
		if row.got != row.want {
			w.t.Errorf("%s: %d, wanted %d", what, row.got, row.want)
		}
	}
}

// checkSetAside: the token is as its maker delivered it, no certificate was issued, and
// the unit was given back with a reason.
func (w *world) checkSetAside(u api.Unit) {
	t := w.t
	t.Helper()
	records := w.Records()
	if len(records) != 1 {
		t.Fatalf("%d jobs", len(records))
	}
	r := records[0]
	if r.State != provision.StateFailed || r.Reason == "" || r.Hint == "" || r.Facts.Touched || !r.Facts.FactoryTried || r.Facts.Factory {
		t.Errorf("the job is %s (%q, %q), facts %+v", r.State, r.Reason, r.Hint, r.Facts)
	}
	if u.State != api.READY || w.count("SELECT attempts FROM units") != 1 {
		t.Errorf("the unit is %s after %d failed attempts", u.State, w.count("SELECT attempts FROM units"))
	}
	if issued, err := w.access.Admin.Certificates(t.Context()); err != nil || len(issued) != 0 {
		t.Errorf("%d certificates were issued (%v)", len(issued), err)
	}
	label, _ := w.Token(0)
	if label != "factory" && label != "made" || !w.OpensAsSO(0, label, w.setting.factory) {
		t.Errorf("token %q is not as it came", label)
	}
	tries := 0
	for _, points := range w.passed(daemon) {
		for i, p := range points {
			// Where a trace ends before a call, the call was not made.
			if p.label == crashpoint.TokenLoginSO && p.moment == crashpoint.BeforeIt && i < len(points)-1 {
				tries++
			}
		}
	}
	if tries > 1 {
		t.Errorf("the factory SO PIN was tried %d times", tries)
	}
}

// checkFiles: every database that was left behind is whole.
func (w *world) checkFiles() {
	t := w.t
	t.Helper()
	for _, path := range []string{w.Journal(), filepath.Join(w.access.DataDir, "central.db"), filepath.Join(w.access.DataDir, "ca", "issued.db")} {
		db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		var integrity string
		err = db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&integrity)
		var orphans int
		if err == nil {
			err = db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM pragma_foreign_key_check").Scan(&orphans)
		}
		if err != nil || integrity != "ok" || orphans != 0 {
			t.Errorf("%s: %s, %d orphans (%v)", path, integrity, orphans, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	if text := stationtest.Tail(w.serverLog()); strings.Contains(text, "panic") {
		t.Errorf("the server panicked:\n%s", text)
	}
	if text := stationtest.Tail(w.daemonLog()); strings.Contains(text, "panic") {
		t.Errorf("the daemon panicked:\n%s", text)
	}
}
