package metrics

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const alerts = "../../docs/alerts"

// TestAlertRules: Prometheus takes the rules, each fires in its test and none in a station
// that is well.
func TestAlertRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "usbkeyd.rules.yml"}, {"test", "rules", "usbkeyd.test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = alerts
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s (apt-get install prometheus): %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// TestEveryAlertIsKnown: each fires in a test, is quiet in another, stands in the runbook, and
// asks for numbers that a station has.
func TestEveryAlertIsKnown(t *testing.T) {
	read := func(path ...string) string {
		text, err := os.ReadFile(filepath.Join(path...))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	rules, tests, runbook := read(alerts, "usbkeyd.rules.yml"), read(alerts, "usbkeyd.test.yml"), read(alerts, "..", "runbook.md")
	found := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if len(found) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, f := range found {
		name := f[1]
		if !regexp.MustCompile(`alertname: ` + name + `\n\s+exp_alerts:\n\s+- exp_labels`).MatchString(tests) {
			t.Errorf("no test has %s fire", name)
		}
		if !strings.Contains(tests, "alertname: "+name+", exp_alerts: []") {
			t.Errorf("no test has %s be quiet", name)
		}
		if !strings.Contains(runbook, "\n### "+name+"\n") {
			t.Errorf("docs/runbook.md does not know %s", name)
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^### (\w+)$`).FindAllStringSubmatch(runbook, -1) {
		if !strings.Contains(rules, "- alert: "+m[1]+"\n") {
			t.Errorf("docs/runbook.md has %s, which is no alert", m[1])
		}
	}
	m := New("1.2.3", sample)
	m.Expect([]string{"bay-01"}, []string{"failed"}, []string{"identify"})
	m.Step("a model", "identify", time.Second)
	_, text := get(t, m.Handler(Checks{none, none}), "localhost", "/metrics")
	for _, name := range regexp.MustCompile(`usbkeyd_\w+`).FindAllString(rules, -1) {
		if !strings.Contains(text, "\n"+name+" ") && !strings.Contains(text, "\n"+name+"{") {
			t.Errorf("the rules ask for %s, which no station has", name)
		}
	}
	for _, f := range regexp.MustCompile(`(?m)^# TYPE (usbkeyd_\w+) `).FindAllStringSubmatch(text, -1) {
		if !strings.Contains(runbook, "`"+f[1]) {
			t.Errorf("docs/runbook.md does not say what %s is", f[1])
		}
	}
}
