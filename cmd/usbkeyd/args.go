package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// Wrong arguments are wrong usage: the exit code tells them from other failures.

// exactArgs wants n arguments and says what they are.
func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return &codeError{exitUsage, fmt.Errorf("%s wants %s", c.CommandPath(), what)}
		}
		return nil
	}
}

// noArgs wants none; on a command that only holds others, one is an unknown command.
func noArgs(c *cobra.Command, args []string) error {
	if err := cobra.NoArgs(c, args); err != nil {
		return &codeError{exitUsage, fmt.Errorf("%w; see %q", err, c.CommandPath()+" --help")}
	}
	return nil
}
