package pkcs11test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// installed is the first file that a pattern finds; without one the test fails and
// names the package.
func installed(t testing.TB, pkg string, patterns ...string) string {
	t.Helper()
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > 0 {
			return found[0]
		}
	}
	t.Fatalf("%s is not installed (apt-get install %s): looked for %s", pkg, pkg, strings.Join(patterns, ", "))
	return ""
}

// awaitSocket waits until somebody listens on a socket of the file system, and gives
// the connection, to be closed.
func awaitSocket(t testing.TB, path string) net.Conn {
	t.Helper()
	const patience = 20 * time.Second
	for end := time.Now().Add(patience); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			return c
		}
		if time.Now().After(end) {
			t.Fatalf("nobody listens on %s after %s: %v", path, patience, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
