package manpage

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// TestPage: what man makes of the page has every command, with its flags, and each
// character as it was written; groff has nothing to warn of.
func TestPage(t *testing.T) {
	root := &cobra.Command{Use: "sample", Short: "Try a page", Long: "First line.\n.dot and 'quote' and back\\slash\n\"double\" ~/^x"}
	root.PersistentFlags().String("config", "", "the `file` that is read")
	group := &cobra.Command{Use: "jobs", Short: "Jobs"}
	list := &cobra.Command{Use: "list", Short: "List them", Run: func(*cobra.Command, []string) {}}
	list.Flags().BoolP("all-of-them", "a", false, "'all', -not some")
	hidden := &cobra.Command{Use: "inner", Hidden: true, Run: func(*cobra.Command, []string) {}}
	group.AddCommand(list)
	root.AddCommand(group, hidden)

	var page bytes.Buffer
	if err := Write(&page, root, time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("groff", "-man", "-Tascii", "-P-c", "-P-b", "-P-u", "-ww", "-rLL=100n")
	cmd.Stdin = &page
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	text, err := cmd.Output()
	if err != nil || warnings.Len() > 0 {
		t.Fatalf("groff: %v\n%s", err, &warnings)
	}
	for _, want := range []string{
		"sample - try a page", "2026-02-03", "First line.\n", ".dot and 'quote' and back\\slash\n", `"double" ~/^x`,
		"--config file", "sample jobs list [flags]", "List them.", "-a, --all-of-them", "'all', -not some",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if strings.Contains(string(text), "inner") {
		t.Error("a hidden command is in the page")
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}
