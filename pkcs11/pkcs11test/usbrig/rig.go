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
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/pivcard"
)

// Where Debian keeps the parts.
const (
	daemon = "/usr/sbin/pcscd"                            // package pcscd
	driver = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so" // package vsmartcard-vpcd
	module = "libykcs11.so.2"                             // package ykcs11
)

const (
	// MaxReaders is how many readers pcsc-lite of Debian 12 knows.
	MaxReaders = 16
	// patience is how long the daemon may take for anything.
	patience = 10 * time.Second
	// pause is what a question is repeated after where there is no event to wait for.
	pause = 10 * time.Millisecond
)

// Errors, compared with errors.Is.
var (
	ErrMissing = errors.New("the virtual USB rig lacks a part")
	ErrReader  = errors.New("the virtual USB rig has no such reader, or it is full or empty")
)

// Rig is a running PC/SC daemon with empty readers. It needs root, for a mount
// namespace of its own: the machine's own daemon is not disturbed. Its methods are safe
// for concurrent use.
type Rig struct {
	dir    string
	module string
	cmd    *exec.Cmd
	ports  []int
	ended  chan struct{}

	mu      sync.Mutex
	inserts []*pivcard.Insertion
}

// Start starts the daemon with so many readers, in an empty folder, and waits until
// all of them are there. Its log goes to log, which may be nil.
func Start(ctx context.Context, dir string, readers int, log io.Writer) (*Rig, error) {
	if readers < 1 || readers > MaxReaders {
		return nil, fmt.Errorf("%w: %d readers, 1 to %d are possible", ErrReader, readers, MaxReaders)
	}
	r := &Rig{dir: dir, inserts: make([]*pivcard.Insertion, readers)}
	if err := r.findParts(); err != nil {
		return nil, err
	}
	// A port that was found free can be somebody else's a moment later.
	const attempts = 3
	var errs []error
	for range attempts {
		err := r.attempt(ctx, log)
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (r *Rig) attempt(ctx context.Context, log io.Writer) error {
	if err := r.configure(); err != nil {
		return err
	}
	if err := r.launch(log); err != nil {
		return err
	}
	if err := r.await(ctx); err != nil {
		return errors.Join(fmt.Errorf("pcscd: %w", err), r.stop())
	}
	return nil
}

// findParts says what has to be installed.
func (r *Rig) findParts() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: root, so that the PC/SC daemon has a mount namespace of its own", ErrMissing)
	}
	for _, part := range [][2]string{{daemon, "pcscd"}, {driver, "vsmartcard-vpcd"}, {"/usr/bin/unshare", "util-linux"}} {
		if _, err := os.Stat(part[0]); err != nil {
			return fmt.Errorf("%w: %s (apt-get install %s)", ErrMissing, part[0], part[1])
		}
	}
	found, err := filepath.Glob("/usr/lib/*/" + module)
	if err != nil || len(found) == 0 {
		return fmt.Errorf("%w: /usr/lib/*/%s (apt-get install ykcs11)", ErrMissing, module)
	}
	r.module = found[0]
	// sockaddr_un has room for so much (unix(7)).
	const longest = 107
	if s := r.Socket(); len(s) > longest {
		return fmt.Errorf("%w: a folder with a shorter name, for the socket %s", ErrMissing, s)
	}
	return nil
}

