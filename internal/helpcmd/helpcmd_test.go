package helpcmd

import (
	"io"
	"testing"

	"github.com/spf13/cobra"
)

func TestStrict(t *testing.T) {
	for _, row := range []struct {
		args []string
		good bool
	}{
		{[]string{"help"}, true},
		{[]string{"help", "list"}, true},
		{[]string{"help", "nonsense"}, false},
		{[]string{"help", "list", "nonsense"}, false},
		{[]string{"completion"}, true},
		{[]string{"completion", "bash"}, true},
		{[]string{"completion", "tcsh"}, false},
	} {
		root := &cobra.Command{Use: "sample", SilenceUsage: true, SilenceErrors: true}
		root.AddCommand(&cobra.Command{Use: "list", Args: cobra.NoArgs, Run: func(*cobra.Command, []string) {}})
		root.SetOut(io.Discard)
		root.SetArgs(row.args)
		Strict(root, cobra.NoArgs)
		if err := root.Execute(); (err == nil) != row.good {
			t.Errorf("%v: %v", row.args, err)
		}
	}
}
