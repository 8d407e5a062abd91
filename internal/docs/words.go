package docs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// Words takes a command of ours out of a line of shell: what comes before it (another user,
// variables) and after it (pipes, redirections) is left out. ok is false when there is none.
func Words(line, program string) (words []string, ok bool) {
	fields := strings.Fields(line)
	for i, f := range fields {
		if f == program && (i == 0 || fields[i-1] != "-u" && fields[i-1] != "install" && isBefore(fields[:i])) {
			for _, w := range fields[i+1:] {
				if strings.ContainsAny(w, "|&;<>") && !strings.Contains(w, "…") || w == "#" {
					break
				}
				words = append(words, strings.Trim(w, `"'`))
			}
			return words, true
		}
	}
	return nil, false
}

// isBefore says whether words may stand before a command: runuser -u NAME --, or variables.
func isBefore(words []string) bool {
	for i, w := range words {
		if w != "runuser" && w != "--" && w != "-u" && w != "sudo" && !strings.Contains(w, "=") && (i == 0 || words[i-1] != "-u") {
			return false
		}
	}
	return true
}

// placeholder is what a reader puts something else for: NAME, 站名, …, SAMPLE…
var placeholder = regexp.MustCompile(`^[A-Z0-9…-]*[A-Z…][A-Z0-9…/-]*(\.\.\.)?$|^[^\x00-\x7f]+$`)

// Check says whether a command line fits the program's commands: that each word leads somewhere, that
// every flag is there and takes such a value, and that the number of arguments is right. A mention in
// the text may leave the arguments out, or name a whole group.
func Check(root *cobra.Command, words []string, mention bool) error {
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	var args []string
	for i := 0; i < len(rest); i++ {
		w := rest[i]
		name, value, given := strings.Cut(strings.TrimLeft(w, "-"), "=")
		if !strings.HasPrefix(w, "-") || w == "-" {
			args = append(args, w)
			continue
		}
		flag := cmd.Flag(name)
		if !strings.HasPrefix(w, "--") && len(name) == 1 {
			flag = cmd.Flags().ShorthandLookup(name)
			if flag == nil {
				flag = cmd.InheritedFlags().ShorthandLookup(name)
			}
		}
		if flag == nil && name != "help" {
			return fmt.Errorf("%s has no flag %s", cmd.CommandPath(), w)
		}
		if flag == nil || flag.NoOptDefVal != "" && !given {
			continue
		}
		if !given {
			if i++; i == len(rest) {
				if mention {
					continue
				}
				return fmt.Errorf("%s wants a value", w)
			}
			value = rest[i]
		}
		if placeholder.MatchString(value) {
			continue
		}
		if err := flag.Value.Set(value); err != nil {
			return fmt.Errorf("%s %s: %w", w, value, err)
		}
	}
	if cmd.HasSubCommands() && len(args) > 0 {
		return fmt.Errorf("%s has no command %s", cmd.CommandPath(), args[0])
	}
	if mention && len(args) == 0 {
		return nil
	}
	if !cmd.Runnable() {
		return errors.New(cmd.CommandPath() + " is no command by itself")
	}
	return cmd.ValidateArgs(args)
}

// Misfits checks every command line of some programs, by the names that documents give them, in all
// documents. It returns how many there are, and what does not fit as errors joined. root makes the
// command line anew for each, since trying one sets its flags.
func Misfits(all []Document, root func() *cobra.Command, programs ...string) (checked int, misfits error) {
	for _, d := range all {
		d.Each(func(c Command, mention bool) {
			for _, program := range programs {
				words, ok := Words(c.Text, program)
				if !ok {
					continue
				}
				checked++
				if err := Check(root(), words, mention); err != nil {
					misfits = errors.Join(misfits, fmt.Errorf("%s: %w", c, err))
				}
			}
		})
	}
	return checked, misfits
}
