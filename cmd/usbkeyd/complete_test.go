package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// TestCompletions: every argument is completed, or is one that has to be read off something; a flag
// with a fixed list of values has them.
func TestCompletions(t *testing.T) {
	root := newRoot(streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}, notShutIn)
	read := []string{
		"usbkeyd pack scan", "usbkeyd pack verify", "usbkeyd pack undo", "usbkeyd pack waybill", "usbkeyd pack leave-out", "usbkeyd labels confirm", "usbkeyd labels set-aside",
		"usbkeyd stock check", "usbkeyd mailers confirm", "usbkeyd confirm", "usbkeyd approve", "usbkeyd search",
	}
	everyCommand(root, func(c *cobra.Command) {
		takes := strings.ContainsAny(c.Use, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && !strings.Contains(c.Use, " --")
		nothing := false
		if c.ValidArgsFunction != nil && takes {
			values, directive := c.ValidArgsFunction(c, nil, "")
			nothing = len(values) == 0 && directive == cobra.ShellCompDirectiveNoFileComp
		}
		if takes && nothing != slices.Contains(read, c.CommandPath()) {
			t.Errorf("%s: its argument is completed: %t", c.Use, !nothing)
		}
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if _, ok := c.GetFlagCompletionFunc(f.Name); !ok && slices.Contains([]string{"output", "format", "state", "lot", "log-level"}, f.Name) {
				t.Errorf("%s --%s is not completed", c.CommandPath(), f.Name)
			}
		})
	})
}

// completed are the lines that a shell gets for a line that was begun, without their descriptions,
// and the whole of them.
func (s *station) completed(words wording.Words, line ...string) (values []string, whole string) {
	s.t.Helper()
	_, out, _ := s.commandIn(words, append([]string{cobra.ShellCompRequestCmd}, line...)...)
	for _, l := range strings.Split(out, "\n") {
		if value, _, _ := strings.Cut(l, "\t"); value != "" && !strings.HasPrefix(value, ":") {
			values = append(values, value)
		}
	}
	return values, out
}

// completes: a station that has done some work offers what it knows of.
func completes(t *testing.T, s *station, order, job string) {
	t.Helper()
	for line, want := range map[string]string{
		"orders show ":               order,
		"pack open ":                 order,
		"labels shipping X ":         order,
		"jobs show ":                 job,
		"jobs list --state f":        "finished",
		"evidence export ":           order + "-001",
		"audit show --unit " + order: order + "-001",
		"today -o j":                 "json",
		"labels token --format p":    "pdf",
		"labels shipping --format c": "csv",
		"orders show " + order[:3]:   order,
		"--config ":                  "yaml",
		"labels packing-list -":      "--format",
		"qua":                        "quarantine",
	} {
		if got, whole := s.completed(wording.Words{}, strings.Split(line, " ")...); !slices.Contains(got, want) {
			t.Errorf("%q is not completed with %s:\n%s", line, want, whole)
		}
	}
	for _, line := range []string{"orders show " + order + " ", "orders show NONE", "pack scan ", "labels confirm ", "jobs abandon ", "confirm ", "quarantine wipe ", "jobs list "} {
		if got, whole := s.completed(wording.Words{}, strings.Split(line, " ")...); len(got) > 0 || !strings.Contains(whole, ":4") && !strings.Contains(whole, ":36") {
			t.Errorf("%q is completed:\n%s", line, whole)
		}
	}
	if _, whole := s.completed(chinese(), "jobs", "show", ""); !strings.Contains(whole, job+"\t已完成 示例客车配件有限公司") {
		t.Errorf("in Chinese jobs are completed as\n%s", whole)
	}
	if _, whole := s.completed(chinese(), "pack", ""); !strings.Contains(whole, "open\t开始订单的包裹") {
		t.Errorf("in Chinese commands are completed as\n%s", whole)
	}
	// Whatever is wrong: nothing is offered, and nothing said.
	config := s.Config
	defer func() { s.Config = config }()
	s.Config = filepath.Join(t.TempDir(), "none.yaml")
	if err := os.WriteFile(s.Config, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, whole := s.completed(wording.Words{}, "orders", "show", ""); len(got) > 0 || strings.Contains(whole, "nonsense") {
		t.Errorf("with a broken configuration:\n%s", whole)
	}
}
