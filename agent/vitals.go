package agent

import (
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/provision"
)

// Turned is when the goroutine that decides everything last went on; zero before Run. Between
// two turns there is at most one call to the central server and one write of the journal, so
// that it goes on once a second, and after half a minute when everything is slow. A time
// that is older tells of an agent that is stuck. It takes no lock that somebody could hold.
func (a *Agent) Turned() time.Time {
	if t := a.turned.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

func (a *Agent) turn() {
	now := time.Now()
	a.turned.Store(&now)
}

// Reconfigure has the agent claim units of these products from now on; what their code means
// is Runner.Product's and Label's to know.
func (a *Agent) Reconfigure(products []string) {
	a.mu.Lock()
	a.Products, a.asked = slices.Clone(products), false
	a.mu.Unlock()
	a.poke()
}

// tellStopped tells why a job stopped; nil for one that finished.
func (a *Agent) tellStopped(err error) {
	if err != nil && a.Stopped != nil {
		a.Stopped(err)
	}
}

// leaseIsByClock reports whether a job's lease ends with its time: once a key is bound only
// what the server says ends it.
func leaseIsByClock(job provision.Job, at provision.StepName) bool {
	for _, s := range provision.Plan(job) {
		switch s.Name {
		case at:
			return true
		case provision.StepBindCSR:
			return false
		}
	}
	return false
}
