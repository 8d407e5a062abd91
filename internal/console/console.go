package console

import (
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/text/language"
)

// Config is what a page is made of.
type Config struct {
	Floor   Floor
	Books   Books
	Packing Packing
	Mailers Mailers
	// Quarantine is where tokens are that a person decides about.
	Quarantine Quarantine
	// Stockroom is where delivered tokens are.
	Stockroom Stockroom
	// Teacher pairs bays with slots.
	Teacher Teacher
	// Labels prints and confirms token labels; nil where there is no printer of labels.
	Labels Labels
	// OneAtATime says that a label comes when its token is pulled, so never those of an order together.
	OneAtATime bool
	// Port is where it is served.
	Port int
	// LockAfter is how long nobody may have touched the page before it locks.
	LockAfter time.Duration
	// Roles says which accounts of this machine may do what.
	Roles map[Role]Accounts
	// Clock runs on while the machine sleeps, and is not set; the page locks by it, and a link is
	// good by it. Nil means Now's time.
	Clock func() time.Duration
	// Now is time.Now outside tests, Zone where the clock on the wall is.
	Now  func() time.Time
	Zone *time.Location
	Log  *slog.Logger
}

// Console is the operator's page. Make one with New, and Serve it.
type Console struct {
	Config
	hosts     []string // that we are called by, exactly
	sessions  *sessions
	acts      *acts
	mux       *http.ServeMux
	words     []*words // Chinese first
	templates map[language.Tag]*template.Template
	streams   chan struct{} // holds a value for each stream that is open

	counter counter
	slot    slot

	mu      sync.Mutex
	changed chan struct{} // closed when something may look otherwise
}

// New makes a page. The error is about its own routes or texts, of which there is none in a
// program that passes its tests.
func New(c Config) (*Console, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Zone == nil {
		c.Zone = time.Local
	}
	awake := c.Now
	if c.Clock != nil {
		awake = func() time.Time { return time.Time{}.Add(c.Clock()) } // of which only differences are looked at
	}
	out := &Console{
		Config: c, hosts: hosts(c.Port), sessions: newSessions(awake, c.LockAfter), acts: newActs(c.Now), mux: http.NewServeMux(),
		streams: make(chan struct{}, mostStreams), changed: make(chan struct{}),
	}
	if err := out.speak(); err != nil {
		return nil, err
	}
	return out, out.mount(out.routes())
}

// mount puts every route behind its policy; one that has none is an error.
func (c *Console) mount(routes []route) error {
	var errs []error
	for _, r := range routes {
		if err := checkRoute(r); err != nil {
			errs = append(errs, err)
			continue
		}
		c.mux.HandleFunc(r.method+" "+r.path, c.guarded(r))
	}
	return errors.Join(errs...)
}

// Changed says that something on the floor may look otherwise now. It does not block.
func (c *Console) Changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

// change is closed at the next change.
func (c *Console) change() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}
