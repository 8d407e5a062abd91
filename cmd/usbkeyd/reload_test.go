package main

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// reloaded are the log's lines about reloads, each as a map.
func reloaded(t *testing.T, path string) (lines []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue // plain lines for people are between
		}
		if msg, _ := entry["msg"].(string); strings.Contains(msg, "reloaded") || strings.Contains(msg, "read again") {
			lines = append(lines, entry)
		}
	}
	return lines
}

// TestReload changes the configuration under a daemon of its own process: other products
// count from now on, what needs a restart is named and left, a file that is wrong changes
// nothing, and the log has keys and no values. The service manager hears of all of it.
func TestReload(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	notified, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = notified.Close() })
	manager := &heard{from: notified}
	go manager.listen()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "4000000")

	s := newStation(t, 1, "ec-p256")
	good, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.Replace(string(good), "code: CERT272353", "code: OTHER", 1)
	s.rewrite(func(string) string { return other })
	log := filepath.Join(s.Dir, "log")
	daemon := s.start(t.Context(), log, "run", "--log", log+".json")
	log += ".json"
	manager.wait(t, "STATUS=ready", 1)
	s.Central.Order(t, 1)
	reload := func(text string) map[string]any {
		t.Helper()
		before := len(reloaded(t, log))
		s.rewrite(func(string) string { return text })
		if err := daemon.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		stationtest.Eventually(t, "the reload", func() bool { return len(reloaded(t, log)) > before })
		return reloaded(t, log)[before]
	}

	if e := reload(other); e["msg"] != "the configuration was read again: nothing has changed" {
		t.Errorf("the same file again: %v", e)
	}
	if e := reload(other + "unknown: 1\n"); e["level"] != "ERROR" || !strings.Contains(e["error"].(string), `unknown key "unknown"`) {
		t.Errorf("a file that is wrong: %v", e)
	}
	if e := reload(strings.Replace(other, "algorithm: ec-p256", "algorithm: ec-p999", 1)); e["level"] != "ERROR" || !strings.Contains(e["error"].(string), "products[0].key.algorithm") {
		t.Errorf("a product that is wrong: %v", e)
	}
	if u := s.Central.Units(t)[0]; u.State != api.READY {
		t.Errorf("a unit of a product that is not made here is %s", u.State)
	}
	changed := strings.Replace(string(good), "sample-station", "another-station", 1) + "metrics: {port: 9199}\n"
	e := reload(changed)
	in := func(key string) (names []string) {
		for _, n := range e[key].([]any) {
			names = append(names, n.(string))
		}
		return names
	}
	if got := in("inEffect"); !slices.Equal(got, []string{"products[0].code"}) {
		t.Errorf("in effect: %v", got)
	}
	if got := in("needsRestart"); !slices.Equal(got, []string{"station", "metrics.port"}) {
		t.Errorf("needs a restart: %v", got)
	}
	stationtest.Eventually(t, "a unit of the other product", func() bool { return s.Central.Units(t)[0].State == api.INSTALLED })
	if e := reload(changed); e["needsRestart"] == nil || len(in("needsRestart")) != 2 {
		t.Errorf("what still needs a restart: %v", e)
	}
	manager.wait(t, "RELOADING=1", 5)
	manager.wait(t, "READY=1", 6)
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Fatal(err)
	}
	manager.wait(t, "STOPPING=1", 1)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"another-station", "9199"} {
		if strings.Contains(string(text), value) {
			t.Errorf("the log tells the value %s", value)
		}
	}
}
