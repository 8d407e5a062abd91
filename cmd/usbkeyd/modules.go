package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// instances makes a pool of processes for every configured module. failed, which may be nil,
// hears of those that crash or hang.
func instances(station *config.Station, log *slog.Logger, failed func(module string, err *pkcs11.Error)) ([]agent.Instance, func(), error) {
	locks := filepath.Join(station.StateDir, "modules")
	if err := os.MkdirAll(locks, 0o700); err != nil {
		return nil, nil, fmt.Errorf("state folder: %w", err)
	}
	var out []agent.Instance
	var pools []*worker.Pool
	sockets := pcscSockets(station.Modules)
	buses := map[string]*worker.Bus{}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	program, err := moduleProgram(self)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range station.Modules {
		spec := moduleSpec(station, m)
		spec.Program = program
		if m.Tokens == 1 {
			spec.MaxProcesses = 1 // whoever looks and whoever writes take turns
		}
		hub := reaches(m, sockets[m.Name])
		if buses[hub] == nil {
			buses[hub] = worker.NewBus()
		}
		spec.Bus, spec.Refresh = buses[hub], refresh
		spec.Lock = filepath.Join(locks, m.Name+".lock")
		if failed != nil {
			spec.Failed = func(err *pkcs11.Error) { failed(m.Name, err) }
		}
		p := worker.NewPool(spec)
		pools = append(pools, p)
		out = append(out, agent.Instance{Name: m.Name, Pool: pool{p, spec.MaxProcesses, log}, Tokens: m.Tokens, PCSC: sockets[m.Name], ModulePath: m.Path, ModuleSHA256: m.SHA256})
	}
	return out, func() {
		for _, p := range pools {
			if err := p.Close(); err != nil {
				log.Warn("module process did not end cleanly", "error", err)
			}
		}
	}, nil
}

// moduleProgram is the program for modules' processes, which lies beside this one, self, or
// where packages have it; nil without it: this program does the same, but takes longer to start.
func moduleProgram(self string) (*worker.Program, error) {
	name := "usbkeyd-module"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	for _, dir := range []string{".", "../lib/usbkeyd"} {
		program, err := worker.OpenProgram(filepath.Join(filepath.Dir(self), dir, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return program, err
		}
	}
	return nil, nil
}

// reaches names what a module gets its tokens from: modules of one pcscd, or of one
// library in one environment, keep each other waiting.
func reaches(m config.Module, socket string) string {
	if socket != "" {
		return socket
	}
	return fmt.Sprint(m.Path, m.Env)
}

// refresh is how long a new reader may stay unseen behind a module that looks for readers
// only when it is loaded.
const refresh = time.Minute

// moduleSpec is how a configured module is loaded.
func moduleSpec(station *config.Station, m config.Module) worker.Spec {
	spec := worker.Spec{Path: m.Path, Env: m.Env, SHA256: m.SHA256, Reserved: m.Reserved, Deadlines: longest(station.TokenProfiles)}
	if m.Trust == config.TrustOwner {
		spec.Trust = worker.TrustOwner
	}
	return spec
}

// longest takes the longest deadline of each kind over all profiles: which model
// sits behind a module is known only once the module answers.
func longest(profiles []config.TokenProfile) worker.Deadlines {
	var d worker.Deadlines
	for _, p := range profiles {
		d.KeyGeneration = max(d.KeyGeneration, p.Deadlines.KeyGeneration)
		d.Init = max(d.Init, p.Deadlines.Init)
		d.Call = max(d.Call, p.Deadlines.Call)
	}
	return d
}

// pool is worker.Pool as the agent sees it.
type pool struct {
	*worker.Pool
	most int // processes, 0 for no limit
	log  *slog.Logger
}

// Acquire implements agent.Pool.
func (p pool) Acquire(ctx context.Context) (pkcs11.Module, error) {
	m, err := p.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Warm implements agent.Warmer.
func (p pool) Warm(ctx context.Context, n int) error {
	if p.most > 0 {
		n = min(n, p.most)
	}
	return p.Pool.Warm(ctx, n)
}

// Release implements agent.Pool.
func (p pool) Release(m pkcs11.Module) {
	process, ok := m.(*worker.Process)
	if !ok {
		p.log.Error("a module that is none of the pool's came back")
		return
	}
	if err := p.Pool.Release(process); err != nil {
		p.log.Warn("module process did not end cleanly", "error", err)
	}
}
