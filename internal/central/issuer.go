package central

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

const (
	// caCalls is how many units get their certificates at the same time. Each waits for
	// the disk three times on its way, so fewer would leave it idle.
	caCalls = 64
	// maxRetryWait is the longest pause between two questions to a CA that does not answer.
	maxRetryWait = time.Minute
	// holdMargin is what an intent's hold has beyond the timeout of the CA.
	holdMargin = 15 * time.Second
	// leaveTime is for giving up what is held at the end: it is no call of the CA, and
	// however little time those get, others wait for as long as the hold if it fails.
	leaveTime = 5 * time.Second
)

// issuer gets certificates for bound units in the background, each unit by one
// goroutine at a time. What it does survives a restart: the intent is stored
// before the CA is called, and what was left unfinished is taken up by sweep.
type issuer struct {
	store   *store.Store
	ca      ca.CA
	self    store.Issuer
	log     *slog.Logger
	timeout time.Duration
	pause   time.Duration // the first pause after a failure; doubled each time
	changed *shared[*bell]
	// wary says that the store was once restored to an older state: the CA may have
	// issued for a unit that came to this server as a new one.
	wary bool

	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	calls  chan struct{}

	mu      sync.Mutex
	closed  bool
	running map[string]bool
	retries map[string]retry
}

type retry struct {
	at   time.Time
	wait time.Duration
}

