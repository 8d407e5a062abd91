package central_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// faultyCA is the development CA with another way to answer.
type faultyCA struct {
	*ca.Development
	issue     func(ctx context.Context, r ca.Request) (ca.Certificate, error)
	lookup    func(ctx context.Context, id string) (ca.Certificate, bool, error)
	blind     bool
	asked     atomic.Int32
	lookedFor atomic.Int32
}

func (c *faultyCA) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	c.asked.Add(1)
	if c.issue != nil {
		return c.issue(ctx, r)
	}
	return c.Development.Issue(ctx, r)
}

func (c *faultyCA) Lookup(ctx context.Context, id string) (ca.Certificate, bool, error) {
	c.lookedFor.Add(1)
	if c.lookup != nil {
		return c.lookup(ctx, id)
	}
	return c.Development.Lookup(ctx, id)
}

func (c *faultyCA) CanLookup() bool { return !c.blind }

// faultyRig starts a server on a CA that tests may break.
func faultyRig(t *testing.T, e engine) (*rig, *faultyCA, func(*central.Config)) {
	t.Helper()
	authority := &faultyCA{}
	r := &rig{t: t, dir: t.TempDir(), postgres: e(t), clock: &clock{}, spec: specRouter(t)}
	authority.Development = r.developmentCA()
	change := func(c *central.Config) {
		c.CA, c.IssueWait = authority, 50*time.Millisecond
	}
	r.start(change)
	return r, authority, change
}

func wantCertificates(t *testing.T, authority *faultyCA, want int) {
	t.Helper()
	if _, total, err := authority.Issued(t.Context(), 10, 0); err != nil || total != want {
		t.Errorf("the CA issued %d certificates, want %d: %v", total, want, err)
	}
}

// What a CA said once is kept although the database is gone for a moment just then: one that
// cannot look up does not say it again.
func TestAnswerIsKeptWhenTheDatabaseComesBack(t *testing.T) {
	t.Parallel()
	url := withStore(t)
	r, authority, _ := faultyRig(t, func(t *testing.T) database.Postgres {
		db, err := database.ParsePostgres(url)
		if err != nil {
			t.Fatal(err)
		}
		return db
	})
	authority.blind = true
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	run := func(query string) {
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Error(err)
		}
	}
	s := r.station("bay-1")
	for name, row := range map[string]struct {
		says error
		kept func(u api.Unit) bool
	}{
		"ISSUED":  {nil, func(u api.Unit) bool { return u.State == api.ISSUED }},
		"REFUSED": {&ca.RefusedError{Reason: "no"}, func(u api.Unit) bool { return u.State == api.HELD }},
		"NOTYET":  {notYet(time.Hour), func(u api.Unit) bool { return u.State == api.ISSUING && u.PendingReason != nil }},
	} {
		back := make(chan struct{})
		authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
			c, err := authority.Development.Issue(ctx, q)
			if row.says != nil {
				err = row.says
			}
			run(`ALTER SCHEMA usbkey_central RENAME TO gone`)
			run(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			time.AfterFunc(300*time.Millisecond, func() {
				run(`ALTER SCHEMA gone RENAME TO usbkey_central`)
				close(back)
			})
			return c, err
		}
		w := s.one(name).escrowed()
		w.putCSR() // whatever comes of it just now
		<-back
		for deadline := time.Now().Add(patience); !row.kept(r.unit(name + "-001")); time.Sleep(10 * time.Millisecond) {
			if u := r.unit(name + "-001"); u.State == api.ISSUEUNKNOWN || time.Now().After(deadline) {
				t.Fatalf("%s: the unit is %s", name, u.State)
			}
		}
	}
}

