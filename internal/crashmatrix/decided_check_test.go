package crashmatrix

import (
	"path/filepath"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/provision"
)

// countInCA asks the database of the CA.
func (w *world) countInCA(query string) int {
	return stationtest.Count(filepath.Join(w.access.DataDir, "ca", "issued.db"), query)
}

// checkCancelled: the certificate is revoked, the station said once that it has destroyed
// the key, nothing is on the token, and what opens it is in escrow.
func (w *world) checkCancelled() {
	t := w.t
	t.Helper()
	records := w.Records()
	if len(records) != 1 || records[0].State != provision.StateQuarantined || !records[0].Facts.Withdrawn {
		t.Fatalf("%d jobs, the first %+v", len(records), records[0])
	}
	label, _ := w.Token(0)
	bay := w.Bays[0]
	left := bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--token-label", label, "--login", "--pin", w.userPIN(records[0]), "--list-objects")
	if strings.Contains(left, "Object") {
		t.Errorf("on the token of a cancelled unit there is still\n%s", left)
	}
	if !w.Escrowed(0, "") {
		t.Error("the SO PIN in escrow does not open the token")
	}
	w.checkCounts(map[string]counted{
		"units that are CANCELLED":   {w.count("SELECT COUNT(*) FROM units WHERE state = 'CANCELLED'"), 1},
		"times cancelled":            {w.count("SELECT COUNT(*) FROM history WHERE event = 'cancel'"), 1},
		"last words of the station":  {w.count("SELECT COUNT(*) FROM history WHERE event = 'acknowledged'"), 1},
		"keys told to be destroyed":  {w.count("SELECT COUNT(*) FROM results WHERE outcome = 'destroyed'"), 1},
		"other results":              {w.count("SELECT COUNT(*) FROM results WHERE outcome <> 'destroyed'"), 0},
		"reports of results":         {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report"), 1},
		"certificates":               {w.countInCA("SELECT COUNT(*) FROM certificates"), 1},
		"certificates, revoked":      {w.countInCA("SELECT COUNT(*) FROM certificates JOIN revocations USING (serial)"), 1},
		"revocations that are noted": {w.count("SELECT COUNT(*) FROM revocations WHERE revoked_at > 0"), 1},
	})
}

// checkTakenBack: all is as if custody had lasted, but that the unit was stranded and
// its station has proved that it has the key.
func (w *world) checkTakenBack() {
	w.t.Helper()
	w.CheckBatch(1)
	w.checkInstalled()
	// A proof whose answer was lost may be made again.
	if w.count("SELECT COUNT(*) FROM history WHERE event = 'adopt' AND from_state = 'STRANDED'") != 1 || w.count("SELECT COUNT(*) FROM adoptions") == 0 {
		w.t.Error("the unit was not taken back")
	}
}

// checkReissued: the first certificate was revoked before the second was made, the
// faulty token has no private key, the other one is the unit's, and what one person
// alone said has changed nothing.
func (w *world) checkReissued() {
	t := w.t
	t.Helper()
	u := w.access.Units(t)[0]
	if u.State != api.INSTALLED || u.Generation != 2 {
		t.Fatalf("%s is %s, generation %d", u.UnitId, u.State, u.Generation)
	}
	for _, r := range w.Records() {
		bay := int(r.Token.Module[len(r.Token.Module)-1] - '1')
		label, serial := w.Token(bay)
		switch {
		case r.Job.Generation == 2 && r.State == provision.StateFinished && serial == *u.TokenSerial:
			w.CheckToken(bay, u)
		case r.Job.Generation == 1 && r.State == provision.StateQuarantined && serial != *u.TokenSerial:
			objects := w.Bays[bay].Tool(t, "pkcs11-tool", "--module", w.Bays[bay].Path, "--token-label", label, "--login", "--pin", w.userPIN(r), "--list-objects")
			if strings.Contains(objects, "Private Key Object") || !w.Escrowed(bay, "WHERE token_serial = $1", serial) {
				t.Errorf("the faulty token %s has a private key again, or is not opened by what is in escrow", serial)
			}
		default:
			t.Errorf("job %s of generation %d is %s, on token %s", r.Job.ID, r.Job.Generation, r.State, serial)
		}
	}
	const (
		reissue = "SELECT COUNT(*) FROM decisions WHERE action = 'reissue' AND status = 'done' AND requested_by = 'person-1' AND approved_by = 'person-2'"
		// What the server knows of the CA is later than what the CA did, and an intent earlier.
		between = `SELECT COUNT(*) FROM history a JOIN history b ON b.event = 'reissue' AND b.version > a.version
			JOIN history c ON c.event = 'intend' AND c.generation = 2 AND c.version > b.version WHERE a.event = 'revoked' AND a.generation = 1`
	)
	w.checkCounts(map[string]counted{
		"jobs":       {len(w.Records()), 2},
		"keys bound": {w.count("SELECT COUNT(*) FROM bindings"), 2},
		// What is told again after its answer was lost is answered with where the unit is then.
		"reports that were answered":  {stationtest.Count(w.Journal(), "SELECT COUNT(*) FROM report WHERE sent_at IS NOT NULL AND answer NOT LIKE 'refused%'"), 2},
		"faulty tokens":               {w.count("SELECT COUNT(*) FROM results WHERE outcome = 'faulty' AND generation = 1"), 1},
		"installed":                   {w.count("SELECT COUNT(*) FROM results WHERE outcome = 'installed' AND generation = 2"), 1},
		"results":                     {w.count("SELECT COUNT(*) FROM results"), 2},
		"reissues by two":             {w.count(reissue), 1},
		"decisions":                   {w.count("SELECT COUNT(*) FROM decisions"), 2},
		"decisions without a second":  {w.count("SELECT COUNT(*) FROM decisions WHERE action = 'revoked' AND status = 'waiting' AND approved_by = ''"), 1},
		"revoked before made again":   {w.count(between), 1},
		"certificates":                {w.countInCA("SELECT COUNT(*) FROM certificates"), 2},
		"certificates that stand":     {w.countInCA("SELECT COUNT(*) FROM certificates WHERE serial NOT IN (SELECT serial FROM revocations)"), 1},
		"of them, the unit's present": {w.countInCA("SELECT COUNT(*) FROM certificates WHERE serial NOT IN (SELECT serial FROM revocations) AND sha256 = '" + *u.CertificateSha256 + "'"), 1},
	})
}
