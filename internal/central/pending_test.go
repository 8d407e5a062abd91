package central_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/drop"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/est"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/esttest"
)

func notYet(after time.Duration) error {
	return &ca.PendingError{Reason: "the CA waits for a person", After: after}
}

// waitAsked waits until the CA was told a number of times, and then a few sweeps.
func waitAsked(t *testing.T, authority *faultyCA, want int32) {
	t.Helper()
	for deadline := time.Now().Add(patience); authority.asked.Load() < want && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if got := authority.asked.Load(); got != want {
		t.Fatalf("the CA was told %d times, want %d", got, want)
	}
}

// A CA that has not decided is asked again when it said, not before, whatever the
// station or a restart does; the unit stays ISSUING and says why.
func TestNotYet(t *testing.T) { onBothEngines(t, testNotYet) }

func testNotYet(t *testing.T, e engine) {
	t.Parallel()
	r, authority, change := faultyRig(t, e)
	authority.blind = true
	var decided atomic.Bool
	authority.issue = func(ctx context.Context, q ca.Request) (ca.Certificate, error) {
		if !decided.Load() {
			return ca.Certificate{}, notYet(time.Hour)
		}
		return authority.Development.Issue(ctx, q)
	}
	w := r.station("bay-1").one("NOTYET").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	waitAsked(t, authority, 1)
	u := r.wantState("NOTYET-001", api.ISSUING)
	if u.PendingReason == nil || *u.PendingReason != "the CA waits for a person" || u.PendingUntil == nil {
		t.Fatalf("the unit does not say what it waits for: %+v", u)
	}
	if left := u.PendingUntil.Sub(r.clock.now()); left < 55*time.Minute || left > time.Hour {
		t.Errorf("asked again in %s, want an hour", left)
	}
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	must[api.UnitState](t, w.getCertificate(0), http.StatusAccepted)
	r.stop()
	r.start(change)
	r.clock.advance(50 * time.Minute)
	waitAsked(t, authority, 1)

	r.clock.advance(11 * time.Minute)
	waitAsked(t, authority, 2)
	r.wantState("NOTYET-001", api.ISSUING)
	decided.Store(true)
	r.clock.advance(61 * time.Minute)
	must[api.IssuedCertificate](t, w.getCertificate(10), http.StatusOK)
	waitAsked(t, authority, 3)
	wantCertificates(t, authority, 1)
	if u := r.wantState("NOTYET-001", api.ISSUED); u.PendingReason != nil || u.PendingUntil != nil {
		t.Errorf("the unit still waits: %v %v", *u.PendingReason, *u.PendingUntil)
	}
}

// A call that was cut off while the CA was asked again is a lost answer as the
// first would be: who cannot look up asks no third time, who can goes on.
func TestLostAnswerAfterNotYet(t *testing.T) { onBothEngines(t, testLostAnswerAfterNotYet) }

func testLostAnswerAfterNotYet(t *testing.T, e engine) {
	for _, blind := range []bool{true, false} {
		t.Run(map[bool]string{true: "cannot look up", false: "can look up"}[blind], func(t *testing.T) {
			t.Parallel()
			r, authority, change := faultyRig(t, e)
			authority.blind = blind
			var hang atomic.Bool
			authority.issue = func(ctx context.Context, _ ca.Request) (ca.Certificate, error) {
				if hang.Load() {
					<-ctx.Done()
					return ca.Certificate{}, ctx.Err()
				}
				return ca.Certificate{}, notYet(time.Hour)
			}
			w := r.station("bay-1").one("CUTOFF").escrowed()
			must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
			waitAsked(t, authority, 1)
			hang.Store(true)
			r.clock.advance(61 * time.Minute)
			waitAsked(t, authority, 2)
			r.stop()
			hang.Store(false)
			authority.lookup = func(context.Context, string) (ca.Certificate, bool, error) {
				return ca.Certificate{}, false, notYet(time.Hour) // it has the request, for certain
			}
			r.start(change)
			if blind {
				r.waitState("CUTOFF-001", api.ISSUEUNKNOWN)
				r.clock.advance(61 * time.Minute)
				waitAsked(t, authority, 2)
				return
			}
			waitAsked(t, authority, 2)
			deadline := time.Now().Add(patience)
			for r.wantState("CUTOFF-001", api.ISSUING).PendingUntil == nil {
				if time.Now().After(deadline) {
					t.Fatal("the unit waits for nothing")
				}
				time.Sleep(10 * time.Millisecond)
			}
			authority.issue, authority.lookup = nil, nil
			r.clock.advance(61 * time.Minute)
			must[api.IssuedCertificate](t, w.getCertificate(10), http.StatusOK)
			wantCertificates(t, authority, 1)
		})
	}
}