// What the database never takes is not tried for ever at one of the few places at the CA: it is
// an alarm, and the certificate waits beside its unit for persons.
func TestCertificateThatTheDatabaseRefuses(t *testing.T) {
	for _, blind := range []bool{true, false} {
		name := map[bool]string{true: "cannot look up", false: "can look up"}[blind]
		t.Run("SQLite, "+name, func(t *testing.T) {
			testCertificateThatTheDatabaseRefuses(t, postgresNot, "sqlite", nil, blind,
				`CREATE TRIGGER refuses BEFORE UPDATE OF certificate_serial ON bindings WHEN NEW.certificate_serial <> '' BEGIN SELECT RAISE(ABORT, 'refused'); END`,
				`DROP TRIGGER refuses`)
		})
		t.Run("PostgreSQL, "+name, func(t *testing.T) {
			url := withStore(t)
			db, err := database.ParsePostgres(url)
			if err != nil {
				t.Fatal(err)
			}
			testCertificateThatTheDatabaseRefuses(t, func(*testing.T) database.Postgres { return db }, "pgx", &url, blind,
				`ALTER TABLE usbkey_central.bindings ADD CONSTRAINT refuses CHECK (certificate_serial = '')`,
				`ALTER TABLE usbkey_central.bindings DROP CONSTRAINT refuses`)
		})
	}
}

func testCertificateThatTheDatabaseRefuses(t *testing.T, e engine, driver string, url *string, blind bool, refuse, take string) {
	t.Parallel()
	r, authority, change := faultyRig(t, e)
	r.stop()
	var log lockedBuffer
	r.start(func(c *central.Config) {
		change(c)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	if url == nil {
		file := "file:" + filepath.Join(r.dir, "central.db") + "?_pragma=busy_timeout(10000)"
		url = &file
	}
	db, err := sql.Open(driver, *url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	run := func(query string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	authority.blind = blind
	made := make(chan ca.Certificate, 1)
	authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
		c, err := authority.Development.Issue(ctx, q)
		made <- c
		return c, err
	}
	w := r.station("bay-1").one("REFUSED").escrowed()
	run(refuse)
	w.putCSR() // whatever comes of it just now
	c := <-made
	serial, digest := ca.SerialText(c.Leaf.SerialNumber), ca.Digest(c.Leaf)
	u := r.waitState("REFUSED-001", api.HELD)
	if u.SurplusCertificates == nil || (*u.SurplusCertificates)[0] != digest || !strings.Contains(*u.HeldReason, serial) {
		t.Errorf("the certificate is not beside its unit: %+v", u)
	}
	if said := log.String(); !strings.Contains(said, "ALARM: the database refuses") || !strings.Contains(said, serial) || !strings.Contains(said, digest) {
		t.Errorf("no alarm that names the certificate:\n%s", said)
	}
	run(take)

	// From here on it is a unit that is held while its certificate comes.
	approve := func(asked api.DecisionAnswer, err error) {
		t.Helper()
		if err == nil {
			_, err = r.admin.Approve(t.Context(), asked.Decision.DecisionId, "p2")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if blind {
		approve(r.admin.Resolve(t.Context(), "REFUSED-001", api.ResolveRequest{Generation: 1, Finding: api.FindingCertificate, Pkcs7: &c.PKCS7, Operator: "p1", Reason: "test"}))
	}
	approve(r.admin.Reissue(t.Context(), "REFUSED-001", api.ReissueRequest{Generation: 1, Operator: "p1", Reason: "test"}))
	if u := r.waitState("REFUSED-001", api.READY); u.Generation != 2 || u.SurplusCertificates != nil {
		t.Errorf("the unit goes on as %+v", u)
	}
	if authority.asked.Load() != 1 {
		t.Errorf("the CA was told %d times", authority.asked.Load())
	}
	wantCertificates(t, authority, 1)
}

// Words that only one of the databases takes are kept by both: what is not a text for
// PostgreSQL may come from the certificate of a CA's server.
func TestWordsOfACA(t *testing.T) { onBothEngines(t, testWordsOfACA) }

func testWordsOfACA(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	authority.blind = true
	const odd, kept = "not for a\x00b\xff", "not for a?b?"
	s := r.station("bay-1")
	for name, row := range map[string]struct {
		says error
		kept func(u api.Unit) bool
	}{
		"REFUSED": {&ca.RefusedError{Reason: odd}, func(u api.Unit) bool { return u.State == api.HELD && strings.HasSuffix(*u.HeldReason, kept) }},
		"NOTYET":  {&ca.PendingError{Reason: odd, After: time.Hour}, func(u api.Unit) bool { return u.PendingReason != nil && *u.PendingReason == kept }},
		"LOST":    {errors.New(odd), func(u api.Unit) bool { return u.State == api.ISSUEUNKNOWN }},
	} {
		authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) { return ca.Certificate{}, row.says }
		s.one(name).escrowed().putCSR() // it may come to an end before it is answered
		for deadline := time.Now().Add(patience); !row.kept(r.unit(name + "-001")); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", name, r.unit(name+"-001"))
			}
		}
	}
	history, err := r.admin.History(t.Context(), "LOST-001")
	if err != nil || !strings.HasSuffix(*history.Entries[len(history.Entries)-1].Why, kept) {
		t.Errorf("the history ends with %+v, %v", history.Entries, err)
	}
}

// The server stops between writing its intent and having the answer. The next
// start asks the CA under the same id and never makes a second certificate.
func TestIssuingIsResumedAfterARestart(t *testing.T) {
	onBothEngines(t, testIssuingIsResumedAfterARestart)
}

func testIssuingIsResumedAfterARestart(t *testing.T, e engine) {
	t.Parallel()
	rows := []struct {
		name   string
		issues bool // whether the CA did issue before the server stopped
		asked  int32
	}{
		{"the CA had issued", true, 0},
		{"the CA had not heard of it", false, 1},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r, authority, change := faultyRig(t, e)
			authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
				if row.issues {
					if _, err := authority.Development.Issue(context.WithoutCancel(ctx), q); err != nil {
						t.Error(err)
					}
				}
				<-ctx.Done() // the answer never comes
				return ca.Certificate{}, ctx.Err()
			}
			w := r.station("bay-1").one("RESUME").escrowed()
			must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
			r.waitState("RESUME-001", api.ISSUING)
			r.stop()

			authority.issue = nil
			authority.asked.Store(0)
			r.start(change)
			c := must[api.IssuedCertificate](t, w.getCertificate(10), http.StatusOK)
			if got := authority.asked.Load(); got != row.asked || authority.lookedFor.Load() == 0 {
				t.Errorf("after the restart the CA was told %d times, want %d; looked up %d times", got, row.asked, authority.lookedFor.Load())
			}
			wantCertificates(t, authority, 1)
			if again := must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK); again.CertificateSha256 != c.CertificateSha256 {
				t.Error("the request again gave another certificate")
			}
			w.take(c)
			must[api.UnitState](t, w.putResult(), http.StatusOK)
		})
	}
}

