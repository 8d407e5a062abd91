package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/wording"
)

func newBaysTeach(s streams) *cobra.Command {
	var socket string
	c := &cobra.Command{
		Use: "teach", Short: "Pair the numbers on the hub with slots, by one token after another", Args: noArgs,
		Long: `Pair the numbers that are stuck on the hub with slots, by putting a token into one
bay after another. Tokens may stay where they are, or one is moved along. Lines typed
meanwhile are acts: undo, skip (nothing can be put in there), again, cancel, finish.
The daemon must run; it claims no new work meanwhile.`,
		RunE: func(c *cobra.Command, _ []string) error { return teachBays(c.Context(), s, socket) },
	}
	socketFlag(c, &socket)
	return c
}

// teachBays goes on until what is typed ends it; the end of the input cancels.
func teachBays(ctx context.Context, s streams, socket string) error {
	now, err := console.AskTeach(ctx, socket, console.TeachBegin)
	if err != nil {
		return unanswered(socket, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	typed := typedActs(ctx, s)
	shown := ""
	for now.Going {
		if text := prompt(s.words, now); text != shown {
			if _, err := fmt.Fprint(s.out, text); err != nil {
				return err
			}
			shown = text
		}
		do := console.TeachAct("")
		select {
		case <-ctx.Done():
			return ctx.Err()
		case do = <-typed:
		case <-time.After(200 * time.Millisecond):
		}
		if do != "" && !slices.Contains(console.TeachActs(), do) {
			if _, err := s.words.Fprintf(s.out, "%q is none of undo, skip, again, cancel, finish.\n", string(do)); err != nil {
				return err
			}
			continue
		}
		if now, err = console.AskTeach(ctx, socket, do); err != nil {
			return unanswered(socket, err)
		}
	}
	_, err = s.words.Fprintf(s.out, "Numbers that count now: %d\n", len(now.Bays))
	return err
}

// typedActs are the lines that are typed.
func typedActs(ctx context.Context, s streams) <-chan console.TeachAct {
	out := make(chan console.TeachAct)
	go func() {
		lines := bufio.NewScanner(s.in)
		for {
			do := console.TeachCancel
			if lines.Scan() {
				do = console.TeachAct(strings.TrimSpace(lines.Text()))
			}
			select {
			case out <- do:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// prompt is what is to be done now.
func prompt(words wording.Words, t console.Teaching) string {
	var b strings.Builder
	if n := len(t.Bays); n > 0 {
		where := t.Bays[n-1]
		if len(t.Ports) == n && t.Ports[n-1] != "" {
			where += " · USB " + t.Ports[n-1]
		}
		_, _ = words.Fprintf(&b, "Bay %d: %s\n", n, output.Clean(where))
	}
	switch t.Fault {
	case "model":
		b.WriteString(words.Say("Wrong model: no token profile fits it. Take it out and use another.\n"))
	case "twice":
		_, _ = words.Fprintf(&b, "That slot is bay %d already.\n", t.At)
	case "several":
		b.WriteString(words.Say("Several tokens came at once. Take them out, and put them in one by one.\n"))
	}
	_, _ = words.Fprintf(&b, "Put a token into bay %d (or type undo, skip, again, cancel, finish).\n", t.Next)
	return b.String()
}