// What is on its way out is looked up when the CA said, not before, as often as it says "not yet".
func TestNotYetOfAUnitOnItsWayOut(t *testing.T) { onBothEngines(t, testNotYetOfAUnitOnItsWayOut) }

func testNotYetOfAUnitOnItsWayOut(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) { return ca.Certificate{}, notYet(time.Hour) }
	authority.lookup = func(context.Context, string) (ca.Certificate, bool, error) {
		return ca.Certificate{}, false, notYet(2 * time.Hour)
	}
	s := r.station("bay-1")
	cancelled, held := s.one("CANCELLED").escrowed(), s.one("HELD").escrowed()
	for _, w := range []*work{cancelled, held} {
		must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	}
	waitAsked(t, authority, 2)
	if _, err := r.admin.Cancel(t.Context(), "CANCELLED", api.CancelRequest{Operator: "p1", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	held.result = api.ResultRequest{Epoch: held.lease.Epoch, Outcome: api.Faulty, TokenSerial: held.csr.TokenSerial}
	must[api.UnitState](t, held.putResult(), http.StatusOK)
	for i, row := range []struct {
		skip time.Duration
		want int32
	}{{0, 0}, {61 * time.Minute, 2}, {61 * time.Minute, 2}, {61 * time.Minute, 4}} {
		r.clock.advance(row.skip)
		for deadline := time.Now().Add(patience); authority.lookedFor.Load() < row.want && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(200 * time.Millisecond) // several sweeps
		if got := authority.lookedFor.Load(); got != row.want {
			t.Errorf("step %d: looked up %d times, want %d", i, got, row.want)
		}
	}
	for _, u := range []api.Unit{r.wantState("CANCELLED-001", api.CANCELLING), r.wantState("HELD-001", api.HELD)} {
		wantPending(t, u, r.clock.now().Add(2*time.Hour))
		o, err := r.admin.Order(t.Context(), u.OrderId)
		if err != nil {
			t.Fatal(err)
		}
		wantPending(t, o.Units[0], r.clock.now().Add(2*time.Hour))
	}
	authority.lookup = nil
	r.clock.advance(121 * time.Minute)
	for deadline := time.Now().Add(patience); authority.lookedFor.Load() < 6 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	waitAsked(t, authority, 2)
	if got := authority.lookedFor.Load(); got != 6 {
		t.Errorf("looked up %d times although it is known", got)
	}
	for _, id := range []string{"CANCELLED-001", "HELD-001"} {
		if u := r.unit(id); u.PendingReason != nil || u.PendingUntil != nil {
			t.Errorf("unit %s still waits: %+v", id, u)
		}
	}
}

// wantPending sees that a unit says why it waits for the CA, and until about when.
func wantPending(t *testing.T, u api.Unit, until time.Time) {
	t.Helper()
	if u.PendingReason == nil || *u.PendingReason != "the CA waits for a person" || u.PendingUntil == nil || u.PendingUntil.Sub(until).Abs() > patience {
		t.Errorf("%s unit %s waits for %+v until %v, and not until %s", u.State, u.UnitId, u.PendingReason, u.PendingUntil, until)
	}
}

// Of a unit on its way out a CA that cannot look up is not asked: the unit says what that said
// last, and not when it is asked again.
func TestNotYetIsLeftToAPerson(t *testing.T) { onBothEngines(t, testNotYetIsLeftToAPerson) }

func testNotYetIsLeftToAPerson(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	authority.blind = true
	authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) { return ca.Certificate{}, notYet(time.Hour) }
	w := r.station("bay-1").one("PERSON").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	waitAsked(t, authority, 1)
	wantPending(t, r.wantState("PERSON-001", api.ISSUING), r.clock.now().Add(time.Hour))
	w.result = api.ResultRequest{Epoch: w.lease.Epoch, Outcome: api.Faulty, TokenSerial: w.csr.TokenSerial}
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	if u := r.wantState("PERSON-001", api.HELD); u.PendingReason == nil || *u.PendingReason != "the CA waits for a person" || u.PendingUntil != nil {
		t.Errorf("the unit waits for %+v until %v", u.PendingReason, u.PendingUntil)
	}
}

// Waiting ends with the time of custody: then a person asks the CA.
func TestNotYetForTooLong(t *testing.T) { onBothEngines(t, testNotYetForTooLong) }

