package crashmatrix

import (
	"database/sql"
	"errors"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/provision"
)

// The settings in which somebody decides otherwise about a unit whose key is bound. In
// all of them the daemon dies once it has to ask for the certificate: the CA is away
// until then, so that it always has to.

func boundAndDead() *point {
	return &point{crashpoint.BeforeIt, 1, "GET /v1/units/*/generations/*/certificate"}
}

// cancelled: the order is withdrawn after the certificate was issued. The station wipes
// the token and says so, the CA revokes.
func cancelled() setting {
	return setting{
		name: "cancelled order", worst: 10, lease: 12, caAway: true, dies: boundAndDead(), badly: true, check: (*world).checkCancelled,
		meanwhile: func(w *world) {
			w.issued()
			order, _ := w.order()
			w.try("cancel the order", func() error {
				_, err := w.access.Admin.Cancel(w.t.Context(), order, api.CancelRequest{Operator: "person-1", Reason: "withdrawn by the buyer"})
				return err
			})
		},
	}
}

// stranded: custody runs out while the daemon is stopped. It is told that it has lost the
// unit, and takes it back with a proof of its key.
func stranded() setting {
	return setting{
		name: "custody runs out", worst: 10, lease: 12, caAway: true, dies: boundAndDead(), check: (*world).checkTakenBack,
		meanwhile: func(w *world) {
			w.issued()
			w.custodyRunsOut()
		},
	}
}

// reissued: the token loses its key. One person asks for the unit to be made again,
// another one approves, and the second bay has a token for it.
func reissued() setting {
	return setting{
		name: "reissued by two persons", bays: 2, worst: 10, lease: 12, caAway: true, dies: boundAndDead(), badly: true,
		meanwhile: func(w *world) {
			w.issued()
			w.loseKey()
		},
		person: twoPersons, check: (*world).checkReissued,
	}
}

func leaseRunsOut(w *world) {
	w.t.Helper()
	w.eventually("the lease to run out", func() bool { return w.count("SELECT COUNT(*) FROM units WHERE state = 'READY'") == 1 })
}

// issued waits until the certificate is at the server.
func (w *world) issued() {
	w.t.Helper()
	w.eventually("the certificate", func() bool { return w.count("SELECT COUNT(*) FROM units WHERE state = 'ISSUED'") == 1 })
}

// custodyRunsOut puts the end of custody, which comes after days, into the past.
func (w *world) custodyRunsOut() {
	w.t.Helper()
	w.eventually("the unit to be stranded", func() bool {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(w.access.DataDir, "central.db")+"?_pragma=busy_timeout(10000)")
		if err != nil {
			w.t.Fatal(err)
		}
		_, err = db.ExecContext(w.t.Context(), "UPDATE units SET expires_at = 1 WHERE state = 'ISSUED'")
		if err := errors.Join(err, db.Close()); err != nil {
			w.t.Fatal(err)
		}
		return w.count("SELECT COUNT(*) FROM units WHERE state = 'STRANDED'") == 1
	})
}

// loseKey destroys the private key that was bound, as no station would.
func (w *world) loseKey() {
	w.t.Helper()
	records := w.Records()
	if len(records) != 1 {
		w.t.Fatalf("%d jobs", len(records))
	}
	r := records[0]
	for i, bay := range w.Bays {
		if r.Token.Module == bayName(i) {
			bay.Tool(w.t, "pkcs11-tool", "--module", bay.Path, "--token-label", string(r.Job.TokenLabel), "--login", "--pin", w.userPIN(r),
				"--delete-object", "--type", "privkey", "--id", r.Facts.KeyID.String())
		}
	}
}

func (w *world) userPIN(r *provision.Record) string {
	w.t.Helper()
	return w.access.OpenPIN(w.t, r.Facts.UserPINEnvelope)
}

// twoPersons decide about a unit that is held: one says that its certificate is revoked,
// which nobody confirms, and wants the unit made again, which that one cannot approve and
// another one does. The server may be dead, or be dying; then they try again.
func twoPersons(w *world) {
	if w.count("SELECT COUNT(*) FROM units WHERE state = 'HELD' AND generation = 1") == 0 ||
		w.count("SELECT COUNT(*) FROM decisions WHERE status = 'approved'") > 0 { // what remains is the CA's part
		return
	}
	ctx, admin := w.t.Context(), w.access.Admin
	_, id := w.order()
	u, err := admin.Unit(ctx, id)
	if err != nil || u.CertificateSha256 == nil {
		return
	}
	_, err = admin.Resolve(ctx, id, api.ResolveRequest{
		Generation: 1, Finding: api.FindingRevoked, CertificateSha256: u.CertificateSha256, Operator: "person-1", Reason: "hearsay",
	})
	if err != nil {
		return
	}
	wanted, err := admin.Reissue(ctx, id, api.ReissueRequest{Generation: 1, Operator: "person-1", Reason: "its token is faulty"})
	if err != nil {
		return
	}
	// The unit says whether it came to pass, and the decision by whom.
	_, _ = admin.Approve(ctx, wanted.Decision.DecisionId, "person-1")
	_, _ = admin.Approve(ctx, wanted.Decision.DecisionId, "person-2")
}
