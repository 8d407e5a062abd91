package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// pageAt is where a station serves its page to the account that runs the tests.
type pageAt struct {
	dir    string // of the socket, and of what the browser opens
	socket string
	port   int
	me     string
}

func newPageAt(t *testing.T) pageAt {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "page") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return pageAt{dir: dir, socket: filepath.Join(dir, "console.sock"), port: port, me: me.Username}
}

// setting is the line of the configuration for it, for somebody with these roles.
func (p pageAt) setting(roles ...string) string {
	var all []string
	for _, r := range roles {
		all = append(all, fmt.Sprintf("%s: {users: [%q]}", r, p.me))
	}
	return fmt.Sprintf("console: {port: %d, socket: %q, roles: {%s}}\n", p.port, p.socket, strings.Join(all, ", "))
}

// open opens the page in a browser, as the command does; it returns what that has said.
func (p pageAt) open(s *station, b *consoletest.Browser) (said string) {
	s.t.Helper()
	stationtest.Eventually(s.t, "the socket", func() bool {
		conn, err := net.Dial("unix", p.socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	code, said, errOut := s.command("console", "--socket", p.socket, "--no-browser")
	if code != exitOK {
		s.t.Fatalf("%d: %s%s", code, said, errOut)
	}
	b.Open("file://" + filepath.Join(p.dir, "usbkeyd", "console.html"))
	b.Wait("a screen", "document.body.dataset.state === 'live'")
	return said
}

// load reads the station's configuration.
func (s *station) load() *config.Station {
	s.t.Helper()
	loaded, err := config.Load(s.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	return loaded
}

// behindShim puts a shim with rules before the module of a bay, from 0.
func (s *station) behindShim(loaded *config.Station, bay int, rules ...string) pkcs11test.Shim {
	s.t.Helper()
	shim := pkcs11test.NewShim(s.t, s.Bays[bay])
	shim.Rules(s.t, rules...)
	m := &loaded.Modules[bay]
	m.Path, m.Env, m.Trust = shim.Path, shim.Env, config.TrustOwner
	return shim
}

// serve runs the daemon in this process, by a configuration that was loaded, until stop.
func (s *station) serve(loaded *config.Station) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	var out lines
	c := newRun(streams{in: strings.NewReader(""), out: &out, err: &out}, &s.Config, func() (*config.Station, error) { return loaded, nil }, notShutIn)
	c.SetArgs([]string{"--log", filepath.Join(s.Dir, "log")})
	ended := make(chan error, 1)
	go func() { ended <- c.ExecuteContext(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
	}
}