func testNotYetForTooLong(t *testing.T, e engine) {
	t.Parallel()
	r, authority, _ := faultyRig(t, e)
	authority.blind = true
	authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) {
		return ca.Certificate{}, notYet(30 * time.Hour)
	}
	w := r.station("bay-1").one("LONG").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	for n := range int32(3) {
		waitAsked(t, authority, n+1)
		if n < 2 {
			r.wantState("LONG-001", api.ISSUING)
			r.clock.advance(30*time.Hour + time.Minute)
		}
	}
	r.waitState("LONG-001", api.ISSUEUNKNOWN)
	r.clock.advance(time.Hour)
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted) // which has it looked at again
	waitAsked(t, authority, 3)
}

// Two certificates for one request are for a person, who keeps one.
func TestIssuedTwice(t *testing.T) { onBothEngines(t, testIssuedTwice) }

func testIssuedTwice(t *testing.T, e engine) {
	t.Parallel()
	r, authority, change := faultyRig(t, e)
	authority.blind = true
	authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) {
		return ca.Certificate{}, &ca.TwiceError{Serials: []string{"0A", "0B"}}
	}
	r.stop()
	log := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r.start(func(c *central.Config) {
		change(c)
		c.Logger = slog.New(slog.NewTextHandler(f, nil))
	})
	w := r.station("bay-1").one("TWICE").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	r.waitState("TWICE-001", api.ISSUEUNKNOWN)
	waitAsked(t, authority, 1)
	if said, err := os.ReadFile(log); err != nil || !strings.Contains(string(said), "ALARM") || !strings.Contains(string(said), "[0A 0B]") {
		t.Errorf("no alarm with both serials: %v\n%s", err, said)
	}
}

// Two servers ask a CA that has not decided as one would.
func TestTwoServersAndNotYet(t *testing.T) {
	a, b, authority := twoServers(t)
	var told atomic.Int32
	authority.answer = func() error {
		if told.Add(1) == 1 {
			return notYet(3 * time.Second)
		}
		return nil
	}
	w := a.station("bay-1").one("NODES").escrowed()
	begun := time.Now()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	at := *w
	at.station = w.at(b)
	must[api.IssuedCertificate](t, at.getCertificate(20), http.StatusOK)
	if took := time.Since(begun); took < 3*time.Second || authority.count("NODES-001-g1") != 2 {
		t.Errorf("told %d times in %s, want 2 times in 3 s", authority.count("NODES-001-g1"), took)
	}
	if _, total, err := authority.Issued(t.Context(), 1, 0); err != nil || total != 1 {
		t.Errorf("%d certificates, %v", total, err)
	}
}

// The whole way with an EST server: it decides late, and it loses an answer.
func TestESTServer(t *testing.T) { onBothEngines(t, testESTServer) }

func testESTServer(t *testing.T, e engine) {
	t.Parallel()
	s := esttest.New(t)
	authority, err := est.New(est.Config{Server: s.URL, ServerTrust: s.ServerTrust, Client: s.Client, Roots: s.Roots, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	change := func(c *central.Config) { c.CA, c.IssueWait = authority, 50*time.Millisecond }
	r := newRig(t, e, change)
	station := r.station("bay-1")

	s.Do(esttest.Later(2, "600"))
	w := station.one("LATER").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	for n := 1; n <= 2; n++ {
		for deadline := time.Now().Add(patience); s.Asked(w.csr.Csr) < n; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("asked %d times, want %d", s.Asked(w.csr.Csr), n)
			}
		}
		time.Sleep(100 * time.Millisecond)
		if u := r.wantState("LATER-001", api.ISSUING); u.PendingReason == nil || !strings.Contains(*u.PendingReason, "202") {
			t.Errorf("the unit does not say what the server said: %+v", u.PendingReason)
		}
		r.clock.advance(601 * time.Second)
	}
	c := must[api.IssuedCertificate](t, w.getCertificate(10), http.StatusOK)
	if asked, made := s.Asked(w.csr.Csr), len(s.Made(w.csr.Csr)); asked != 3 || made != 1 {
		t.Errorf("asked %d times, %d certificates; want 3 and 1", asked, made)
	}
	w.take(c)
	must[api.UnitState](t, w.putResult(), http.StatusOK)

	s.Do(esttest.CutAfter)
	lost := station.one("LOST").escrowed()
	must[api.UnitState](t, lost.putCSR(), http.StatusAccepted)
	r.waitState("LOST-001", api.ISSUEUNKNOWN)
	s.Do(esttest.Issue)
	r.stop()
	r.start(change)
	time.Sleep(100 * time.Millisecond)
	r.wantState("LOST-001", api.ISSUEUNKNOWN)
	if asked, made := s.Asked(lost.csr.Csr), len(s.Made(lost.csr.Csr)); asked != 1 || made != 1 {
		t.Errorf("asked %d times, %d certificates; want 1 and 1", asked, made)
	}
}