// A slow CA does not hold the answer up; the certificate is collected later.
func TestSlowCA(t *testing.T) { onBothEngines(t, testSlowCA) }

func testSlowCA(t *testing.T, e engine) {
	r, authority, _ := faultyRig(t, e)
	release := make(chan struct{})
	authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
		<-release
		return authority.Development.Issue(ctx, q)
	}
	s := r.station("bay-1")
	promptly(t, "the waiting answer came", 1500*time.Millisecond, func(try int) time.Duration {
		w := s.one(fmt.Sprint("SLOW-", try)).escrowed()
		for range 3 { // repeats while it goes on do not begin it again
			must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
		}
		must[api.UnitState](t, w.getCertificate(0), http.StatusAccepted)
		collected := make(chan answer)
		go func() { collected <- w.getCertificate(20) }()
		time.Sleep(50 * time.Millisecond)
		begun := time.Now()
		release <- struct{}{}
		must[api.IssuedCertificate](t, <-collected, http.StatusOK)
		took := time.Since(begun)
		if got := authority.asked.Load(); got != int32(try)+1 {
			t.Errorf("the CA was told %d times", got)
		}
		return took
	})
}

// An answer that was lost is asked for, not blindly asked again.
func TestLostAnswer(t *testing.T) { onBothEngines(t, testLostAnswer) }

