package central

import (
	"sync"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// claimFlights are the claims that wait for work now. The store remembers a key
// only once units were given out under it; until then the key is known here.
type claimFlights struct {
	mu      sync.Mutex
	flights map[flightKey]*claimFlight
}

type flightKey struct{ station, key string }

// claimFlight is one claim and the repeats of it that joined.
type claimFlight struct {
	key    flightKey
	digest string
	joined int
	once   sync.Once
	// landed is closed when one of them got units; the store gives the others the same.
	landed chan struct{}
}

func newClaimFlights() *claimFlights {
	return &claimFlights{flights: make(map[flightKey]*claimFlight)}
}

func (c *claimFlights) join(claim store.Claim) (*claimFlight, error) {
	key := flightKey{claim.Station, claim.Key}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[key]
	if f == nil {
		f = &claimFlight{key: key, digest: claim.RequestSHA256, landed: make(chan struct{})}
		c.flights[key] = f
	}
	if f.digest != claim.RequestSHA256 {
		return nil, problem(api.ProblemIdempotencyKeyReused, "a claim with this Idempotency-Key and another body is under way")
	}
	f.joined++
	return f, nil
}

func (c *claimFlights) leave(f *claimFlight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.joined--; f.joined == 0 {
		delete(c.flights, f.key)
	}
}

func (f *claimFlight) land() { f.once.Do(func() { close(f.landed) }) }
