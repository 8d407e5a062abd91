// Package helpcmd has cobra's own commands, help and completion, refuse what they do not know.
//
// It must not know what a program's commands are, nor its exit codes.
package helpcmd

import "github.com/spf13/cobra"

// Strict is for the whole command line of a program, which noArgs refuses what is too much in: by
// itself "help" shows the general help for what there is not, and "completion" its own, and both
// end as if all were well.
func Strict(root *cobra.Command, noArgs cobra.PositionalArgs) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				of, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				return noArgs(of, rest)
			}
		case "completion":
			c.Args, c.RunE = noArgs, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}
