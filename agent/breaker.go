package agent

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/provision"
)

// place is where a token is put: a slot of a module instance. A bad cable or a bad
// reader spoils one token after another there.
type place struct {
	module string
	slot   string // CK_SLOT_INFO.slotDescription
}

// How many tokens in a row may fail at a place, and how long it then rests. After that
// one more is tried.
const (
	tripsAfter = 3
	restsFor   = 10 * time.Minute
)

// AlarmPlace is the code of the alarm that a place rests.
const AlarmPlace = "place-fails"

// breaker keeps places that fail from burning more tokens and units.
type breaker struct {
	now func() time.Time

	mu     sync.Mutex
	failed map[place]*failures
}

type failures struct {
	inRow  int
	last   string // why the last one failed
	since  time.Time
	trying bool // the one token after a rest
}

func newBreaker(now func() time.Time) *breaker {
	return &breaker{now: now, failed: map[place]*failures{}}
}

// ended counts a job that has come to its end at a place.
func (b *breaker) ended(at place, rec *provision.Record, err error) (tripped bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failed[at]
	switch {
	case rec.State == provision.StateFinished:
		delete(b.failed, at)
		return false
	case !atFault(err):
		if f != nil {
			f.trying = false // that says nothing of the place
		}
		return false
	case f == nil:
		f = &failures{}
		b.failed[at] = f
	}
	f.inRow++
	f.last, f.since, f.trying = rec.Reason, b.now(), false
	return f.inRow >= tripsAfter
}

// atFault reports whether what ended a job can be the fault of its token's place.
func atFault(err error) bool {
	for _, other := range []error{
		provision.ErrCancelled, provision.ErrLeaseLost, provision.ErrRefusedCertificate, provision.ErrProfileMisfit,
		provision.ErrNotBlank, provision.ErrSecretLost, errNotTakenBack,
	} {
		if errors.Is(err, other) {
			return false
		}
	}
	return err != nil && !provision.OrderAtFault(err)
}

// rests reports whether no token may be written at a place now.
func (b *breaker) rests(at place) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.failed[at]
	return f != nil && f.inRow >= tripsAfter && (f.trying || b.now().Before(f.since.Add(restsFor)))
}

// begins takes note that a token is written at a place.
func (b *breaker) begins(at place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.failed[at]; f != nil && f.inRow >= tripsAfter {
		f.trying = true
	}
}

// alarms are those of the places that rest, in their order.
func (b *breaker) alarms() []Alarm {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []Alarm
	for at, f := range b.failed {
		if f.inRow < tripsAfter {
			continue
		}
		out = append(out, Alarm{
			Code: AlarmPlace, Since: f.since,
			Text: fmt.Sprintf("%d tokens in a row failed in slot %q of module %s, the last one because: %s", f.inRow, at.slot, at.module, f.last),
			Hint: fmt.Sprintf("Check the reader and its cable, and the lot of tokens. No token is written there before %s, or a restart.", f.since.Add(restsFor).Format("15:04")),
		})
	}
	slices.SortFunc(out, func(x, y Alarm) int { return x.Since.Compare(y.Since) })
	return out
}
