package canary

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Processes is what running processes showed of themselves to everybody on the machine,
// and to root: their arguments and environments.
type Processes struct {
	witness    string
	stop, done chan struct{}
	mu         sync.Mutex // guards what is below
	marks      []string
	rounds     int             // looks at all processes that were made
	shown      map[string]bool // arguments and environment of a process, each once
	seen       map[string]bool // process ids
}

// Watch begins to look, again and again, at the processes that show one of the marks,
// such as a folder, in their arguments or environment; but not at programs of the given
// name, which the tests start themselves and give PINs to.
func Watch(every time.Duration, witness string, marks ...string) *Processes {
	p := &Processes{witness: witness, marks: marks, stop: make(chan struct{}), done: make(chan struct{}), shown: map[string]bool{}, seen: map[string]bool{}}
	go func() {
		defer close(p.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			p.look()
			select {
			case <-p.stop:
				return
			case <-tick.C:
			}
		}
	}()
	return p
}

// Also has processes looked at that show another mark.
func (p *Processes) Also(mark string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.marks = append(p.marks, mark)
}

func (p *Processes) look() {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rounds++
	for _, dir := range dirs {
		// A process that ends meanwhile shows nothing any more.
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		shown := string(bytes.Join([][]byte{args, env}, []byte{0}))
		if name, _, _ := strings.Cut(shown, "\x00"); filepath.Base(name) == p.witness {
			continue
		}
		for _, m := range p.marks {
			if strings.Contains(shown, m) {
				p.shown[shown] = true
				p.seen[filepath.Base(dir)] = true
			}
		}
	}
}

// End stops looking, and looks for the secrets in what was seen.
func (p *Processes) End(s *Search) {
	close(p.stop)
	<-p.done
	for shown := range p.shown {
		name, _, _ := strings.Cut(shown, "\x00")
		s.In(fmt.Sprintf("the arguments or environment of a process %s", name), []byte(shown))
	}
	s.Processes += len(p.seen)
}
