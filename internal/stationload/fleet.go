package stationload

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
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// Enroll has a server certify a station's key.
type Enroll func(ctx context.Context, name string, key crypto.Signer) (api.StationCredential, error)

// Fleet is the stations of one server, or of several on one store.
type Fleet struct {
	stations []*Station
	supply   *Supply
	ledger   ledger
	record   atomic.Pointer[Record]
	// polling is how many claims wait at the server now.
	polling atomic.Int64
	// waiting has when an order was sent that stations wait for.
	waiting sync.Map
	// holding says that what is claimed is not worked on yet.
	holding atomic.Bool
	// working is how many stations are not at rest.
	working atomic.Int64

	mu   sync.Mutex
	open chan struct{} // closed while stations may claim
	stop context.CancelFunc
	turn context.Context // ends when they may not any more

	all    sync.WaitGroup
	cancel context.CancelFunc
}

// NewFleet enrols n stations; each calls one of the servers at urls, in turn.
func NewFleet(ctx context.Context, n int, urls []string, supply *Supply, enroll Enroll) (*Fleet, error) {
	f := &Fleet{supply: supply, ledger: ledger{leased: map[string]string{}}, open: make(chan struct{})}
	f.turn, f.stop = context.WithCancel(context.Background())
	f.record.Store(newRecord())
	var roots *x509.CertPool
	for i := range n {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a station's key: %w", err)
		}
		name := fmt.Sprintf("load-%04d", i+1)
		credential, err := enroll(ctx, name, key)
		if err != nil {
			return nil, fmt.Errorf("enrol station %s: %w", name, err)
		}
		if roots == nil {
			root, err := x509.ParseCertificate(credential.ServerTrust)
			if err != nil {
				return nil, fmt.Errorf("read the server's root: %w", err)
			}
			roots = x509.NewCertPool()
			roots.AddCert(root)
		}
		s, err := newStation(f, name, urls[i%len(urls)], roots, tls.Certificate{Certificate: [][]byte{credential.Certificate}, PrivateKey: key})
		if err != nil {
			return nil, err
		}
		f.stations = append(f.stations, s)
	}
	return f, nil
}

// Start lets all stations begin, spread over some time; they claim once there is an Open.
func (f *Fleet) Start(ctx context.Context, over time.Duration) {
	ctx, f.cancel = context.WithCancel(ctx)
	f.working.Store(int64(len(f.stations)))
	for i, s := range f.stations {
		f.all.Go(func() {
			if sleep(ctx, over*time.Duration(i)/time.Duration(len(f.stations))) == nil {
				s.run(ctx)
			}
		})
	}
}

// Stop ends all stations.
func (f *Fleet) Stop() {
	if f.cancel != nil {
		f.cancel()
	}
	f.all.Wait()
	for _, s := range f.stations {
		s.transport.CloseIdleConnections()
	}
}

// Phase begins a new record.
func (f *Fleet) Phase() *Record {
	r := newRecord()
	f.record.Store(r)
	return r
}

// Open lets stations claim; hold says that they shall keep what they claim until a
// later Open without it, and claim on.
func (f *Fleet) Open(hold bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holding.Store(hold)
	f.turn, f.stop = context.WithCancel(context.Background())
	close(f.open)
}

// Pause ends all claims that wait, and returns when every station rests.
func (f *Fleet) Pause(ctx context.Context) error {
	f.mu.Lock()
	f.stop()
	f.open = make(chan struct{})
	f.mu.Unlock()
	return f.Until(ctx, "all stations rest", func() bool { return f.working.Load() == 0 })
}

// next waits until stations may claim, and gives the context that ends when they may not any more.
func (f *Fleet) next(ctx context.Context) (context.Context, error) {
	f.working.Add(-1)
	defer f.working.Add(1)
	for {
		f.mu.Lock()
		open, turn := f.open, f.turn
		f.mu.Unlock()
		select {
		case <-open:
			if turn.Err() == nil {
				return turn, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Polling is how many claims wait at the server now.
func (f *Fleet) Polling() int { return int(f.polling.Load()) }

// Sent says that an order is sent now, to stations that wait for it.
func (f *Fleet) Sent(orderID string) { f.waiting.Store(orderID, time.Now()) }

// since is from when a claim that gave this order is timed.
func (f *Fleet) since(orderID string, sent time.Time) time.Time {
	if at, ok := f.waiting.LoadAndDelete(orderID); ok {
		return at.(time.Time)
	}
	return sent
}

// Lives is what the answers said of all units that came to their end, and what in the
// answers cannot be.
func (f *Fleet) Lives() (lives []Life, wrong []string) {
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	return slices.Clone(f.ledger.lives), slices.Clone(f.ledger.wrong)
}

// ErrTooLong says that something did not come about in time.
var ErrTooLong = errors.New("it did not come about in time")

// Until waits for something.
func (f *Fleet) Until(ctx context.Context, what string, done func() bool) error {
	for !done() {
		if _, wrong := f.Lives(); len(wrong) > 0 {
			return fmt.Errorf("wait until %s: %s", what, wrong[0])
		}
		if sleep(ctx, 2*time.Millisecond) != nil {
			return fmt.Errorf("wait until %s: %w", what, ErrTooLong)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
