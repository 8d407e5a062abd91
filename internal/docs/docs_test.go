package docs_test

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/internal/docs"
)

const page = "# Page\n\nRun `usbkeyd jobs list --state S`, or `pack open`.\n\n" +
	"| `usbkeyd tokens list`, `tokens watch` | `--all` shows more |\n| `usbkeyd pack open, scan [--by ID]` | |\n| `usbkeyd says: no` | |\n\n" +
	"    usbkeyd run --drain   # until no work is left\n    usbkeyd \\\n      version\n\n" +
	"1. First:\n\n       sh provision.sh\n\n" +
	"    journal /var is none\n\n" +
	"```console\n$ usbkeyd confirm \\\n    CODE\nDone.\n```\n\n```json\n{\"usbkeyd\": 1}\n```\n"

// TestCommandsAreFound: those in blocks of each kind, those in the text, and no other.
func TestCommandsAreFound(t *testing.T) {
	var got []string
	docs.Parse("page.md", page).Each(func(c docs.Command, mention bool) {
		kind := "block "
		if mention {
			kind = "text "
		}
		got = append(got, kind+c.String())
	})
	want := []string{
		"block page.md:9: usbkeyd run --drain",
		"block page.md:10: usbkeyd version",
		"block page.md:15: sh provision.sh",
		"block page.md:20: usbkeyd confirm CODE",
		"text page.md:3: usbkeyd jobs list --state S",
		"text page.md:5: usbkeyd tokens list",
		"text page.md:5: usbkeyd tokens watch",
		"text page.md:6: usbkeyd pack open --by VALUE",
		"text page.md:6: usbkeyd pack scan --by VALUE",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestCheck: what a document has wrong of a command is noticed.
func TestCheck(t *testing.T) {
	tree := func() *cobra.Command {
		root := &cobra.Command{Use: "usbkeyd", SilenceErrors: true, SilenceUsage: true}
		root.SetOut(io.Discard)
		root.PersistentFlags().String("config", "", "")
		group := &cobra.Command{Use: "jobs"}
		show := &cobra.Command{Use: "show", Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return nil }}
		show.Flags().StringP("output", "o", "", "")
		show.Flags().Int("last", 0, "")
		show.Flags().Bool("all", false, "")
		group.AddCommand(show)
		root.AddCommand(group)
		return root
	}
	rows := []struct {
		line    string
		mention bool
		want    string // in the error; "" for none
	}{
		{"usbkeyd --config x.yaml jobs show JOB -o json --all", false, ""},
		{"runuser -u usbkeyd -- usbkeyd jobs show JOB | less", false, ""},
		{"usbkeyd jobs show --last N JOB", false, ""},
		{"usbkeyd jobs show", true, ""},
		{"usbkeyd jobs", true, ""},
		{"usbkeyd jobs show", false, "accepts 1 arg"},
		{"usbkeyd jobs show A B", true, "accepts 1 arg"},
		{"usbkeyd jobs", false, "no command by itself"},
		{"usbkeyd jobs shew JOB", true, "no command shew"},
		{"usbkeyd jab", true, "unknown command"},
		{"usbkeyd jobs show JOB --al", true, "no flag --al"},
		{"usbkeyd jobs show JOB -p", true, "no flag -p"},
		{"usbkeyd jobs show JOB --last many", true, "many"},
		{"usbkeyd jobs show JOB --last", false, "wants a value"},
	}
	for _, row := range rows {
		words, ok := docs.Words(row.line, "usbkeyd")
		if !ok {
			t.Errorf("%s: no command was found", row.line)
			continue
		}
		err := docs.Check(tree(), words, row.mention)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: got %v, want %q", row.line, err, row.want)
		}
	}
	if words, ok := docs.Words("apt-get purge usbkeyd", "usbkeyd"); ok {
		t.Errorf("apt-get purge usbkeyd was taken for the command %v", words)
	}
}
