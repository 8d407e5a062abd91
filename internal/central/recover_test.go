package central_test

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// backupEngine gives a test its database, and a way to back up what a stopped rig has.
type backupEngine func(t *testing.T) (db database.Postgres, backup func(*rig) (restore func()))

func onBothEnginesWithBackup(t *testing.T, test func(t *testing.T, e backupEngine)) {
	t.Run("SQLite", func(t *testing.T) {
		test(t, func(t *testing.T) (database.Postgres, func(*rig) func()) {
			return database.Postgres{}, func(r *rig) func() {
				path := filepath.Join(r.dir, "central.db")
				content, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				return func() {
					if err := os.WriteFile(path, content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, func(t *testing.T) (database.Postgres, func(*rig) func()) {
			url := pgtest.Database(t)
			db, err := database.ParsePostgres(url)
			if err != nil {
				t.Fatal(err)
			}
			return db, func(*rig) func() { return pgtest.Backup(t, url) }
		})
	})
}

// recovery is a rig whose store goes back to a backup, and a CA that does not.
type recovery struct {
	*rig
	authority *countingCA
	change    func(*central.Config)
	backup    func(*rig) (restore func())
}

func newRecovery(t *testing.T, e backupEngine) *recovery {
	t.Helper()
	db, backup := e(t)
	r := &recovery{rig: &rig{t: t, dir: t.TempDir(), postgres: db, clock: &clock{}, spec: specRouter(t)}, backup: backup}
	r.authority = &countingCA{Development: r.developmentCA(), told: make(map[string]int)}
	r.change = func(c *central.Config) { c.CA, c.Clock = r.authority, nil }
	r.start(r.change)
	return r
}

func (r *recovery) config(authority ca.CA) central.Config {
	return central.Config{DataDir: r.dir, Postgres: r.postgres, CA: authority}
}

// wantRefusedStart sees that no server starts, for that reason and with those words.
func (r *recovery) wantRefusedStart(want error, words string) {
	r.t.Helper()
	srv, err := central.New(r.t.Context(), r.config(r.authority))
	if err == nil {
		_ = srv.Close()
		r.t.Fatal("the server starts")
	}
	if !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
		r.t.Fatalf("the server does not start, but says: %v", err)
	}
}

// issued counts what the CA has in its own record, by request.
func (r *recovery) issued() map[string]int {
	r.t.Helper()
	records, _, err := r.authority.Issued(r.t.Context(), 1000, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	out := make(map[string]int)
	for _, c := range records {
		out[c.RequestID]++
	}
	return out
}

func TestRecoveryFromABackup(t *testing.T) { onBothEnginesWithBackup(t, testRecoveryFromABackup) }

func testRecoveryFromABackup(t *testing.T, e backupEngine) {
	t.Parallel()
	r := newRecovery(t, e)
	s := r.station("bay-1")
	// What the backup has: one unit in each state that goes on afterwards.
	leased := s.one("LEASED").escrowed()
	issued := s.one("ISSUED").issued()
	installed := s.one("DONE").issued()
	must[api.UnitState](t, installed.putResult(), http.StatusOK)
	bound := s.one("BOUND").escrowed()
	r.authority.answer = func() error { return errors.New("out of reach") }
	must[api.UnitState](t, bound.putCSR(), http.StatusAccepted)
	r.submit(order("READY", 1))
	r.stop()
	restore := r.backup(r.rig)

	// What the backup does not have.
	r.authority.answer = nil
	r.start(r.change)
	s.open()
	lost := map[string]*work{"READY-001": s.begin(s.claim(1)[0]).issued(), "LEASED-001": leased}
	leased.take(must[api.IssuedCertificate](t, leased.putCSR(), http.StatusOK))
	bound.take(must[api.IssuedCertificate](t, bound.getCertificate(5), http.StatusOK))
	must[api.UnitState](t, issued.putResult(), http.StatusOK)
	must[api.UnitState](t, lost["READY-001"].putResult(), http.StatusOK)
	later := s.one("LATER").issued()
	must[api.UnitState](t, later.putResult(), http.StatusOK)
	r.submit(order("FREE", 1))
	r.stop()
	before := r.issued()
	restore()

	r.wantRefusedStart(store.ErrOlder, `run "usbkey-central recover"`)
	r.wantRefusedStart(store.ErrOlder, "Stop all servers")
	// A recovery whose CA does not answer is not one.
	r.authority.deaf = errDeaf
	if _, err := central.Recover(t.Context(), r.config(r.authority), false); !errors.Is(err, errDeaf) {
		t.Fatalf("recovered without the CA: %v", err)
	}
	r.authority.deaf = nil
	r.wantRefusedStart(store.ErrRecovering, "again")
	got, err := central.Recover(t.Context(), r.config(r.authority), false)
	if err != nil {
		t.Fatal(err)
	}
	if got.Units != 5 || got.Issued != 1 || got.Found != 2 || got.Doubtful != 0 || len(got.Strangers) != 1 || got.Strangers[0] != "LATER-001-g1" {
		t.Errorf("recovered %+v", got)
	}
	if _, err := central.Recover(t.Context(), r.config(r.authority), false); !errors.Is(err, store.ErrNotOlder) {
		t.Errorf("a healthy store is recovered: %v", err)
	}
	r.start(r.change)

	// Late writes under the old epochs, from a station that knows nothing of it.
	for id, w := range lost {
		u := r.wantState(id, api.HELD)
		if u.HeldReason == nil || !strings.Contains(*u.HeldReason, *w.result.CertificateSerial) {
			t.Errorf("unit %s is HELD for %v", id, u.HeldReason)
		}
		wantProblem(t, w.putCSR(), http.StatusConflict, api.ProblemStaleEpoch)
		for range 2 {
			if state := must[api.UnitState](t, w.putResult(), http.StatusOK); state.State != api.HELD {
				t.Errorf("the late result makes unit %s %s", id, state.State)
			}
		}
		if u = r.unit(id); strings.Count(*u.HeldReason, w.result.TokenSerial) != 1 {
			t.Errorf("the token of unit %s is not told once: %s", id, *u.HeldReason)
		}
	}
	for id, w := range map[string]*work{"ISSUED-001": issued, "BOUND-001": bound} {
		r.wantState(id, api.ISSUED)
		must[api.UnitState](t, w.putResult(), http.StatusOK)
		r.wantState(id, api.INSTALLED)
	}
	r.wantState("DONE-001", api.INSTALLED)
	wantProblem(t, later.putResult(), http.StatusNotFound, api.ProblemNotFound)
	wantProblem(t, s.claimAs(uuid.NewString(), 1, 0), http.StatusConflict, api.ProblemSessionUnknown)

	// Nothing that is made again under an id that the CA knows is issued again.
	s.open()
	if leases := s.claim(8); len(leases) != 0 {
		t.Errorf("leased %v", leases)
	}
	again := s.one("LATER")
	if again.lease.Epoch <= 1_000_000 {
		t.Errorf("the epoch %d of a new unit may have been given out before", again.lease.Epoch)
	}
	again.escrowed()
	c := must[api.IssuedCertificate](t, again.putCSR(), http.StatusOK)
	if c.CertificateSerial != *later.result.CertificateSerial {
		t.Error("the CA was told again for an order that it knows")
	}
	s.one("NEW").issued()
	after := r.issued()
	if after["NEW-001-g1"] != 1 {
		t.Error("nothing is issued after the recovery")
	}
	delete(after, "NEW-001-g1")
	for id := range after {
		if before[id] != 1 || after[id] != 1 {
			t.Errorf("the CA's record has %d certificates for %s, and had %d before the restore", after[id], id, before[id])
		}
	}
	if n := r.authority.count("LATER-001-g1"); n != 1 {
		t.Errorf("the CA was told %d times of LATER-001-g1", n)
	}
}

var errDeaf = errors.New("nobody answers")

// blindCA cannot look up what it issued.
type blindCA struct{ ca.CA }

func (blindCA) CanLookup() bool { return false }

// A CA that cannot be asked leaves it to persons.
func TestRecoveryWithoutLookup(t *testing.T) { onBothEnginesWithBackup(t, testRecoveryWithoutLookup) }

func testRecoveryWithoutLookup(t *testing.T, e backupEngine) {
	t.Parallel()
	r := newRecovery(t, e)
	r.stop()
	blind := blindCA{r.authority.Development}
	r.change = func(c *central.Config) { c.CA, c.Clock = blind, nil }
	r.start(r.change)
	s := r.station("bay-1")
	w := s.one("BOUND").escrowed()
	r.submit(order("READY", 1))
	r.stop()
	restore := r.backup(r.rig)
	r.start(r.change)
	s.open()
	w.take(must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK))
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	r.stop()
	restore()
	got, err := central.Recover(t.Context(), r.config(blind), false)
	if err != nil || got.Doubtful != 2 {
		t.Fatalf("recovered %+v, %v", got, err)
	}
	r.start(r.change)
	s.open()
	if leases := s.claim(8); len(leases) != 0 {
		t.Errorf("leased %v", leases)
	}
	r.wantState("READY-001", api.HELD)
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	if u := r.wantState("BOUND-001", api.HELD); !strings.Contains(*u.HeldReason, w.result.TokenSerial) || !strings.Contains(*u.HeldReason, *w.result.CertificateSerial) {
		t.Errorf("the finished token is not told: %s", *u.HeldReason)
	}
}

// A letter that was printed before the server was restored is confirmed like any other.
func TestMailerOfALateResult(t *testing.T) { onBothEnginesWithBackup(t, testMailerOfALateResult) }

func testMailerOfALateResult(t *testing.T, e backupEngine) {
	t.Parallel()
	r := newRecovery(t, e)
	s, thief := r.station("bay-1"), r.station("bay-2")
	letter, sealed := s.one("LETTER").escrowed(), s.one("SEALED").escrowed()
	r.stop()
	restore := r.backup(r.rig)
	r.start(r.change)
	s.open()
	mailer := api.PinMailer
	for _, w := range []*work{letter, sealed} {
		w.take(must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK))
	}
	letter.result.PinDelivery, letter.result.SealedUserPin, letter.result.UserPinRecipients = &mailer, nil, nil
	r.stop()
	restore()
	if _, err := central.Recover(t.Context(), r.config(r.authority), false); err != nil {
		t.Fatal(err)
	}
	r.start(r.change)
	s.open()
	confirm := func(by *station, unit string) answer {
		return by.send("PUT", "/units/"+unit+"/generations/1/mailer", api.MailerRequest{ConfirmedBy: "p1"})
	}
	wantProblem(t, confirm(s, "LETTER-001"), http.StatusForbidden, api.ProblemForbidden)
	for _, w := range []*work{letter, sealed} {
		must[api.UnitState](t, w.putResult(), http.StatusOK)
	}
	for range 2 {
		if u := must[api.UnitState](t, confirm(s, "LETTER-001"), http.StatusOK); u.State != api.HELD {
			t.Errorf("the unit is %s", u.State)
		}
	}
	wantProblem(t, confirm(thief, "LETTER-001"), http.StatusForbidden, api.ProblemForbidden)
	wantProblem(t, confirm(s, "SEALED-001"), http.StatusConflict, api.ProblemUnitState)
}

// A store in a new folder was put there by somebody, and may be old.
func TestStoreWithoutItsAge(t *testing.T) {
	r := newRig(t, postgresNot, nil)
	r.station("bay-1")
	r.stop()
	if err := os.Remove(filepath.Join(r.dir, central.AgeFile)); err != nil {
		t.Fatal(err)
	}
	if srv, err := central.New(t.Context(), central.Config{DataDir: r.dir}); err == nil || !strings.Contains(err.Error(), "usbkey-central recover") {
		if err == nil {
			_ = srv.Close()
		}
		t.Fatalf("start: %v", err)
	}
	if _, err := central.Recover(t.Context(), central.Config{DataDir: r.dir}, false); err != nil {
		t.Fatal(err)
	}
	r.start(nil)
}

func postgresNot(*testing.T) database.Postgres { return database.Postgres{} }

// Where there is no store there is nothing to recover, and none is made.
func TestRecoverWhereThereIsNoStore(t *testing.T) {
	for engine, row := range map[string]struct {
		postgres func(*testing.T) database.Postgres
		where    string
	}{
		"SQLite":     {postgresNot, "there is no store in "},
		"PostgreSQL": {emptyPostgres, "there is no store in schema usbkey_central of PostgreSQL database "},
	} {
		t.Run(engine, func(t *testing.T) {
			cfg := central.Config{DataDir: filepath.Join(t.TempDir(), "new"), Postgres: row.postgres(t)}
			for range 2 { // the first one has made none
				_, err := central.Recover(t.Context(), cfg, true)
				if err == nil || !strings.Contains(err.Error(), row.where) || !strings.Contains(err.Error(), `give the --data (and --store) of "serve"; nothing was made`) {
					t.Fatalf("recovered: %v", err)
				}
			}
			if _, err := os.Stat(cfg.DataDir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("there is a data directory now: %v", err)
			}
		})
	}
}

func emptyPostgres(t *testing.T) database.Postgres {
	t.Helper()
	db, err := database.ParsePostgres(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	return db
}