// configure writes one entry for every two readers: vpcd makes two of each, on a port
// and the next. Two entries with one driver file, or of one name, would be taken for
// one reader.
func (r *Rig) configure() error {
	library, err := os.ReadFile(driver)
	if err != nil {
		return err
	}
	for _, folder := range []string{"readers", "run"} {
		if err := os.MkdirAll(filepath.Join(r.dir, folder), 0o755); err != nil {
			return err
		}
	}
	r.ports = nil
	var entries strings.Builder
	for n := 0; n < len(r.inserts); n += 2 {
		port, err := freePair(r.ports)
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
	return os.WriteFile(filepath.Join(r.dir, "readers", "rig"), []byte(entries.String()), 0o644)
}

// freePair finds a port that is free together with the next one, and not yet taken.
func freePair(taken []int) (int, error) {
	const attempts = 50
	for range attempts {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		_ = first.Close()
		if err != nil {
			continue
		}
		_ = second.Close()
		if !slices.Contains(taken, port) && !slices.Contains(taken, port+1) {
			return port, nil
		}
	}
	return 0, errors.New("no two free ports in a row")
}

// launch runs the daemon where /run/pcscd is a folder of the rig.
func (r *Rig) launch(log io.Writer) error {
	const script = `mkdir -p /run/pcscd && mount --bind "$1" /run/pcscd && exec "$3" --foreground --config "$2"`
	r.cmd = exec.Command("unshare", "--mount", "sh", "-c", script, "sh", filepath.Join(r.dir, "run"), filepath.Join(r.dir, "readers"), daemon)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = endWithUs()
	r.ended = make(chan struct{})
	begun := make(chan error, 1)
	go func() {
		// What ends the daemon with us follows the thread that started it (prctl(2),
		// PR_SET_PDEATHSIG), so that thread has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(r.ended)
		err := r.cmd.Start()
		begun <- err
		if err == nil {
			_ = r.cmd.Wait()
		}
	}()
	return <-begun
}

// await waits until the daemon shows every reader and listens for their cards.
func (r *Rig) await(ctx context.Context) error {
	return r.until(ctx, "its readers are not there", func() (bool, error) {
		states, err := r.readers(ctx)
		if err != nil || len(states) < len(r.ports) {
			return false, err
		}
		return listens(r.cmd.Process.Pid, r.ports)
	})
}

// until asks again and again. What went wrong counts only when time has run out: the
// daemon may not be there yet.
func (r *Rig) until(ctx context.Context, failure string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		yes, err := ask()
		if yes {
			return nil
		}
		select {
		case <-r.ended:
			return errors.New("the PC/SC daemon ended: see its log")
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s: %w", failure, ctx.Err()), err)
		case <-time.After(pause):
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
func (r *Rig) Module() string { return r.module }

// Readers is how many there are.
func (r *Rig) Readers() int { return len(r.inserts) }

// Reader is the name of reader i, which is a slot's description.
func (r *Rig) Reader(i int) string {
	return fmt.Sprintf("Yubico Rig %c 00 %02d", 'A'+i/2, i%2)
}

// Insert puts a card into reader i, from 0, which must be empty. It does not wait until
// the daemon has seen it; Sees does.
func (r *Rig) Insert(ctx context.Context, i int, card *pivcard.Card) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i < 0 || i >= len(r.inserts) || r.inserts[i] != nil {
		return fmt.Errorf("%w: %d, to insert a card", ErrReader, i)
	}
	// A reader listens again a moment after its last card was pulled.
	var permanent error
	err := r.until(ctx, fmt.Sprintf("reader %d takes no card", i), func() (bool, error) {
		in, err := card.Insert(ctx, fmt.Sprintf("127.0.0.1:%d", r.ports[i]))
		if errors.Is(err, pivcard.ErrInserted) {
			permanent = err
			return true, nil
		}
		r.inserts[i] = in
		return err == nil, err
	})
	return errors.Join(err, permanent)
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
	if i < 0 || i >= len(r.inserts) || r.inserts[i] == nil {
		return nil, fmt.Errorf("%w: %d, to pull its card", ErrReader, i)
	}
	in := r.inserts[i]
	r.inserts[i] = nil
	return in, nil
}

// Sees waits until the daemon sees a card in reader i, or sees none.
func (r *Rig) Sees(ctx context.Context, i int, card bool) error {
	return r.until(ctx, fmt.Sprintf("reader %d is not seen with a card: %t", i, card), func() (bool, error) {
		states, err := r.readers(ctx)
		if err != nil {
			return false, err
		}
		return states[r.Reader(i)] == card, nil
	})
}

// Close pulls all cards and ends the daemon.
func (r *Rig) Close() error {
	var errs []error
	for i := range r.inserts {
		if err := r.Pull(i); err != nil && !errors.Is(err, ErrReader) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, r.stop())...)
}

// stop ends the daemon, by its own process.
func (r *Rig) stop() error {
	var errs []error
	if err := r.cmd.Process.Signal(terminate); err != nil && !errors.Is(err, os.ErrProcessDone) {
		errs = append(errs, err)
	}
	select {
	case <-r.ended:
	case <-time.After(patience):
		errs = append(errs, errors.New("pcscd had to be killed"), r.cmd.Process.Kill())
		<-r.ended
	}
	return errors.Join(errs...)
}
