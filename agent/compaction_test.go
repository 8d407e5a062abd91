package agent

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// TestTheDaemonCompacts: a key that was shipped is taken out of the journal once it is old
// enough, with the record's lines, and the record holds at the next start. A server that has
// lost what it had signed stops the station: those lines are nowhere.
func TestTheDaemonCompacts(t *testing.T) {
	p, table, _ := packed(t)
	if _, _, err := table.Close("p1"); err != nil {
		t.Fatal(err)
	}
	p.config.Keep, p.config.RecordInterval = time.Millisecond, 20*time.Millisecond
	p.config.Drain = false
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	a, end := p.newAgent()
	defer end()
	ended := make(chan error, 1)
	go func() {
		_, err := a.Run(ctx)
		ended <- err
	}()
	p.waitFor("the job to be compacted", func() bool {
		all, err := p.journal.All()
		return err == nil && all[0].Facts.Compacted
	})
	p.waitFor("the record to begin later", func() bool {
		base, err := p.journal.RecordBase()
		return err == nil && base.Size > 5
	})
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if jobs, entries := a.Compacted(); jobs != 1 || entries < 6 {
		t.Errorf("it counts %d jobs and %d entries", jobs, entries)
	}
	if said := p.units()[0].State; said != "SHIPPED" {
		t.Errorf("the unit is %s", said)
	}

	p.config.Keep, p.config.Drain = time.Hour, true
	if _, err := p.run(t.Context()); err != nil {
		t.Fatalf("the next start: %v", err)
	}
	base, err := p.journal.RecordBase()
	if err != nil {
		t.Fatal(err)
	}
	p.throughProxy(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodGet || !strings.Contains(req.URL.Path, "/records/") {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"size":1,"forked":false}`)
		return true
	})
	var broken *audit.BrokenError
	if _, err := p.run(t.Context()); !errors.As(err, &broken) || broken.Index != 1 || base.Size <= 1 {
		t.Errorf("a server that has lost entries: %v", err)
	}
}
