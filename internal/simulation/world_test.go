//go:build !race

package simulation

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/big"
	mrand "math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

const (
	product  = "CERT272353"
	worstKey = 10 * time.Second
	// custody is short, so that it runs out now and then.
	custody = 30 * time.Minute
	// remembered is how many events a violation is told with.
	remembered = 60
	// garbageEvery is how many rests there are between two collections of garbage.
	garbageEvery = 4000
)

// world is everything, driven from one goroutine.
type world struct {
	t        *testing.T
	seed     uint64
	dir      string
	rng      *mrand.Rand
	gate     *gate
	model    *model
	ca       *authority
	common   *database.Common
	nodes    []*node
	stations []*station
	cards    []*card
	table    []*card // taken out of a station
	began    time.Time
	keys     *provision.KeyGate // every station's has its tables
	product  func(string) (provision.Product, error)

	recipient addressee // may open both PINs
	officer   addressee // and SO PINs
	noticesMu sync.Mutex
	notices   []func() // of the step that goes on
	calm      bool
	offline   bool // no message arrives
	// hold keeps an action waiting; it may be nil.
	hold func(*action) bool
	// heard hears of every request that the server has answered well; it may be nil.
	heard   func(method, path string, body []byte)
	verbose bool
	orders  int
	steps   int
	rests   int // so often everybody had come to rest
	trace   hash.Hash
	last    []string
	broken  []string
}

// violation is how a world ends early.
type violation struct{ what []string }

func (v violation) Error() string { return strings.Join(v.what, "; ") }

// newWorld makes two servers on one store, a CA, and no station yet. It has to be in a bubble.
func newWorld(t *testing.T, seed uint64, dir string, keys [2]*rsa.PrivateKey) *world {
	time.Sleep(time.Until(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)))
	w := &world{
		t: t, seed: seed, dir: dir, rng: mrand.New(mrand.NewPCG(seed, 0)), gate: newGate(), trace: sha256.New(),
		began: time.Now(),
	}
	w.model = newModel(w)
	w.ca = newAuthority(w)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample recipient"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	w.recipient = w.addressee(template, keys[0])
	template.SerialNumber = big.NewInt(2)
	w.officer = w.addressee(template, keys[1])
	w.product = sampleProduct(w)
	w.common = database.NewCommon(filepath.Join(dir, "central.db"), w.notice)
	for range 2 {
		w.addNode()
	}
	return w
}

func sampleProduct(w *world) func(string) (provision.Product, error) {
	alg, err := pkcs11.AlgorithmByName("ec-p256")
	w.must(err)
	profile, err := csr.Profile{
		Subject:  csr.SubjectTemplate{{Type: "C", Value: "CN"}, {Type: "O", Value: "{{.Company.Name}}"}, {Type: "CN", Value: "{{.UnitID}}"}},
		KeyUsage: []string{"digitalSignature", "contentCommitment"}, ExtKeyUsage: []string{"clientAuth", "emailProtection"},
		ValidityTolerance: time.Hour, ClockTolerance: time.Minute,
	}.Compile()
	w.must(err)
	p := provision.Product{Code: product, Algorithm: alg, Profile: profile, UserPIN: provision.PINPolicy{Length: 8, Alphabet: "0123456789", Deny: provision.PINRules()}}
	return func(string) (provision.Product, error) { return p, nil }
}

func (w *world) units() []api.Unit {
	var all []api.Unit
	for order := range w.orders {
		var list api.UnitList
		w.admin("GET", "/units?orderId="+orderID(order), nil, &list)
		all = append(all, list.Units...)
	}
	return all
}

func orderID(n int) string { return fmt.Sprintf("SIM-%04d", n) }

func (w *world) order(units int) {
	id := orderID(w.orders)
	w.orders++
	var out map[string]any
	w.admin("PUT", "/orders/"+id, map[string]any{
		"orderId": id, "productCode": product, "validityYears": 1, "quantity": units,
		"company":  map[string]any{"name": "示例客车配件有限公司", "uscc": "91000000MA0000001R"},
		"handler":  map[string]any{"name": "经办人甲", "email": "handler-1@example.com"},
		"shipping": map[string]any{"carrier": "SF", "freightCollect": true, "recipient": map[string]any{"name": "收件人乙", "phone": "000-0000-0000", "address": "示例省示例市示例路 1 号"}},
		"approval": map[string]any{"approvedBy": "审核员丙", "approvedAt": "2026-11-18T10:20:00+08:00"},
		"dueAt":    time.Now().Add(72 * time.Hour).Format(time.RFC3339),
	}, &out)
}

// blank is a new card.
func (w *world) blank() *card {
	c := &card{serial: pkcs11.TokenSerial(fmt.Sprintf("SIM%08d", len(w.cards)+1))}
	w.cards = append(w.cards, c)
	return c
}

func (w *world) must(err error) {
	if err != nil {
		panic(fmt.Errorf("seed %d, step %d: the world itself does not work: %w", w.seed, w.steps, err))
	}
}

// violate notes what must not be; the world ends at the next step.
func (w *world) violate(format string, args ...any) {
	w.broken = append(w.broken, fmt.Sprintf(format, args...))
}

