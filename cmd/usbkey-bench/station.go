package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
)

const (
	// runLimit is how long a station may take, start and end included.
	runLimit = 3 * time.Minute
	// midway is when the memory of a process that makes a slow key is looked at, from the order on.
	midway = 1500 * time.Millisecond
)

// station makes tokens as they are made at a customer's: a daemon that is in service, with a
// journal on disk, is sent an order by a central server with a CA, each a process of its own.
// The time runs from the order until the last unit is INSTALLED at the server; the processor
// time until the daemon has ended, for it sends its record and makes its statements afterwards.
func (b *bench) station(ctx context.Context, w work) (_ Run, err error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	b.runs++
	dir := filepath.Join(b.o.dir, fmt.Sprintf("run-%03d", b.runs))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return Run{}, err
	}
	s, err := b.newBays(w)
	if err != nil {
		return Run{}, err
	}
	c, err := b.startServer(ctx, filepath.Join(dir, "central"))
	if err != nil {
		return Run{}, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	config, err := b.configure(ctx, c, s, w, dir)
	if err != nil {
		return Run{}, err
	}
	d, err := startDaemon(ctx, b.program(w.program), config, filepath.Join(dir, "daemon.log"))
	if err != nil {
		return Run{}, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	r, before, err := b.write(ctx, c, d, s, w)
	if err != nil {
		return Run{}, fmt.Errorf("%w; see %s and %s", err, dir, s.dir)
	}
	seen, err := d.processor()
	if err := errors.Join(err, d.stop()); err != nil {
		return Run{}, err
	}
	r.WholeCPU = used(d.cmd.ProcessState)
	if r.WholeCPU < seen {
		return Run{}, fmt.Errorf("the daemon has not waited for its children: %v in all, %v before its end", r.WholeCPU, seen)
	}
	r.CPU = r.WholeCPU - before
	if err := c.stop(); err != nil {
		return Run{}, err
	}
	r.ServerCPU = used(c.cmd.ProcessState)
	return r, errors.Join(s.remove(), os.RemoveAll(dir))
}

// write orders as many keys as there are tokens, and waits for them; before is what the
// daemon had used of the processor until then.
func (b *bench) write(ctx context.Context, c *server, d *daemon, s bays, w work) (r Run, before time.Duration, err error) {
	r.Tokens = w.tokens
	if err := d.ready(ctx, w.tokens); err != nil {
		return r, 0, err
	}
	id, document, err := orderOf(b.order, w.tokens)
	if err != nil {
		return r, 0, err
	}
	if before, err = d.processor(); err != nil {
		return r, 0, err
	}
	since, err := monotonic()
	if err != nil {
		return r, 0, err
	}
	begun := time.Now()
	if _, _, err := c.admin.PutOrder(ctx, id, document); err != nil {
		return r, 0, err
	}
	if w.memory {
		time.Sleep(midway)
		if r.ChildMemory, err = d.childMemory(); err != nil {
			return r, 0, err
		}
	}
	if err := installed(ctx, c.admin, d, w.tokens); err != nil {
		return r, 0, err
	}
	r.Wall = time.Since(begun)
	if w.rules != nil {
		err = s.inside(&r, since)
	}
	return r, before, err
}

// installed waits until the daemon says that it has finished all, and then until the server
// has heard of it: to ask it all the time would take the processor from both.
func installed(ctx context.Context, admin *adminclient.Client, d *daemon, want int) error {
	for int(d.finished.Load()) < want {
		if err := d.alive(ctx); err != nil {
			return fmt.Errorf("%d of %d tokens: %w", d.finished.Load(), want, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	for {
		units, err := admin.Units(ctx, "", "")
		if err != nil {
			return err
		}
		tokens := map[string]bool{}
		for _, u := range units {
			if u.State == api.INSTALLED && u.TokenSerial != nil {
				tokens[*u.TokenSerial] = true
			}
		}
		if len(tokens) == want {
			return nil
		}
		if err := d.alive(ctx); err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// orderOf is the sample order with another quantity.
func orderOf(sample []byte, quantity int) (id string, document []byte, err error) {
	var order map[string]any
	if err := json.Unmarshal(sample, &order); err != nil {
		return "", nil, err
	}
	order["quantity"] = quantity
	document, err = json.Marshal(order)
	id, _ = order["orderId"].(string)
	return id, document, err
}

// configure admits the station and writes its configuration.
func (b *bench) configure(ctx context.Context, c *server, s bays, w work, dir string) (string, error) {
	if err := c.admin.AddStation(ctx, "bench-station", filepath.Join(dir, "station")); err != nil {
		return "", err
	}
	var y strings.Builder
	fmt.Fprintf(&y, `station: bench-station
stateDir: %[1]s/state
central: {urls: [%[2]q], trust: %[1]s/station/central-root.pem, certificate: %[1]s/station/station.crt, key: %[1]s/station/station.key}
identity: {tier: file}
recipients: {userPin: [%[3]q], soPin: [%[3]q, %[4]q]}
certificateTrust: %[1]s/station/trust.pem
products:
  - code: CERT272353
    key: {algorithm: %[5]s}
    certificate:
      subject:
        - {type: C, value: CN}
        - {type: O, value: "{{.Company.Name}}"}
        - {type: organizationIdentifier, value: "NTRCN-{{.Company.USCC}}"}
        - {type: CN, value: "{{.UnitID}}"}
      keyUsage: [digitalSignature, contentCommitment]
      extKeyUsage: [clientAuth, emailProtection]
modules:
`, dir, c.url, b.officers[0].fingerprint, b.officers[1].fingerprint, w.algorithm)
	module, err := filepath.Abs(b.module(w))
	if err != nil {
		return "", err
	}
	for _, bay := range s.each {
		fmt.Fprintf(&y, "  - {name: %s, path: %q, tokens: 1, trust: owner, env: {SOFTHSM2_CONF: %q}}\n", filepath.Base(bay), module, filepath.Join(bay, "softhsm2.conf"))
	}
	path := filepath.Join(dir, "station.yaml")
	return path, os.WriteFile(path, []byte(y.String()), 0o600)
}

// daemon is one usbkeyd.
type daemon struct {
	cmd      *exec.Cmd
	log      string
	finished atomic.Int32
	ended    chan error
	stopped  bool
}

// startDaemon starts it; what it says goes into the log.
func startDaemon(ctx context.Context, program, config, log string) (*daemon, error) {
	d := &daemon{log: log, ended: make(chan error, 1)}
	d.cmd = exec.CommandContext(ctx, program, "--config", config, "run", "--log", log+".json")
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	said, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "  finished: ") {
				d.finished.Add(1)
			}
			_, _ = fmt.Fprintln(f, lines.Text())
		}
		d.ended <- errors.Join(lines.Err(), d.cmd.Wait(), f.Close())
	}()
	return d, nil
}

// alive is an error when nothing is to be waited for any more.
func (d *daemon) alive(ctx context.Context) error {
	select {
	case err := <-d.ended:
		d.ended <- err
		return fmt.Errorf("the daemon ended: %v; see %s", err, d.log)
	case <-ctx.Done():
		return ctx.Err()
	default:
		return nil
	}
}

// stop ends it as an operator would, and waits for it.
func (d *daemon) stop() error {
	if d.stopped {
		return nil
	}
	d.stopped = true
	err := d.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, <-d.ended)
}
