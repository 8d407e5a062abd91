package systemd

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func environment(of map[string]string) func(string) string {
	return func(name string) string { return of[name] }
}

// listen opens a manager's socket.
func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestNotify: each word arrives as one datagram, at a path and at an abstract name.
func TestNotify(t *testing.T) {
	for kind, name := range map[string]string{
		"a path": filepath.Join(t.TempDir(), "notify"), "an abstract name": "@usbkeyd-test-" + filepath.Base(t.TempDir()) + t.Name(),
	} {
		t.Run(kind, func(t *testing.T) {
			socket := listen(t, name)
			m, err := New(environment(map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "42"}), 42)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			if m.Watchdog() != 1500*time.Millisecond {
				t.Errorf("the watchdog waits for %s", m.Watchdog())
			}
			for _, row := range []struct {
				say  func() error
				want string
			}{
				{m.Ready, "READY=1\n"}, {m.Reloading, "RELOADING=1\n"}, {m.Stopping, "STOPPING=1\n"}, {m.Alive, "WATCHDOG=1\n"},
				{func() error { return m.Status("two\nlines  and blanks") }, "STATUS=two lines and blanks\n"},
			} {
				if err := row.say(); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 256)
				n, err := socket.Read(got)
				if err != nil || string(got[:n]) != row.want {
					t.Errorf("%q arrived (%v), wanted %q", got[:n], err, row.want)
				}
			}
		})
	}
}

// TestNobodyAsked: without a manager nothing is said, and nothing fails.
func TestNobodyAsked(t *testing.T) {
	m, err := New(environment(nil), 1)
	if err != nil || m != nil {
		t.Fatalf("a manager: %v (%v)", m, err)
	}
	if m.Watchdog() != 0 || m.Ready() != nil || m.Alive() != nil || m.Status("x") != nil || m.Close() != nil {
		t.Error("somebody was told")
	}
}

// TestWatchdogOfAnother: one that was meant for another process is not fed, and a socket or
// a time that means nothing is said.
func TestWatchdogOfAnother(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	listen(t, name)
	m, err := New(environment(map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1500000", "WATCHDOG_PID": "41"}), 42)
	if err != nil || m.Watchdog() != 0 {
		t.Errorf("the watchdog of 41 waits for %s of 42 (%v)", m.Watchdog(), err)
	}
	for _, bad := range []map[string]string{
		{"NOTIFY_SOCKET": "vsock:1:2"}, {"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "nobody")},
		{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "soon"}, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "-1"},
	} {
		if m, err := New(environment(bad), 42); err == nil {
			t.Errorf("%v is a manager: %v", bad, m)
		}
	}
}
