package usbrig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
)

// Where Debian keeps the parts.
const (
	daemon = "/usr/sbin/pcscd"                            // package pcscd
	driver = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so" // package vsmartcard-vpcd
	module = "/usr/lib/x86_64-linux-gnu/libykcs11.so.2"   // package ykcs11
	ready  = 10 * time.Second                             // for the daemon to answer
)

// MaxReaders is how many readers pcsc-lite of Debian 12 knows.
const MaxReaders = 16

// Rig is a running PC/SC daemon with empty readers. It needs root, for a mount
// namespace of its own: the machine's own daemon is not disturbed.
type Rig struct {
	dir   string
	cmd   *exec.Cmd
	ports []int
	ended chan struct{}

	mu      sync.Mutex
	inserts []*pivcard.Insertion
}

// Start starts the daemon with so many readers, an even number, in an empty folder.
// Its log goes to log.
func Start(ctx context.Context, dir string, readers int, log io.Writer) (*Rig, error) {
	if readers < 1 || readers > MaxReaders {
		return nil, fmt.Errorf("%d readers: 1 to %d are possible", readers, MaxReaders)
	}
	for file, pkg := range map[string]string{daemon: "pcscd", driver: "vsmartcard-vpcd", module: "ykcs11"} {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("%s is missing: apt-get install %s", file, pkg)
		}
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("the PC/SC daemon gets a mount namespace of its own, which needs root")
	}
	r := &Rig{dir: dir, ended: make(chan struct{})}
	if err := r.configure(readers); err != nil {
		return nil, err
	}
	r.inserts = make([]*pivcard.Insertion, readers)
	if err := r.launch(log); err != nil {
		return nil, err
	}
	if err := r.await(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// configure writes one entry for every two readers: vpcd makes two slots of each, on
// a port and the next. Two entries with one driver file, or of one name, would be taken
// for one reader.
func (r *Rig) configure(readers int) error {
	library, err := os.ReadFile(driver)
	if err != nil {
		return err
	}
	for _, folder := range []string{"readers", "run"} {
		if err := os.MkdirAll(filepath.Join(r.dir, folder), 0o755); err != nil {
			return err
		}
	}
	var entries strings.Builder
	for n := 0; n < readers; n += 2 {
		port, err := freePair()
		if err != nil {
			return err
		}
		r.ports = append(r.ports, port, port+1)
		own := filepath.Join(r.dir, fmt.Sprintf("libifdvpcd-%d.so", n/2))
		if err := os.WriteFile(own, library, 0o755); err != nil {
			return err
		}
		// ykcs11 takes readers whose name begins with "Yubico".
		fmt.Fprintf(&entries, "FRIENDLYNAME \"Yubico Rig %c\"\nDEVICENAME /dev/null:0x%X\nLIBPATH %s\nCHANNELID 0x%X\n\n", 'A'+n/2, port, own, port)
	}
	r.ports = r.ports[:readers]
	return os.WriteFile(filepath.Join(r.dir, "readers", "rig"), []byte(entries.String()), 0o644)
}

// freePair finds a port that is free together with the next one.
func freePair() (int, error) {
	for range 50 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		if err == nil {
			return port, errors.Join(first.Close(), second.Close())
		}
		_ = first.Close()
	}
	return 0, errors.New("no two free ports in a row")
}

// launch runs the daemon where /run/pcscd is a folder of the rig.
func (r *Rig) launch(log io.Writer) error {
	script := `mkdir -p /run/pcscd && mount --bind "$1" /run/pcscd && exec ` + daemon + ` --foreground --config "$2"`
	r.cmd = exec.Command("unshare", "--mount", "sh", "-c", script, "sh", filepath.Join(r.dir, "run"), filepath.Join(r.dir, "readers"))
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := r.cmd.Start(); err != nil {
		return err
	}
	go func() {
		_ = r.cmd.Wait()
		close(r.ended)
	}()
	return nil
}

// await waits until the daemon and every reader listen.
func (r *Rig) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	if err := r.dial(ctx, "unix", r.Socket()); err != nil {
		return fmt.Errorf("pcscd: %w", err)
	}
	return nil
}

// dial tries until something listens.
func (r *Rig) dial(ctx context.Context, network, address string) error {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-r.ended:
			return errors.New("it ended: see its log")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Socket is the daemon's.
func (r *Rig) Socket() string { return filepath.Join(r.dir, "run", "pcscd.comm") }

// Env is what a module's process needs in its environment to find this daemon.
func (r *Rig) Env() map[string]string {
	return map[string]string{"PCSCLITE_CSOCK_NAME": r.Socket()}
}

// Module is the path of the PKCS#11 module for the rig's cards.
func (r *Rig) Module() string { return module }

// Readers is how many there are.
func (r *Rig) Readers() int { return len(r.ports) }

// Insert puts a card into reader i, from 0, which must be empty.
func (r *Rig) Insert(ctx context.Context, i int, card *pivcard.Card) error {
	r.mu.Lock()
	full := r.inserts[i] != nil
	r.mu.Unlock()
	if full {
		return fmt.Errorf("reader %d holds a card", i)
	}
	ctx, cancel := context.WithTimeout(ctx, ready)
	defer cancel()
	// A reader listens again a moment after its last card was pulled.
	for {
		in, err := card.Insert(ctx, fmt.Sprintf("127.0.0.1:%d", r.ports[i]))
		if err == nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.inserts[i] = in
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("reader %d: %w", i, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Pull takes the card out of reader i and waits until it has come to rest.
func (r *Rig) Pull(i int) error {
	in, err := r.take(i)
	if err != nil {
		return err
	}
	in.Pull()
	in.Wait()
	return nil
}

// Eject is Pull for the card itself, in the middle of a command: it does not wait for
// the command to end.
func (r *Rig) Eject(i int) error {
	in, err := r.take(i)
	if err == nil {
		in.Pull()
	}
	return err
}

func (r *Rig) take(i int) (*pivcard.Insertion, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	in := r.inserts[i]
	if in == nil {
		return nil, fmt.Errorf("reader %d is empty", i)
	}
	r.inserts[i] = nil
	return in, nil
}

// Close pulls all cards and ends the daemon.
func (r *Rig) Close() error {
	var errs []error
	for i, in := range r.inserts {
		if in != nil {
			errs = append(errs, r.Pull(i))
		}
	}
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, err)
	}
	select {
	case <-r.ended:
	case <-time.After(ready):
		errs = append(errs, r.cmd.Process.Kill())
		<-r.ended
	}
	return errors.Join(errs...)
}
