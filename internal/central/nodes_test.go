package central_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// countingCA counts how often it is told of each request, by whichever server.
type countingCA struct {
	*ca.Development
	mu     sync.Mutex
	told   map[string]int
	before func(id string) // while a request is under way
	answer func() error    // instead of the CA's, if not nil
	deaf   error           // instead of an answer to Lookup, if not nil
}

func (c *countingCA) Lookup(ctx context.Context, id string) (ca.Certificate, bool, error) {
	if c.deaf != nil {
		return ca.Certificate{}, false, c.deaf
	}
	return c.Development.Lookup(ctx, id)
}

func (c *countingCA) Issue(ctx context.Context, r ca.Request) (ca.Certificate, error) {
	c.mu.Lock()
	c.told[r.ID]++
	c.mu.Unlock()
	if c.before != nil {
		c.before(r.ID)
	}
	if c.answer != nil {
		if err := c.answer(); err != nil {
			return ca.Certificate{}, err
		}
	}
	return c.Development.Issue(ctx, r)
}

func (c *countingCA) count(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told[id]
}

// twoServers are two servers on one PostgreSQL, as two machines would run them, and
// the CA that both ask.
func twoServers(t *testing.T) (a, b *rig, authority *countingCA) {
	t.Helper()
	a = &rig{t: t, dir: t.TempDir(), postgres: postgres(t), clock: &clock{}, spec: specRouter(t)}
	b = &rig{t: t, dir: t.TempDir(), postgres: a.postgres, clock: a.clock, spec: a.spec}
	authority = &countingCA{Development: a.developmentCA(), told: make(map[string]int)}
	change := func(c *central.Config) { c.CA, c.Clock = authority, nil }
	a.start(change)
	if err := os.CopyFS(filepath.Join(b.dir, "station-root"), os.DirFS(filepath.Join(a.dir, "station-root"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(b.dir, "station-root", "root.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(change)
	return a, b, authority
}

// at is the same station, speaking to a server.
func (s *station) at(r *rig) *station {
	other := *s
	other.rig = r
	return &other
}

// Stations claim and issue through two servers at once, every request goes to both:
// no unit, order or certificate comes twice.
func TestTwoServersDoNothingTwice(t *testing.T) {
	a, b, authority := twoServers(t)
	const stations, orders, quantity = 6, 9, 4
	var all []*station
	for i := range stations {
		all = append(all, a.station(fmt.Sprintf("bay-%d", i)))
	}
	for i := range orders {
		[]*rig{a, b}[i%2].submit(order(fmt.Sprintf("N%03d", i), quantity))
	}
	var mu sync.Mutex
	holder, home := make(map[string]string), make(map[string]string)
	once := func(m map[string]string, id, station string, same bool) {
		mu.Lock()
		defer mu.Unlock()
		if was, known := m[id]; known && (was != station || !same) {
			t.Errorf("%s went to %s and to %s", id, was, station)
		}
		m[id] = station
	}
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() {
			mine, other := s.at(a), s.at(b)
			if i%2 == 1 {
				mine, other = other, mine
			}
			for {
				leases := mine.claim(2)
				if len(leases) == 0 {
					return
				}
				for _, l := range leases {
					once(holder, l.UnitId, s.name, false)
					once(home, l.OrderId, s.name, true)
					w := mine.begin(l).escrowed()
					elsewhere := *w
					elsewhere.station = other
					var both sync.WaitGroup
					for _, w := range []*work{w, &elsewhere} {
						both.Go(func() { must[api.IssuedCertificate](t, w.putCSR(), http.StatusOK, http.StatusAccepted) })
					}
					both.Wait()
					elsewhere.take(must[api.IssuedCertificate](t, elsewhere.getCertificate(20), http.StatusOK))
					must[api.UnitState](t, elsewhere.putResult(), http.StatusOK)
				}
				mine, other = other, mine
			}
		})
	}
	wg.Wait()
	if len(holder) != orders*quantity {
		t.Errorf("%d units were given out, want %d", len(holder), orders*quantity)
	}
	for id := range holder {
		b.wantState(id, api.INSTALLED)
		if n := authority.count(id + "-g1"); n != 1 {
			t.Errorf("the CA was told of %s %d times", id, n)
		}
	}
	if _, total, err := authority.Issued(t.Context(), 1, 0); err != nil || total != orders*quantity {
		t.Errorf("the CA issued %d certificates, want %d: %v", total, orders*quantity, err)
	}
}

// A claim that waits at one server is woken by an order that another one takes, long
// before it would look by itself.
func TestAnOrderWakesWhoWaitsAtTheOtherServer(t *testing.T) {
	a, b, _ := twoServers(t)
	s := a.station("bay-1").at(b)
	promptly(t, "the waiting claim was answered", 1200*time.Millisecond, func(try int) time.Duration {
		got := s.waits(uuid.NewString(), 1, 20)
		begun := time.Now()
		a.submit(order(fmt.Sprint("WAKE-", try), 1))
		must[api.ClaimAnswer](t, <-got, http.StatusOK)
		return time.Since(begun)
	})
}

// While one server asks the CA the other keeps away, and hands the certificate out
// once it is there.
func TestTheOtherServerKeepsAwayFromTheCA(t *testing.T) {
	a, b, authority := twoServers(t)
	asked, answer := make(chan string, 10), make(chan struct{})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release) // also when the test fails: the server's end waits for the CA
	authority.before = func(id string) { asked <- id; <-answer }
	w := a.station("bay-1").one("AWAY").escrowed()
	must[api.UnitState](t, w.putCSR(), http.StatusAccepted)
	<-asked
	elsewhere := *w
	elsewhere.station = w.at(b)
	must[api.UnitState](t, elsewhere.putCSR(), http.StatusAccepted)
	for range 3 {
		if err := b.srv.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.wantState("AWAY-001", api.ISSUING)
	release()
	must[api.IssuedCertificate](t, elsewhere.getCertificate(20), http.StatusOK)
	if n := authority.count("AWAY-001-g1"); n != 1 {
		t.Errorf("the CA was told %d times", n)
	}
}

// A server with keys of its own must not join: stations would not know it.
func TestServersMustHaveOneRoot(t *testing.T) {
	r := newRig(t, postgres, nil)
	dir := t.TempDir()
	_, err := central.New(t.Context(), central.Config{DataDir: dir, Postgres: r.postgres})
	if err == nil || !strings.Contains(err.Error(), "another development CA: put the folder ca of the first server") {
		t.Fatalf("a server with another CA: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "ca")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(dir, "ca"), os.DirFS(filepath.Join(r.dir, "ca"))); err != nil {
		t.Fatal(err)
	}
	_, err = central.New(t.Context(), central.Config{DataDir: dir, Postgres: r.postgres})
	if err == nil || !strings.Contains(err.Error(), "another station root: put the folder station-root") {
		t.Fatalf("a server with another station root: %v", err)
	}
}