// The whole way with an offline CA: the server stops and starts while its request
// is carried about, and will not go on with another folder meanwhile.
func TestOfflineCA(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, dir: t.TempDir(), clock: &clock{}, spec: specRouter(t)}
	offline := r.developmentCA()
	dir := t.TempDir()
	var folder *drop.CA
	start := func() {
		var err error
		if folder, err = drop.Open(drop.Config{Dir: dir, Roots: offline.Roots(), Poll: 20 * time.Millisecond, Settle: 10 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		r.start(func(c *central.Config) { c.CA, c.IssueWait = folder, 50*time.Millisecond })
	}
	stop := func() {
		r.stop()
		if err := folder.Close(); err != nil {
			t.Fatal(err)
		}
	}
	start()
	w := r.station("bay-1").one("OFFLINE").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	request := filepath.Join(dir, "out", "OFFLINE-001-g1.csr")
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) { // the answer did not wait for it
		if _, err := os.Stat(request); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	stop()
	if err := os.Remove(request); err != nil { // taken away by hand
		t.Fatal(err)
	}
	empty, err := drop.Open(drop.Config{Dir: t.TempDir(), Roots: offline.Roots()})
	if err != nil {
		t.Fatal(err)
	}
	if srv, err := central.New(t.Context(), central.Config{DataDir: r.dir, Clock: r.clock.now, CA: empty}); err == nil || !strings.Contains(err.Error(), "another CA") {
		t.Errorf("with an empty folder: %v %v", srv, err)
	}
	if err := empty.Close(); err != nil {
		t.Fatal(err)
	}
	start()
	defer func() { stop() }()
	time.Sleep(100 * time.Millisecond)
	r.wantState("OFFLINE-001", api.ISSUING)
	if _, err := os.Stat(request); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the request was given out twice: %v", err)
	}
	signed, err := offline.Issue(t.Context(), ca.Request{ID: "by hand", CSR: w.csr.Csr, Profile: ca.UserKey(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "in", "answer.p7b"), signed.PKCS7, 0o640); err != nil {
		t.Fatal(err)
	}
	c := must[api.IssuedCertificate](t, w.getCertificate(20), http.StatusOK)
	if c.CertificateSha256 != ca.Digest(signed.Leaf) {
		t.Error("another certificate came")
	}
	w.take(c)
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	r.wantState("OFFLINE-001", api.INSTALLED)
}

// A folder knows what was given out from it; servers that share a store would each prove
// the absence of what the others gave out.
func TestOfflineCAIsForOneServer(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, dir: t.TempDir(), clock: &clock{}}
	folder, err := drop.Open(drop.Config{Dir: t.TempDir(), Roots: r.developmentCA().Roots()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = folder.Close() }()
	if srv, err := central.New(t.Context(), central.Config{DataDir: r.dir, Postgres: postgres(t), Clock: r.clock.now, CA: folder}); err == nil || !strings.Contains(err.Error(), "leave out --store") {
		t.Errorf("%v %v", srv, err)
	}
}

// Another CA is not taken up while the one before has not answered: it would say
// that it issued nothing, and issue.
func TestAnotherCA(t *testing.T) { onBothEngines(t, testAnotherCA) }

func testAnotherCA(t *testing.T, e engine) {
	t.Parallel()
	r, authority, change := faultyRig(t, e)
	authority.issue = func(context.Context, ca.Request) (ca.Certificate, error) { return ca.Certificate{}, notYet(time.Hour) }
	w := r.station("bay-1").one("OTHER").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	waitAsked(t, authority, 1)
	r.stop()
	other := central.Config{DataDir: r.dir, Postgres: r.postgres, Clock: r.clock.now}
	if srv, err := central.New(t.Context(), other); err == nil || !strings.Contains(err.Error(), "1 units wait for a certificate of another CA") {
		t.Errorf("with the development CA: %v %v", srv, err)
	}
	authority.issue = nil
	r.start(change)
	r.clock.advance(61 * time.Minute)
	must[api.IssuedCertificate](t, w.getCertificate(10), http.StatusOK)
	r.stop()
	r.start(nil) // nothing is outstanding, so it may be another one
}