func testLostAnswer(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	var down atomic.Bool
	down.Store(true)
	authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
		if _, err := authority.Development.Issue(ctx, q); err != nil {
			t.Error(err)
		}
		return ca.Certificate{}, errors.New("the connection broke")
	}
	authority.lookup = func(ctx context.Context, id string) (ca.Certificate, bool, error) {
		if down.Load() {
			return ca.Certificate{}, false, errors.New("not reachable")
		}
		return authority.Development.Lookup(ctx, id)
	}
	w := r.station("bay-1").one("LOST").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	r.waitState("LOST-001", api.ISSUEUNKNOWN)
	must[api.UnitState](t, w.getCertificate(0), http.StatusAccepted)
	down.Store(false)
	must[api.IssuedCertificate](t, w.getCertificate(10), http.StatusOK)
	if authority.asked.Load() != 1 {
		t.Errorf("the CA was told %d times", authority.asked.Load())
	}
	wantCertificates(t, authority, 1)
}

// A CA that cannot be asked leaves the unit to a person, also over a restart.
func TestLostAnswerOfACAThatCannotBeAsked(t *testing.T) {
	onBothEngines(t, testLostAnswerOfACAThatCannotBeAsked)
}

func testLostAnswerOfACAThatCannotBeAsked(t *testing.T, e engine) {
	t.Parallel()
	r, authority, change := faultyRig(t, e)
	authority.blind = true
	authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) {
		return ca.Certificate{}, errors.New("the connection broke")
	}
	w := r.station("bay-1").one("BLIND").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	r.waitState("BLIND-001", api.ISSUEUNKNOWN)
	r.stop()
	r.start(change)
	time.Sleep(100 * time.Millisecond)
	r.wantState("BLIND-001", api.ISSUEUNKNOWN)
	if authority.asked.Load() != 1 {
		t.Errorf("the CA was told %d times", authority.asked.Load())
	}
}

func TestRefusedByTheCA(t *testing.T) { onBothEngines(t, testRefusedByTheCA) }

func testRefusedByTheCA(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) {
		return ca.Certificate{}, &ca.RefusedError{Reason: "the company is on a list"}
	}
	w := r.station("bay-1").one("REFUSED").escrowed()
	a := w.putCSR()
	if a.status == http.StatusAccepted { // it may answer before the CA does
		a = w.getCertificate(10)
	}
	wantProblem(t, a, http.StatusConflict, api.ProblemUnitState)
	u := r.waitState("REFUSED-001", api.HELD)
	if want := "refused by the CA: the company is on a list"; *u.HeldReason != want {
		t.Errorf("held for %q, want %q", *u.HeldReason, want)
	}
	// The station sets the token aside and says so; the unit stays with the person.
	w.result = api.ResultRequest{Epoch: 1, Outcome: api.Destroyed, TokenSerial: w.csr.TokenSerial}
	if state := must[api.UnitState](t, w.putResult(), http.StatusOK); state.State != api.HELD || !strings.HasSuffix(*state.HeldReason, "then reported destroyed") {
		t.Errorf("after the result: %+v", state)
	}
}

// The station gives up while the CA works: the certificate is kept, because
// somebody has to revoke it.
func TestCertificateThatComesTooLate(t *testing.T) { onBothEngines(t, testCertificateThatComesTooLate) }

func testCertificateThatComesTooLate(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	release := make(chan struct{})
	authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
		<-release
		return authority.Development.Issue(ctx, q)
	}
	w := r.station("bay-1").one("TOOLATE").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	w.result = api.ResultRequest{Epoch: 1, Outcome: api.Destroyed, TokenSerial: w.csr.TokenSerial}
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	close(release)
	for deadline := time.Now().Add(patience); r.unit("TOOLATE-001").CertificateSerial == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the certificate was not kept")
		}
	}
	if u := r.wantState("TOOLATE-001", api.HELD); !strings.Contains(*u.HeldReason, *u.CertificateSerial) {
		t.Errorf("the reason %q does not tell of certificate %s", *u.HeldReason, *u.CertificateSerial)
	}
}
