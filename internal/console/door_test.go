package console

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestWho: an account has the roles of its name and of its groups.
func TestWho(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	group, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	uid := uint32(os.Getuid())
	for _, row := range []struct {
		name  string
		uid   uint32
		roles map[Role]Accounts
		want  []Role
		err   error
	}{
		{"by name", uid, map[Role]Accounts{RolePacker: {Users: []string{"x", me.Username}}}, []Role{RolePacker}, nil},
		{"by group", uid, map[Role]Accounts{RoleWriter: {Groups: []string{"no-such-group", group.Name}}, RoleAuditor: {Users: []string{me.Username}}}, []Role{RoleWriter, RoleAuditor}, nil},
		{"none", uid, map[Role]Accounts{RolePacker: {Users: []string{"x"}, Groups: []string{"no-such-group"}}}, nil, errNoRole},
		{"no roles at all", uid, nil, nil, errNoRole},
		{"a role that does not exist", uid, map[Role]Accounts{"root": {Users: []string{me.Username}}}, nil, errNoRole},
		{"no such account", 4294967000, map[Role]Accounts{RolePacker: {Users: []string{me.Username}}}, nil, errNoAccount},
	} {
		p, err := who(row.uid, row.roles)
		if !errors.Is(err, row.err) || !slices.Equal(p.Roles, row.want) || err == nil && (p.ID != me.Username || p.UID != row.uid) {
			t.Errorf("%s: %+v, %v", row.name, p, err)
		}
	}
}

// served is a page with its socket, on a port that is free.
func served(t testing.TB, f Floor, roles map[Role]Accounts) (c *Console, socket string) {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := probe.Addr().(*net.TCPAddr).Port
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	page, _ := newPage(t, f)
	config := page.Config
	config.Port, config.Roles, config.Now, config.Zone = port, roles, time.Now, nil
	if c, err = New(config); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "door") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "console.sock")
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	doors, err := c.Open(ctx, socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- doors.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the page ended with %v", err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	})
	return c, socket
}

// TestDoor: the kernel says who asks, and the link opens the page on both addresses, once.
func TestDoor(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	c, socket := served(t, sampleFloor(), map[Role]Accounts{RoleWriter: {Users: []string{me.Username}}})
	link, person, err := Ask(t.Context(), socket)
	if err != nil || person != me.Username {
		t.Fatalf("%q, %v", person, err)
	}
	base, x, ok := strings.Cut(link, "/#link=")
	if !ok || base != "http://"+c.hosts[0] || len(x) != 43 {
		t.Errorf("the link is %q", link)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for _, address := range c.hosts {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		answer, err := http.DefaultClient.Do(r)
		if errors.Is(err, syscall.ECONNREFUSED) && address == c.hosts[1] {
			t.Log("this machine has no IPv6")
			continue
		}
		if err != nil || answer.StatusCode != http.StatusOK {
			t.Errorf("%s: %v %v", address, answer, err)
			continue
		}
		_ = answer.Body.Close()
	}
	v := &visitor{c: c, host: c.hosts[0]}
	if w := v.do(http.MethodPost, "/session", `{"link":"`+x+`"}`, nil); w.Code != http.StatusOK {
		t.Errorf("the link is not taken: %d", w.Code)
	}
	// A second daemon takes neither the port nor the socket.
	if _, err := c.Open(t.Context(), socket+"2"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second one on the port: %v", err)
	}
	if _, err := c.openDoor(t.Context(), socket); err == nil {
		t.Error("a second one at the socket")
	}
}

// TestDoorRefuses: no role, nonsense, and silence.
func TestDoorRefuses(t *testing.T) {
	c, socket := served(t, sampleFloor(), map[Role]Accounts{RoleWriter: {Users: []string{"somebody-else"}}})
	if shown, err := Look(t.Context(), socket); !errors.Is(err, ErrRefused) || len(shown.Bays)+len(shown.Queue) > 0 {
		t.Errorf("who has no role is shown %+v, %v", shown, err)
	}
	if _, _, err := Ask(t.Context(), socket); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "console.roles") {
		t.Errorf("an account without a role: %v", err)
	}
	if a, _ := c.decide(uint32(os.Getuid()), question{Ask: "everything"}); a.Link != "" || a.Refused == "" {
		t.Errorf("%+v", a)
	}
	for _, line := range []string{"\n", "link\n", `{"ask":`, strings.Repeat("x", 2*maxLine) + "\n"} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(line))
		_ = conn.(*net.UnixConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(2 * doorPatience))
		answer := make([]byte, 1)
		if n, _ := conn.Read(answer); n != 0 {
			t.Errorf("%.20q is answered", line)
		}
		_ = conn.Close()
	}
	if len(c.sessions.links) != 0 {
		t.Error("a link was made")
	}
}

// TestSocketOfTheDead: what a killed daemon left is replaced, anything else is left alone.
func TestSocketOfTheDead(t *testing.T) {
	c, _ := newPage(t, sampleFloor())
	dir, err := os.MkdirTemp("", "door")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := c.openDoor(t.Context(), socket)
	if err != nil {
		t.Fatalf("the socket of a dead one: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.openDoor(t.Context(), file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
}
