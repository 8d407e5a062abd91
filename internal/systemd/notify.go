// Package systemd tells the service manager how the daemon is, by the protocol of sd_notify(3):
// datagrams of lines to the socket that $NOTIFY_SOCKET names. Where no manager asked to be told
// it does nothing. It must not know what the daemon does.
package systemd

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Manager is the service manager that started this process; nil for none.
type Manager struct {
	conn     net.Conn
	watchdog time.Duration
}

// New finds the manager by the environment. pid is this process's: a watchdog that was meant
// for another one is not fed.
func New(getenv func(string) string, pid int) (*Manager, error) {
	path := getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	// A path, or an abstract name after "@" (unix(7)), which net writes the same way.
	if path[0] != '/' && path[0] != '@' {
		return nil, fmt.Errorf("NOTIFY_SOCKET %q is no Unix socket", path)
	}
	conn, err := net.Dial("unixgram", path)
	if err != nil {
		return nil, fmt.Errorf("service manager: %w", err)
	}
	m := &Manager{conn: conn}
	if text := getenv("WATCHDOG_USEC"); text != "" {
		usec, err := strconv.ParseInt(text, 10, 64)
		if err != nil || usec <= 0 {
			return nil, errors.Join(fmt.Errorf("WATCHDOG_USEC %q is no time", text), conn.Close())
		}
		if whose := getenv("WATCHDOG_PID"); whose == "" || whose == strconv.Itoa(pid) {
			m.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	return m, nil
}

// Watchdog is how long the manager waits for Alive; 0 when it does not.
func (m *Manager) Watchdog() time.Duration {
	if m == nil {
		return 0
	}
	return m.watchdog
}

// Ready says that the daemon has started, or has done with a reload.
func (m *Manager) Ready() error { return m.send("READY=1") }

// Reloading says that the daemon reads its configuration again; Ready ends it.
func (m *Manager) Reloading() error { return m.send("RELOADING=1") }

// Stopping says that the daemon is on its way out.
func (m *Manager) Stopping() error { return m.send("STOPPING=1") }

// Status is one line for people.
func (m *Manager) Status(line string) error {
	return m.send("STATUS=" + strings.Join(strings.Fields(line), " "))
}

// Alive feeds the watchdog.
func (m *Manager) Alive() error { return m.send("WATCHDOG=1") }

// Close closes the socket.
func (m *Manager) Close() error {
	if m == nil {
		return nil
	}
	return m.conn.Close()
}

func (m *Manager) send(line string) error {
	if m == nil {
		return nil
	}
	if _, err := m.conn.Write([]byte(line + "\n")); err != nil {
		return fmt.Errorf("service manager: %w", err)
	}
	return nil
}
