package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

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

// Values of flags that say in plain words what they may be.

// span is a length of time.
type span time.Duration

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("give a time such as 30s or 2m")
	}
	*s = span(d)
	return nil
}

// String implements pflag.Value.
func (s *span) String() string { return time.Duration(*s).String() }

// Type implements pflag.Value.
func (s *span) Type() string { return "time" }

// logLevel is how much is logged.
type logLevel slog.Level

// MarshalText implements encoding.TextMarshaler.
func (l logLevel) MarshalText() ([]byte, error) { return slog.Level(l).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *logLevel) UnmarshalText(text []byte) error {
	if (*slog.Level)(l).UnmarshalText(text) != nil {
		return errors.New("use debug, info, warn or error")
	}
	return nil
}
