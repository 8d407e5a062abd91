package main

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/usbkeyd/usbkeyd/internal/central/ca/esttest"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"usbkey-central": func() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	samples, err := filepath.Abs("../../docs/examples/orders")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("SAMPLES", samples)
			e.Setenv("TZ", "Asia/Shanghai")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"waitfile": waitFile,
			"bigfile":  bigFile,
			"manager":  serviceManager,
			"exits":    exits,
			// est DIR starts an EST server and writes into DIR how to reach it.
			"est": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: est DIR")
				}
				ts.Check(writeEST(esttest.New(t), ts.MkAbs(args[0])))
			},
			// postgres NAME sets NAME to the URL of an empty PostgreSQL database.
			"postgres": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 1 {
					ts.Fatalf("usage: postgres NAME")
				}
				ts.Setenv(args[0], pgtest.Database(t))
			},
		},
	})
}

// writeEST writes est.json and the files that it names.
func writeEST(s *esttest.Server, dir string) error {
	key, err := keyfile.KeyPEM(s.Client.PrivateKey.(crypto.Signer))
	if err != nil {
		return err
	}
	settings, err := json.Marshal(map[string]string{
		"server": s.URL, "serverTrust": "trust.pem", "roots": "roots.pem", "clientCertificate": "client.pem", "clientKey": "client.key",
	})
	if err != nil {
		return err
	}
	return keyfile.WriteDir(dir,
		keyfile.File{Name: "est.json", Content: settings},
		keyfile.File{Name: "trust.pem", Content: keyfile.CertificatePEM(s.ServerTrust[0].Raw)},
		keyfile.File{Name: "roots.pem", Content: keyfile.CertificatePEM(s.Roots[0].Raw)},
		keyfile.File{Name: "client.pem", Content: keyfile.CertificatePEM(s.Client.Certificate[0])},
		keyfile.File{Name: "client.key", Content: key, Secret: true})
}

// waitFile waits until a file is there: waitfile FILE.
func waitFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfile FILE")
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

// serviceManager stands for systemd: manager FILE has what is started from now on tell it how it is,
// and writes the first that it hears into the file.
func serviceManager(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: manager FILE")
	}
	socket, file := ts.MkAbs("manager.sock"), ts.MkAbs(args[0])
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	ts.Check(err)
	ts.Setenv("NOTIFY_SOCKET", socket)
	heard := make(chan error, 1)
	go func() {
		line := make([]byte, 256)
		n, err := conn.Read(line)
		if err == nil {
			err = errors.Join(os.WriteFile(file+".new", line[:n], 0o600), os.Rename(file+".new", file))
		}
		heard <- err
	}()
	ts.Defer(func() {
		if err := errors.Join(conn.Close(), <-heard); err != nil {
			ts.Logf("the service manager: %v", err)
		}
	})
}

// bigFile makes a file of 100 MB that takes no room: bigfile FILE.
func bigFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bigfile FILE")
	}
	path := ts.MkAbs(args[0])
	ts.Check(os.WriteFile(path, nil, 0o600))
	ts.Check(os.Truncate(path, 100<<20))
}

// exits runs a command and compares its exit code: exits CODE COMMAND….
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := "0"
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		code = fmt.Sprint(exit.ExitCode())
	}
	if code != args[0] {
		ts.Fatalf("%v ended with %s, want %s (%v)", args[1:], code, args[0], err)
	}
}
