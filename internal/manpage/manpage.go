// Package manpage writes a program's manual page from its command line.
//
// It owns the page's layout in roff (groff_man(7)): one page for a program, with every command
// in it. It must not know what the commands do.
package manpage

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// NewCommand makes the hidden command "man", which writes the page to out. Packages call it.
func NewCommand(out io.Writer, args cobra.PositionalArgs) *cobra.Command {
	var date string
	c := &cobra.Command{
		Use: "man", Short: "Write the manual page", Args: args, Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			day, err := time.Parse(time.DateOnly, date)
			if err != nil {
				return fmt.Errorf("--date: %w", err)
			}
			return Write(out, c.Root(), day)
		},
	}
	c.Flags().StringVar(&date, "date", "", "the page's `day`, as 2006-01-02")
	return c
}

// Write writes the page of a program, for section 1, as of a day.
func Write(w io.Writer, root *cobra.Command, day time.Time) error {
	// Whatever cobra adds by itself is there as when the program runs.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	var b bytes.Buffer
	name := root.Name()
	fmt.Fprintf(&b, ".TH %s 1 %s %s \"User Commands\"\n", quote(strings.ToUpper(name)), day.Format(time.DateOnly), quote(name))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", escape(name), escape(lowerFirst(root.Short)))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.I command\n.RI [ flags ]\n", escape(name))
	b.WriteString(".SH DESCRIPTION\n")
	preformatted(&b, root.Long)
	b.WriteString(".SH OPTIONS\n")
	flags(&b, root.PersistentFlags())
	b.WriteString(".SH COMMANDS\n")
	commands(&b, root)
	_, err := w.Write(b.Bytes())
	return err
}

// commands writes those below a command, depth first; of one that only holds others, the others.
func commands(b *bytes.Buffer, above *cobra.Command) {
	for _, c := range above.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if c.HasAvailableSubCommands() {
			commands(b, c)
			continue
		}
		fmt.Fprintf(b, ".SS %s\n", quote(c.UseLine()))
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		preformatted(b, text)
		flags(b, c.LocalNonPersistentFlags())
	}
}

func flags(b *bytes.Buffer, set *pflag.FlagSet) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		shown := `\fB\-\-` + escape(f.Name) + `\fR`
		if f.Shorthand != "" {
			shown = `\fB\-` + escape(f.Shorthand) + `\fR, ` + shown
		}
		if value != "" {
			shown += ` \fI` + escape(value) + `\fR`
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", shown, line(usage))
	})
}

// preformatted keeps the lines as they are: texts of commands are laid out for a terminal.
func preformatted(b *bytes.Buffer, text string) {
	b.WriteString(".PP\n.nf\n")
	for l := range strings.SplitSeq(text, "\n") {
		b.WriteString(line(l) + "\n")
	}
	b.WriteString(".fi\n")
}

// line is one line of text: a dot or quote at its beginning would be a request.
func line(s string) string {
	s = escape(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		return `\&` + s
	}
	return s
}

// escape writes text so that roff prints it as it is, hyphens as such that can be copied.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", "\\(ga", "^", `\(ha`, "~", `\(ti`).Replace(s)
}

// quote is text as one argument of a request.
func quote(s string) string {
	return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"`
}

func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
