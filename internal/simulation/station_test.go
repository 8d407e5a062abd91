//go:build !race

package simulation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// errDied is what is seen of a call by nobody, for who made it has died.
var errDied = errors.New("the station died")

// station is one machine: what outlives its daemon.
type station struct {
	w           *world
	name        string
	dir         string
	certificate *x509.Certificate
	credential  tls.Certificate
	record      *agent.RecordKeys
	hub         *hub
	frozen      time.Time // suspended until then
	down        time.Time // off until then
	cut         time.Time // nothing that it sends or is sent arrives until then
	life        *life     // nil while it is off
	lives       int
	instance    string // its UUID
}

// life is one start of a station's daemon.
type life struct {
	station *station
	dead    chan struct{}
	cancel  context.CancelFunc
	journal *provision.Journal
	ended   chan struct{}
}

func (w *world) addStation(name string, slots int) *station {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	cn, err := csr.ParseAttributeType("CN")
	w.must(err)
	request, err := csr.Build(key, csr.Request{Subject: []csr.Attribute{{Type: cn, Value: name}}})
	w.must(err)
	var credential struct{ Certificate, ServerTrust []byte }
	w.admin("PUT", "/stations/"+name, map[string]any{"csr": request}, &credential)
	s := &station{w: w, name: name, dir: filepath.Join(w.dir, name), hub: newHub(name, slots),
		instance: fmt.Sprintf("00000000-0000-4000-8000-%012d", 1+len(w.stations)),
	}
	s.certificate, err = x509.ParseCertificate(credential.Certificate)
	w.must(err)
	s.credential = tls.Certificate{Certificate: [][]byte{credential.Certificate}, PrivateKey: key}
	root, err := x509.ParseCertificate(credential.ServerTrust)
	w.must(err)
	s.record = &agent.RecordKeys{Signer: key, Central: []crypto.PublicKey{root.PublicKey}}
	w.must(os.Mkdir(s.dir, 0o700))
	s.hub.wrote = func(op string, c *card) { w.model.wrote(s, op, c) }
	w.stations = append(w.stations, s)
	return s
}

// pool gives out the hub. It implements agent.Pool.
type pool struct{ hub *hub }

func (p pool) Acquire(context.Context) (pkcs11.Module, error) { return &module{hub: p.hub}, nil }
func (p pool) Release(m pkcs11.Module)                        { _ = m.Close() }

// call lets a call to a card happen when the world says so. To list the slots costs
// nothing and goes at once.
func (l *life) call(ctx context.Context, op string, effect func() error) error {
	if op == "C_GetSlotList" || op == "C_GetInfo" {
		return effect()
	}
	v, ok := l.station.w.gate.enter(ctx, &action{kind: tokenCall, actor: l.station.name, what: op}, l.dead)
	switch {
	case !ok && ctx.Err() != nil:
		return ctx.Err()
	case !ok:
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrModuleCrashed}
	case v == lose || v == silence:
		return pkcs11.CodeError(op, 0x30)
	}
	err := effect()
	if v == loseAfter && err == nil {
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrModuleCrashed}
	}
	return err
}

// start starts the daemon on the journal that there is.
func (s *station) start() {
	w := s.w
	path := filepath.Join(s.dir, "journal.db")
	exists, err := provision.JournalExists(path)
	w.must(err)
	vault, err := provision.OpenVault(filepath.Join(s.dir, "journal.key"), !exists)
	w.must(err)
	journal, err := provision.OpenJournal(path)
	w.must(err)
	if w.keys == nil {
		w.keys, err = provision.NewKeyGate(journal)
		w.must(err)
	}
	gate, err := w.keys.For(journal)
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	s.lives++
	l := &life{station: s, dead: make(chan struct{}), cancel: cancel, journal: journal, ended: make(chan struct{})}
	s.life = l
	s.hub.call = l.call
	var urls []string
	for _, n := range w.nodes {
		urls = append(urls, n.url())
	}
	central, err := agent.NewCentralOver(urls, s.credential, &wire{w, l})
	w.must(err)
	chance := mrand.New(mrand.NewPCG(w.seed, uint64(len(s.name)+1000*s.lives)))
	a := agent.New(agent.Config{
		Central: central, Instances: []agent.Instance{{Name: "hub", Pool: pool{s.hub}}},
		Products: []string{product}, Capabilities: []agent.Capability{{TokenModel: "simulated", Algorithms: []string{"ec-p256"}, WorstKeyGeneration: worstKey}},
		UserPINRecipients: []string{w.recipient.sha256}, SOPINRecipients: []string{w.recipient.sha256, w.officer.sha256},
		InstanceID: s.instance, BootID: fmt.Sprint("boot-", s.lives), Version: "simulation",
		WatchInterval: time.Second, Log: slog.New(slog.NewTextHandler(&ear{s}, nil)),
		Record: s.record,
		Label:  func(string) (*csr.Text, error) { return csr.CompileText("{{.UnitID}}") },
		Clock:  func() time.Duration { return time.Since(w.began) },
		Jitter: func(d time.Duration) time.Duration { return time.Duration(chance.Int64N(int64(d))) },
		Runner: provision.Runner{
			Journal: journal, Vault: vault, Keys: gate, Anchors: w.ca.Roots(), Product: w.product, Now: time.Now,
			TokenProfile: func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
				return provision.TokenProfile{Name: "simulated", SOPIN: provision.PINPolicy{Length: 16, Alphabet: "0123456789"}, WorstKeyGeneration: worstKey}, nil
			},
		},
	})
	go func() {
		defer close(l.ended)
		if _, err := a.Run(ctx); err != nil && ctx.Err() == nil {
			w.violate("%s: the daemon ended by itself: %v", s.name, err)
		}
	}()
}

// crash ends the daemon between two of its steps: nothing more becomes durable, nothing
// more is done, what it sent may still arrive.
func (s *station) crash() {
	l := s.life
	if l == nil {
		return
	}
	s.life = nil
	close(l.dead)
	_ = l.journal.Close() // it ends as it is
	l.cancel()
	<-l.ended
}

// ear listens to a station's log.
type ear struct{ station *station }

func (e *ear) Write(line []byte) (int, error) {
	e.station.w.model.sent(e.station, line)
	if e.station.w.verbose {
		e.station.w.t.Logf("%s %s", e.station.name, strings.TrimSpace(string(line)))
	}
	return len(line), nil
}