// event writes down what happens, for the trace and for whoever has to find out.
func (w *world) event(format string, args ...any) {
	line := fmt.Sprintf("%d %s ", w.steps, time.Since(w.began).Round(time.Millisecond)) + fmt.Sprintf(format, args...)
	_, _ = w.trace.Write([]byte(line + "\n"))
	if w.last = append(w.last, line); len(w.last) > remembered {
		w.last = w.last[1:]
	}
	if w.verbose {
		w.t.Log(line)
	}
}

// step lets one thing happen. What has begun before it has come to rest.
func (w *world) step() error {
	synctest.Wait()
	if w.rests++; w.rests%garbageEvery == 0 {
		runtime.GC()
	}
	w.sendNotices()
	select {
	case <-w.gate.arrived: // it is looked at now
	default:
	}
	if len(w.broken) > 0 {
		return violation{w.broken}
	}
	w.wake()
	if !w.calm && w.rng.IntN(100) < 2 {
		w.steps++
		w.mischief()
		return nil
	}
	now := time.Now()
	var ready []*action
	next := now.Add(5 * time.Second)
	for _, a := range w.gate.all() {
		if w.hold != nil && w.hold(a) {
			continue
		}
		if !a.seen {
			a.seen, a.at = true, now.Add(w.delay(a))
		}
		at := a.at
		if s := w.stationOf(a.actor); s != nil && s.frozen.After(at) && !a.strayed {
			at = s.frozen
		}
		switch {
		case !at.After(now):
			ready = append(ready, a)
		case at.Before(next):
			next = at
		}
	}
	if len(ready) == 0 {
		timer := time.NewTimer(next.Sub(now))
		defer timer.Stop()
		select {
		case <-w.gate.arrived:
		case <-timer.C:
		}
		return nil
	}
	a := ready[w.rng.IntN(len(ready))]
	v := w.fate(a)
	w.steps++
	w.event("%s %s %s", a.actor, a.what, v)
	if v == stray {
		w.astray(a)
		return nil
	}
	a.chance = w.rng.Int()
	w.gate.release(a, v)
	return nil
}

func (w *world) stationOf(name string) *station {
	for _, s := range w.stations {
		if s.name == name {
			return s
		}
	}
	return nil
}

// delay is how long an action takes to happen.
func (w *world) delay(a *action) time.Duration {
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(w.rng.Int64N(int64(most-least)))
	}
	slow := !w.calm && w.rng.IntN(20) == 0
	switch {
	case a.kind == tokenCall && strings.HasPrefix(a.what, "C_GenerateKeyPair"):
		return between(time.Second, worstKey/2)
	case a.kind == tokenCall:
		return between(time.Millisecond, 50*time.Millisecond)
	case a.kind == caCall && slow:
		return between(time.Second, 3*time.Minute) // past the server's patience, too
	case slow:
		return between(time.Second, 4*time.Minute)
	}
	return between(time.Millisecond, 200*time.Millisecond)
}

// fate is what becomes of an action.
func (w *world) fate(a *action) verdict {
	if w.offline && (a.kind == request || a.kind == answer) {
		return lose
	}
	if w.calm || a.strayed {
		return pass
	}
	if m := a.message; m != nil && m.from.cut.After(time.Now()) {
		return lose
	}
	n := w.rng.IntN(200)
	switch a.kind {
	case request:
		switch {
		case n < 6:
			return lose
		case n < 10:
			return silence
		case n < 13:
			return twice
		case n < 16:
			return twiceElsewhere
		case n < 20:
			return forged
		case n < 24 && a.message.writes(), n < 45 && strings.HasSuffix(a.message.path, "/csr"):
			return stray
		}
	case notice:
		if n < 20 {
			return lose
		}
	case answer:
		switch {
		case n < 8:
			return loseAfter
		case n < 12:
			return silence
		}
	case tokenCall:
		switch {
		case n < 1:
			return lose
		case n < 3:
			return loseAfter
		}
	case caCall:
		switch {
		case n < 10:
			return lose
		case n < 30:
			return loseAfter
		case n < 45 && strings.HasPrefix(a.what, "issue "):
			return notYet
		}
	}
	return pass
}

// end lets go of everything.
func (w *world) end() {
	w.gate.close()
	for _, s := range w.stations {
		s.crash()
	}
	for _, n := range w.nodes {
		n.stop(false)
	}
	w.must(w.common.Close())
	synctest.Wait()
}

// addressee is one who may open PINs.
type addressee struct {
	cert   *x509.Certificate
	sha256 string
}

func (w *world) addressee(template *x509.Certificate, key *rsa.PrivateKey) addressee {
	cert := w.sign(template, template, key.Public(), key)
	sum := sha256.Sum256(cert.Raw)
	return addressee{cert, hex.EncodeToString(sum[:])}
}

// recipientKeys are theirs. They take a while to make.
func recipientKeys() (keys [2]*rsa.PrivateKey, err error) {
	for i := range keys {
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return keys, err
		}
	}
	return keys, nil
}

var errNotConverged = errors.New("the world does not come to rest")
