//go:build crashpoints

package crashpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// exitMisuse is the exit code of a process that was told nonsense.
const exitMisuse = 70

// points is what one process was told, and what it has passed.
type points struct {
	mu     sync.Mutex
	passed map[string]int
	trace  *os.File
	moment string
	label  Label
	time   int
}

// ours is the one of this process. Nothing else of the product keeps a state like
// this; it is not in the product.
var ours = sync.OnceValue(fromEnvironment)

func fromEnvironment() *points {
	p := &points{passed: map[string]int{}}
	if path := os.Getenv(Trace); path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			misuse(err)
		}
		p.trace = f
	}
	if at := os.Getenv(KillAt); at != "" {
		part := strings.SplitN(at, " ", 3)
		n, err := strconv.Atoi(part[min(1, len(part)-1)])
		if err != nil || len(part) != 3 || part[0] != BeforeIt && part[0] != AfterIt {
			misuse(fmt.Errorf("%s=%q: want before or after, a number, a label", KillAt, at))
		}
		p.moment, p.time, p.label = part[0], n, Label(part[2])
	}
	return p
}

func misuse(err error) {
	_, _ = fmt.Fprintln(os.Stderr, "crashpoint:", err)
	os.Exit(exitMisuse)
}

// Before marks the moment before what the label names is done.
func Before(l Label) { ours().pass(BeforeIt, l) }

// After marks the moment after it.
func After(l Label) { ours().pass(AfterIt, l) }

// Request is the label of a request to the central server.
func Request(method, path string) Label { return Label(method + " " + path) }

func (p *points) pass(moment string, used Label) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, listed := Listed(append(Daemon(), Central()...), used)
	if !listed {
		moment, l = Unlisted, used
	}
	at := moment + " " + string(l)
	p.passed[at]++
	if p.trace != nil {
		if _, err := p.trace.WriteString(at + "\n"); err != nil {
			misuse(err)
		}
	}
	if moment == p.moment && l == p.label && p.passed[at] == p.time {
		p.die()
	}
}

// die kills this process with SIGKILL. Nobody passes another point meanwhile: the
// lock is held.
func (p *points) die() {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		misuse(err)
	}
	select {}
}
