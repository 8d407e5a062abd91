package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// TestEveryCommandIsReached: by its own words, which no other has.
func TestEveryCommandIsReached(t *testing.T) {
	root := newRoot(streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}, notShutIn)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			path := strings.Fields(sub.CommandPath())[1:]
			if found, rest, err := root.Find(path); err != nil || found != sub || len(rest) > 0 {
				t.Errorf("%s leads to another command, or none: %v", sub.CommandPath(), err)
			}
			walk(sub)
		}
	}
	walk(root)
}

func TestCommandsOfAWorkingStation(t *testing.T) {
	s := newStation(t, 2, "ec-p256")
	must := s.must
	if out := must("config", "check"); !strings.Contains(out, "is in order: station sample-station, 2 modules") {
		t.Errorf("config check: %s", out)
	}
	if out := must("jobs", "list"); out != "No jobs yet.\n" {
		t.Errorf("jobs list before the first run: %q", out)
	}
	if out := must("tokens", "list"); strings.Count(out, "uninitialised") != 2 {
		t.Errorf("tokens list: %s", out)
	}
	s.Central.Order(t, 2)
	junit := filepath.Join(s.Dir, "junit.xml")
	must("run", "--drain", "--log", filepath.Join(s.Dir, "log"), "--junit", junit)
	s.CheckBatch(2)

	var list tokenList
	if err := json.Unmarshal([]byte(must("tokens", "list", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	tokens := list.Tokens
	if len(tokens) != 2 || tokens[0].State != "initialised" || tokens[0].Profile != "softhsm2" || tokens[0].Serial == "" {
		t.Errorf("tokens: %+v", tokens)
	}
	var jobs []jobRow
	if err := json.Unmarshal([]byte(must("jobs", "list", "-o", "json", "--state", "finished")), &jobs); err != nil {
		t.Fatal(err)
	}
	if len(jobs) != 2 || jobs[0].Company != "示例客车配件有限公司" || jobs[0].CertificateSerial == "" {
		t.Errorf("jobs: %+v", jobs)
	}
	if out := must("jobs", "list", "--state", "failed"); out != "No job is in this state.\n" {
		t.Errorf("jobs list of a state that no job is in: %q", out)
	}
	if out := must("jobs", "show", jobs[0].JobID); !strings.Contains(out, "generate-key") || !strings.Contains(out, jobs[0].TokenSerial) {
		t.Errorf("jobs show: %s", out)
	}
	checkJUnit(t, junit, 2)
	speaksChinese(t, s)
	completes(t, s, jobs[0].OrderID, jobs[0].JobID)
}

func checkJUnit(t *testing.T, path string, want int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var suite junitSuite
	if err := xml.Unmarshal(data, &suite); err != nil {
		t.Fatal(err)
	}
	if suite.Tests != want || suite.Failures+suite.Errors > 0 || len(suite.Cases) != want {
		t.Errorf("JUnit report: %s", data)
	}
}

// TestBadInput: each ends in one clear error and its exit code, with no state folder made.
func TestBadInput(t *testing.T) {
	rows := []struct {
		name   string
		change func(yaml string) string // nil: the configuration is good
		args   []string
		code   int
		want   string
	}{
		{"unknown key", func(y string) string { return y + "\ncolour: red\n" }, []string{"config", "check"}, exitConfig, "\nmore is checked once these are mended"},
		{"unknown key, named", func(y string) string { return y + "\ncolour: red\n" }, []string{"config", "check"}, exitConfig, "colour"},
		{"second document", func(y string) string { return y + "\n---\nstation: other\n" }, []string{"config", "check"}, exitConfig, ""},
		{"module path relative", moduleAt("libsofthsm2.so"), []string{"run"}, exitConfig, "modules[0].path"},
		{"module path missing", moduleAt("/nowhere/libsofthsm2.so"), []string{"run"}, exitConfig, "modules[0].path"},
		{"unknown key algorithm", func(y string) string { return strings.Replace(y, "ec-p256", "dsa", 1) }, []string{"run"}, exitConfig, "products[0].key.algorithm"},
		{"unknown subject attribute", func(y string) string { return strings.Replace(y, "type: O,", "type: XX,", 1) }, []string{"config", "check"}, exitConfig, "station.yaml: products[0].certificate.subject[1].type"},
		{"unknown field in a template", func(y string) string { return strings.Replace(y, "{{.UnitID}}", "{{.Nope}}", 1) }, []string{"config", "check"}, exitConfig, "products[0].certificate.subject[3].value: there is no field .Nope; these are: .OrderID, .UnitID, .Sequence, .Of, .Company.Name, .Company.USCC, .Handler.Name, .Handler.Email, .ProductCode"},
		{"template that does not parse", func(y string) string { return strings.Replace(y, "{{.UnitID}}", "{{.UnitID", 1) }, []string{"config", "check"}, exitConfig, "products[0].certificate.subject[3].value"},
		{"no such job", nil, []string{"jobs", "show", "X-1"}, exitFailure, "there is no job"},
		{"no job named", nil, []string{"jobs", "show"}, exitUsage, "the id of a job"},
		{"unknown flag", nil, []string{"run", "--fast"}, exitUsage, "--fast"},
		{"unknown format", nil, []string{"tokens", "list", "-o", "xml"}, exitUsage, "table or json"},
		{"unknown command", nil, []string{"tokens", "fly"}, exitUsage, "fly"},
		{"unknown command at the top", nil, []string{"fly"}, exitUsage, "fly"},
		{"help for an unknown command", nil, []string{"help", "fly"}, exitUsage, `unknown command "fly" for "usbkeyd"`},
		{"help for an unknown command below another", nil, []string{"help", "tokens", "fly"}, exitUsage, `unknown command "fly" for "usbkeyd tokens"`},
		{"completion for an unknown shell", nil, []string{"completion", "tcsh"}, exitUsage, "tcsh"},
		{"no such state", nil, []string{"jobs", "list", "--state", "bogus"}, exitUsage, "use queued, running, parked, finished, failed or quarantined"},
		{"a flag's file that is not there", nil, []string{"evidence", "verify", "statement.p7s", "--trust", "/nowhere"}, exitFailure, "--trust: open /nowhere"},
		{"no folder for the report", nil, []string{"run", "--drain", "--junit", "/nowhere/junit.xml"}, exitFailure, "/nowhere/junit.xml"},
		{"a folder as the report", nil, []string{"run", "--drain", "--junit", "/"}, exitFailure, "the JUnit report cannot be written"},
		{"no configuration", nil, []string{"config", "check", "--config", "/nowhere/station.yaml"}, exitConfig, "there is no configuration /nowhere/station.yaml: give --config FILE"},
		{"no configuration to have the socket of", nil, []string{"bays", "--config", "/nowhere/station.yaml"}, exitConfig, "there is no configuration /nowhere/station.yaml: give --config FILE"},
		{"no daemon at the configuration's socket", func(y string) string { return y + "\nconsole: {socket: /nowhere/console.sock}\n" }, []string{"bays"}, exitFailure, "answers at /nowhere/console.sock: is the service running"},
		{"no daemon at a socket that is given", nil, []string{"bays", "--socket", "/nowhere/other.sock"}, exitFailure, "answers at /nowhere/other.sock: is the service running"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			s := newStation(t, 1, "ec-p256")
			if row.change != nil {
				s.rewrite(row.change)
			}
			code, _, errOut := s.command(row.args...)
			if code != row.code || !strings.Contains(errOut, row.want) {
				t.Errorf("exit code %d, want %d; said %q, want %q in it", code, row.code, errOut, row.want)
			}
			if strings.Count(errOut, "usbkeyd:") != 1 {
				t.Errorf("not one error: %q", errOut)
			}
			if _, err := os.Stat(filepath.Join(s.Dir, "state")); err == nil {
				t.Error("a state folder was made")
			}
		})
	}
}

func moduleAt(path string) func(string) string {
	return func(y string) string {
		before, after, _ := strings.Cut(y, "path: \"")
		_, after, _ = strings.Cut(after, "\"")
		return before + "path: \"" + path + "\"" + after
	}
}

func (s *station) rewrite(change func(string) string) {
	s.t.Helper()
	data, err := os.ReadFile(s.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.Config, []byte(change(string(data))), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// TestAModuleThatIsNone is named, and the rest is listed and written all the same.
func TestAModuleThatIsNone(t *testing.T) {
	s := newStation(t, 2, "ec-p256")
	file := filepath.Join(s.Dir, "module.so")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.rewrite(moduleAt(file))
	code, out, errOut := s.command("tokens", "list")
	if code != exitFailure || !strings.Contains(errOut, "bay-01") || !strings.Contains(errOut, file) || !strings.Contains(out, "bay-02") {
		t.Errorf("exit code %d, output %q, error %q", code, out, errOut)
	}
	s.Central.Order(t, 1)
	if code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.Dir, "log")); code != exitOK {
		t.Errorf("run: exit code %d: %s", code, errOut)
	}
}

func TestOneDaemonPerStateFolder(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	st, err := openState(filepath.Join(s.Dir, "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	code, _, errOut := s.command("run", "--drain")
	if code != exitFailure || !strings.Contains(errOut, "another usbkeyd works on the state folder") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestServerThatIsAway: where no session was opened nobody has counted the tokens, and none is said to
// be missing.
func TestServerThatIsAway(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	s.rewrite(func(y string) string {
		return regexp.MustCompile(`https://[0-9.:]+`).ReplaceAllString(y, "https://127.0.0.1:1")
	})
	code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.Dir, "log"))
	if code != exitCentral || strings.Contains(errOut, "No blank token") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

// TestLockOfOneWhoIsDead: a daemon that was killed while it started a child leaves its lock
// with that child for a moment; the next daemon starts all the same.
func TestLockOfOneWhoIsDead(t *testing.T) {
	dir := t.TempDir()
	left, err := lockState(dir, tokensLock, otherUsbkeyd)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	time.AfterFunc(50*time.Millisecond, func() { gone <- left.Close() })
	st, err := openState(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-gone, st.Close()); err != nil {
		t.Error(err)
	}
}

// TestLostJournalKey: without the key beside an existing journal nothing is begun.
func TestLostJournalKey(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	st, err := openState(filepath.Join(s.Dir, "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.Dir, "state", "journal.key")); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := s.command("run", "--drain")
	if code != exitFailure || !strings.Contains(errOut, "journal.key is missing") {
		t.Errorf("exit code %d: %s", code, errOut)
	}
}

func TestCompletionAndVersion(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	for args, want := range map[string]string{
		"completion bash": "usbkeyd", "completion zsh": "usbkeyd", "completion fish": "usbkeyd",
		"version": "dispatch contract 1", "version -o json": `"protocol": 1`, "--help": "Exit codes:",
	} {
		if code, out, errOut := s.command(strings.Fields(args)...); code != exitOK || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d: %s%s", args, code, out, errOut)
		}
	}
}

// TestTheConfigurationKnowsWhatTheCodeKnows: config may not import the packages
// whose names it lists.
func TestTheConfigurationKnowsWhatTheCodeKnows(t *testing.T) {
	var names []string
	for _, a := range pkcs11.Algorithms() {
		names = append(names, a.Name)
	}
	if got := config.KeyAlgorithms(); !slices.Equal(got, names) {
		t.Errorf("config knows %v, pkcs11 %v", got, names)
	}
	sample := csr.SampleData()
	same := config.UnitData{
		OrderID: sample.OrderID, UnitID: sample.UnitID, Sequence: sample.Sequence, Of: sample.Of, ProductCode: sample.ProductCode,
		Company: config.Company(sample.Company), Handler: config.Handler(sample.Handler),
	}
	a, err := json.Marshal(same)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(sample)
	if err != nil {
		t.Fatal(err)
	}
	if string(a) != string(b) {
		t.Errorf("config.UnitData gives %s, csr.SubjectData %s", a, b)
	}
}

func TestTheExampleConfigurationCompiles(t *testing.T) {
	data, err := os.ReadFile("../../docs/examples/station.yaml")
	if err != nil {
		t.Fatal(err)
	}
	station, err := config.Parse(data, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newCatalogue(station); err != nil {
		t.Error(err)
	}
}

// TestServiceUnit: install is not tried here, it needs a service manager; status answers without one.
func TestServiceUnit(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	code, out, errOut := s.command("service", "status")
	if code != exitOK || !strings.Contains(out, "not installed") {
		t.Errorf("service status: exit code %d: %s%s", code, out, errOut)
	}
	code, _, errOut = execute3("--config", filepath.Join(s.Dir, "nowhere.yaml"), "service", "install")
	if code != exitFailure || !strings.Contains(errOut, "nowhere.yaml") {
		t.Errorf("service install without a configuration: exit code %d: %s", code, errOut)
	}
}

func execute3(args ...string) (int, string, string) {
	var o, e strings.Builder
	code := execute(args, strings.NewReader(""), &o, &e, wording.Words{}, notShutIn)
	return code, o.String(), e.String()
}
