package stationload

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Operation is what is timed.
type Operation string

// Operations that are timed. The time of a claim runs from when there was work for it,
// that of a CSR until the certificate is there.
const (
	Claim     Operation = "claim"
	CSR       Operation = "csr"
	Result    Operation = "result"
	Heartbeat Operation = "heartbeat"
	Escrow    Operation = "escrow"
	Token     Operation = "token"
	Session   Operation = "session"
)

// maxOdd bounds how many answers that should not have been are kept in words.
const maxOdd = 20

// Record is what was measured in one phase.
type Record struct {
	mu       sync.Mutex
	begun    time.Time
	took     map[Operation][]time.Duration
	last     map[Operation]time.Time
	busy     int // 503 with Retry-After
	failed5  int // any other 5xx
	broken   int // no answer at all
	odd      []string
	sessions map[string]bool
}

func newRecord() *Record {
	return &Record{begun: time.Now(), took: map[Operation][]time.Duration{}, last: map[Operation]time.Time{}, sessions: map[string]bool{}}
}

func (r *Record) add(op Operation, since time.Time) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took[op] = append(r.took[op], now.Sub(since))
	r.last[op] = now
}

func (r *Record) opened(station string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sessions[station] = true
}

// note counts an answer that is none of those wanted; header says that it came with Retry-After.
func (r *Record) note(status int, retryAfter bool, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case status == 0:
		r.broken++
	case status == 503 && retryAfter:
		r.busy++
		return
	case status >= 500:
		r.failed5++
	}
	if len(r.odd) < maxOdd {
		r.odd = append(r.odd, what)
	}
}

// Count is how often an operation came to its end.
func (r *Record) Count(op Operation) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.took[op])
}

// Rate is operations a second, from the beginning of the phase to the last of them.
func (r *Record) Rate(op Operation) float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	seconds := r.last[op].Sub(r.begun).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(len(r.took[op])) / seconds
}

// Quantile is how long all but the slowest 1-q of an operation took.
func (r *Record) Quantile(op Operation, q float64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Sorted(slices.Values(r.took[op]))
	if len(all) == 0 {
		return 0
	}
	return all[min(int(q*float64(len(all))), len(all)-1)]
}

// Sessions is how many stations have opened a session.
func (r *Record) Sessions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// Refusals are the answers that a station had to come back after.
type Refusals struct {
	// Busy is how many were 503 with Retry-After, Failed any other 5xx, Broken no answer at all.
	Busy, Failed, Broken int
	// Odd says the first of those that were not Busy.
	Odd []string
}

// Refusals of the phase.
func (r *Record) Refusals() Refusals {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Refusals{Busy: r.busy, Failed: r.failed5, Broken: r.broken, Odd: slices.Clone(r.odd)}
}

// Life is what the answers said of one unit.
type Life struct {
	Unit, Order, Station           string
	Generation                     int32
	TokenSerial                    string
	CertificateSerial, Fingerprint string
}

// ledger is what all stations together were told, and what in it cannot be.
type ledger struct {
	mu     sync.Mutex
	leased map[string]string // unit: station
	lives  []Life
	wrong  []string
}

func (l *ledger) lease(unit, station string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if had, twice := l.leased[unit]; twice {
		l.wrong = append(l.wrong, fmt.Sprintf("unit %s was given to %s and to %s", unit, had, station))
	}
	l.leased[unit] = station
}

func (l *ledger) live(life Life) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lives = append(l.lives, life)
}

func (l *ledger) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, what)
}