func newIssuer(st *store.Store, authority ca.CA, cfg Config, self store.Issuer, changed *shared[*bell]) *issuer {
	if st.Shared() {
		self.Hold = cfg.CATimeout + holdMargin
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &issuer{
		store: st, ca: authority, self: self, log: cfg.Logger, timeout: cfg.CATimeout, pause: cfg.SweepInterval, changed: changed,
		ctx: ctx, cancel: cancel, calls: make(chan struct{}, caCalls),
		running: make(map[string]bool), retries: make(map[string]retry),
	}
}

// kick begins to get the certificate of a unit, unless that is going on.
func (i *issuer) kick(unitID string, generation int32) {
	id := store.RequestID(unitID, generation)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed || i.running[id] {
		return
	}
	i.running[id] = true
	i.work.Go(func() { i.run(id, unitID, generation) })
}

func (i *issuer) run(id, unitID string, generation int32) {
	select {
	case i.calls <- struct{}{}:
		defer func() { <-i.calls }()
	case <-i.ctx.Done():
	}
	err := i.ctx.Err()
	if err == nil {
		err = i.issue(unitID, generation)
	}
	i.mu.Lock()
	delete(i.running, id)
	if err == nil {
		delete(i.retries, id)
	} else {
		r := i.retries[id]
		r.wait = min(max(2*r.wait, i.pause), maxRetryWait)
		r.at = time.Now().Add(r.wait)
		i.retries[id] = r
	}
	i.mu.Unlock()
	i.changed.ring(unitID)
	i.changed.ring(outgoingEvents)
	if err != nil && i.ctx.Err() == nil {
		i.log.Error("no certificate yet", "unit", unitID, "request", id, "error", err)
	}
}

// sweep takes up everything that is bound and not issued, such as after a restart.
func (i *issuer) sweep(ctx context.Context) error {
	units, err := i.store.Unissued(ctx, i.self)
	if err != nil {
		return err
	}
	for _, u := range units {
		if !i.asks(u.State) {
			continue // it waits for a person
		}
		i.mu.Lock()
		r, waiting := i.retries[store.RequestID(u.ID, u.Generation)]
		i.mu.Unlock()
		if !waiting || !time.Now().Before(r.at) {
			i.kick(u.ID, u.Generation)
		}
	}
	return nil
}

// asks says that the CA is asked about a unit that is there, and not a person.
func (i *issuer) asks(s store.State) bool { return i.ca.CanLookup() || !askedOnly(s) }

// askedOnly says that nothing but a question may go to the CA.
func askedOnly(s store.State) bool {
	return s == store.IssueUnknown || s == store.Held || s == store.Stranded || s == store.Cancelling
}

// close lets running work end for a while, then cuts it off. A call that was cut
// off is resumed by the next start, which asks the CA first.
func (i *issuer) close(grace time.Duration) {
	i.mu.Lock()
	i.closed = true
	i.mu.Unlock()
	done := make(chan struct{})
	go func() {
		i.work.Wait()
		close(done)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
	i.cancel()
	<-done
	if !i.store.Shared() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if err := i.store.LeaveIntents(ctx, i.self); err != nil {
		i.log.Warn("the other servers must wait until this one's intents run out", "error", err)
	}
}

// issue gets one certificate. An error means that it is to be tried again later.
func (i *issuer) issue(unitID string, generation int32) error {
	ctx, cancel := context.WithTimeout(i.ctx, i.timeout)
	defer cancel()
	task, err := i.store.Intend(ctx, unitID, generation, i.self)
	var refusal *store.Refusal
	if errors.As(err, &refusal) {
		return nil // the unit moved on meanwhile, or another server is at it; nothing is to be done here
	}
	if err != nil || task.Waiting {
		return err
	}
	if !task.Fresh || i.wary {
		done, err := i.ask(ctx, task)
		if done || err != nil {
			return err
		}
	}
	request, err := request(task)
	if err != nil {
		return err
	}
	crashpoint.Before(crashpoint.CAIssue)
	cert, err := i.ca.Issue(ctx, request)
	crashpoint.After(crashpoint.CAIssue)
	if err != nil {
		return i.without(task, fmt.Errorf("call the CA: %w", err))
	}
	return i.keep(task, cert)
}

// without writes down what is known when the CA gave no certificate.
func (i *issuer) without(task store.Task, err error) error {
	unitID, generation := task.Unit.ID, task.Unit.Generation
	var refused *ca.RefusedError
	var pending *ca.PendingError
	var twice *ca.TwiceError
	switch {
	case errors.As(err, &refused):
		i.log.Warn("the CA refused a request for good", "unit", task.Unit.ID, "request", task.Binding.RequestID)
		return i.write(task, func(ctx context.Context) error {
			return i.store.RefusedByCA(ctx, unitID, generation, i.self, words(refused.Reason))
		})
	case errors.As(err, &pending):
		i.log.Info("the CA has not decided", "unit", task.Unit.ID, "request", task.Binding.RequestID, "reason", pending.Reason)
		return i.write(task, func(ctx context.Context) error {
			return i.store.Pending(ctx, unitID, generation, i.self, store.Wait{Why: words(pending.Reason), After: pending.After, Pause: i.pause, MaxPause: maxRetryWait})
		})
	case errors.As(err, &twice):
		i.log.Error("ALARM: the CA issued more than one certificate for one request", "unit", task.Unit.ID, "request", task.Binding.RequestID, "certificateSerials", twice.Serials)
	}
	return i.unknown(task, err)
}

// ask finds out what became of a request that may have reached the CA before. It
// says done when there is nothing left to do now.
func (i *issuer) ask(ctx context.Context, task store.Task) (done bool, err error) {
	if !i.ca.CanLookup() {
		// Telling it again could make a second certificate. A person must find out.
		return true, i.store.Unknown(i.detached(), task.Unit.ID, task.Unit.Generation, i.self, "the CA cannot be asked what it issued")
	}
	crashpoint.Before(crashpoint.CALookup)
	cert, found, err := i.ca.Lookup(ctx, task.Binding.RequestID)
	crashpoint.After(crashpoint.CALookup)
	if err != nil {
		return true, i.without(task, fmt.Errorf("ask the CA: %w", err))
	}
	if found {
		return true, i.keep(task, cert)
	}
	goesOn, err := i.store.Absent(i.detached(), task.Unit.ID, task.Unit.Generation, i.self)
	return !goesOn, err
}

func (i *issuer) unknown(task store.Task, cause error) error {
	if i.ctx.Err() != nil {
		return cause // we are stopping; the intent alone tells the next start enough
	}
	return errors.Join(cause, i.store.Unknown(i.detached(), task.Unit.ID, task.Unit.Generation, i.self, words(cause.Error())))
}

// words makes what was said elsewhere fit to be kept: PostgreSQL takes no NUL, and UTF-8 only.
func words(said string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(said, "?"), "\x00", "?")
}

// write has the store keep what the CA said, as often as it takes: not every CA says it a
// second time. What the store has an answer to is over, and so are what it will never take
// and what is cut off at the end.
func (i *issuer) write(task store.Task, keep func(ctx context.Context) error) error {
	for pause := i.pause; ; pause = min(2*pause, maxRetryWait) {
		err := keep(i.detached())
		var refusal *store.Refusal
		var twice *store.TwiceError
		if err == nil || errors.As(err, &refusal) || errors.As(err, &twice) || database.Lasting(err) {
			return err
		}
		i.log.Error("what the CA said is not kept yet", "unit", task.Unit.ID, "request", task.Binding.RequestID, "error", err)
		select {
		case <-time.After(pause):
		case <-i.ctx.Done():
			return err
		}
	}
}

// detached is for what must be written down even though the time of the call is up.
func (i *issuer) detached() context.Context { return context.WithoutCancel(i.ctx) }

func request(task store.Task) (ca.Request, error) {
	order, err := orderOf(task.Order)
	if err != nil {
		return ca.Request{}, err
	}
	return ca.Request{ID: task.Binding.RequestID, CSR: task.Binding.CSR, Profile: ca.UserKey(order.ValidityYears), Product: order.ProductCode}, nil
}

// keep stores what the CA answered, as it is: whether it is the certificate that
// was ordered is judged by the station before it touches the token.
func (i *issuer) keep(task store.Task, cert ca.Certificate) error {
	if cert.Leaf == nil || len(cert.PKCS7) == 0 {
		return i.unknown(task, errors.New("the CA answered without a certificate"))
	}
	kept := certificateIn(cert.PKCS7, cert.Leaf)
	err := i.write(task, func(ctx context.Context) error {
		return i.store.Issued(ctx, task.Unit.ID, task.Unit.Generation, kept)
	})
	var twice *store.TwiceError
	if errors.As(err, &twice) {
		i.log.Error("ALARM: the CA issued more than one certificate for one request", "unit", task.Unit.ID, "request", task.Binding.RequestID,
			"certificateSerials", []string{twice.First, twice.Second})
		return nil // both are kept; a person decides
	}
	if database.Lasting(err) {
		i.log.Error("ALARM: the database refuses a certificate as its unit's own", "unit", task.Unit.ID, "request", task.Binding.RequestID,
			"certificateSerial", kept.Serial, "sha256", kept.SHA256, "error", err)
		err = errors.Join(err, i.write(task, func(ctx context.Context) error {
			return i.store.SetAside(ctx, task.Unit.ID, task.Unit.Generation, kept)
		}))
	}
	if err != nil {
		return fmt.Errorf("keep certificate %s: %w", kept.Serial, err)
	}
	i.log.Info("certificate issued", "unit", task.Unit.ID, "request", task.Binding.RequestID, "certificateSerial", kept.Serial)
	return nil
}
