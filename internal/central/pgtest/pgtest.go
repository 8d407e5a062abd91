// Package pgtest gives tests a real PostgreSQL server of their own: one for each
// test binary, started when the first test asks, on a Unix socket in a temporary
// folder. It is gone when the binary is, also after a panic or a kill.
//
// It owns that server. It must not know what is kept in it.
package pgtest

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
)

// oldest is the first version of PostgreSQL that the server works with.
const oldest = 15

// options: without what only a cut of the power needs, which no test does.
const options = "-c fsync=off -c full_page_writes=off"

//go:embed server.sh
var script string

// server is a running PostgreSQL.
type server struct {
	dir string
	// life is the other end of the server's standard input: it lives until this is closed.
	life *os.File
	// admin makes and drops databases.
	admin *sql.DB
}

// running is made once for all tests of a binary, and ends with it.
var running = sync.OnceValues(start)

// Database makes an empty database, which is dropped when the test ends, and
// returns its URL. Without PostgreSQL the test fails and says what to install.
func Database(t testing.TB) string {
	t.Helper()
	s, err := running()
	if err != nil {
		t.Fatal(err)
	}
	return s.database(t, "template1")
}

// Like returns what makes databases as Database does, which begin as fill has left a first one; it
// must close what it opens.
func Like(fill func(url string) error) func(t testing.TB) string {
	model := sync.OnceValues(func() (string, error) {
		s, err := running()
		if err != nil {
			return "", err
		}
		name := newName()
		if _, err := s.admin.ExecContext(context.Background(), "CREATE DATABASE "+name); err != nil {
			return "", fmt.Errorf("make a database: %w", err)
		}
		return name, fill(s.url(name))
	})
	return func(t testing.TB) string {
		t.Helper()
		name, err := model()
		if err != nil {
			t.Fatal(err)
		}
		s, err := running()
		if err != nil {
			t.Fatal(err)
		}
		return s.database(t, name)
	}
}

func newName() string { return "t" + strings.ReplaceAll(uuid.NewString(), "-", "") }

// database makes a copy of another one, until the test ends, and returns its URL.
func (s *server) database(t testing.TB, of string) string {
	t.Helper()
	name := newName()
	if _, err := s.admin.ExecContext(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+of); err != nil {
		t.Fatalf("make a database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := s.admin.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return s.url(name)
}

// Backup copies a database of this server, to which nobody may be connected, and
// returns what puts the copy in its place.
func Backup(t testing.TB, databaseURL string) (restore func()) {
	t.Helper()
	s, err := running()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	run := func(statements ...string) {
		t.Helper()
		for _, q := range statements {
			if _, err := s.admin.ExecContext(context.Background(), q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
	}
	run("CREATE DATABASE " + name + "b TEMPLATE " + name)
	t.Cleanup(func() { run("DROP DATABASE " + name + "b WITH (FORCE)") })
	return func() {
		t.Helper()
		run("DROP DATABASE "+name+" WITH (FORCE)", "CREATE DATABASE "+name+" TEMPLATE "+name+"b")
	}
}

func (s *server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

// newest is where Debian keeps the programs of the newest version that is installed.
func newest() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	best, at := oldest-1, ""
	for _, initdb := range found {
		bin := filepath.Dir(initdb)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(bin))); err == nil && version > best {
			best, at = version, bin
		}
	}
	if at == "" {
		return "", fmt.Errorf("these tests need PostgreSQL %d or newer: apt-get install postgresql", oldest)
	}
	return at, nil
}

func start() (*server, error) {
	binaries, err := newest()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(memory(), "pgtest-")
	if err != nil {
		return nil, err
	}
	input, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	output, answer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(dir + ".log")
	if err != nil {
		return nil, err
	}
	// Files only: whoever runs the test binary must not wait for a pipe that the server has.
	cmd := exec.Command("/bin/sh", "-c", script, "server.sh", dir, binaries, options)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, answer, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	_, _, _ = input.Close(), answer.Close(), log.Close() // the child has them
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(output).ReadString('\n')
		said <- line
	}()
	select {
	case line := <-said:
		text, _ := os.ReadFile(log.Name())
		if err := os.Remove(log.Name()); err != nil {
			return nil, err
		}
		if line != "ready\n" {
			return nil, fmt.Errorf("PostgreSQL did not start in %s: %s", dir, bytes.TrimSpace(text))
		}
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("PostgreSQL did not start in %s within a minute", dir)
	}
	s := &server{dir: dir, life: life}
	if s.admin, err = sql.Open("pgx", s.url("postgres")); err != nil {
		return nil, err
	}
	return s, nil
}
