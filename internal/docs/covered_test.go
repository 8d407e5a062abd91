//go:build rig && linux

package docs_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/docs"
)

// ran is what was run of our programs: the words of a command, and its flags.
type ran struct {
	program string
	words   []string
	flags   []string
}

var (
	ours    = regexp.MustCompile(`(?:^|[ /])(usbkeyd|usbkey-central|usbkeyd\.exe|scripts/[a-z-]+)(?:$| )`)
	managed = regexp.MustCompile(`^(systemctl|service|update-rc\.d|apt-get) `)
	ending  = regexp.MustCompile(`[;|&()<>\n"]|\$\(| # `)
	word    = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// parts are the commands of our programs in a piece of shell.
func parts(shell string) []ran {
	var all []ran
	shell = strings.ReplaceAll(shell, "\\\n", " ")
	for _, piece := range ending.Split(shell, -1) {
		at := ours.FindAllStringSubmatchIndex(piece, -1)
		if len(at) == 0 {
			continue
		}
		last := at[len(at)-1]
		r := ran{program: piece[last[2]:last[3]]}
		fields := strings.Fields(piece[last[3]:])
		for i, done := 0, false; i < len(fields); i++ {
			f := fields[i]
			switch {
			case strings.HasPrefix(f, "--"):
				flag, _, given := strings.Cut(f, "=")
				r.flags = append(r.flags, strings.Trim(flag, "`,."))
				if !given && i+1 < len(fields) && !done && len(r.words) == 0 {
					i++ // before the command's own words each flag has a value
				}
			case word.MatchString(f) && !done:
				r.words = append(r.words, f)
			default:
				done = true
			}
			done = done || len(r.words) > 0 && strings.HasPrefix(f, "--")
		}
		all = append(all, r)
	}
	return all
}

// covers says whether what was run is the command that is mentioned, or one with more flags. A word that
// is no word of a command (a value, "…") ends them.
func (r ran) covers(mention ran) bool {
	if r.program != mention.program || len(mention.words) > len(r.words) || !slices.Equal(r.words[:len(mention.words)], mention.words) {
		return false
	}
	for _, f := range mention.flags {
		if !slices.Contains(r.flags, f) {
			return false
		}
	}
	return true
}

// covered fails the test for what a document tells a reader to type and nothing runs. shell is all
// that was run by following the documents, typed are the commands of their blocks that were.
func covered(t *testing.T, all []docs.Document, shell string, typed map[string]bool) {
	t.Helper()
	done := parts(shell)
	for _, r := range runners() {
		typed[r.command] = true
		done = append(done, parts(r.command)...)
	}
	for _, d := range all {
		d.Each(func(c docs.Command, mention bool) {
			if !mention {
				if !typed[c.Text] {
					t.Errorf("%s is run by nothing: follow the document, or name what runs it in runners", c)
				}
				return
			}
			if managed.MatchString(c.Text) {
				if !strings.Contains(shell, c.Text) {
					t.Errorf("%s is run by nothing", c)
				}
				return
			}
			for _, m := range parts(c.Text) {
				if strings.HasPrefix(m.program, "scripts/") {
					takes(t, c, m)
				} else if !slices.ContainsFunc(done, func(r ran) bool { return r.covers(m) }) {
					t.Errorf("%s is run by nothing, with these flags: %v %v", c, m.words, m.flags)
				}
			}
		})
	}
}

// takes fails the test when a script that the text mentions does not know a flag.
func takes(t *testing.T, c docs.Command, m ran) {
	t.Helper()
	text, err := os.ReadFile("../../" + m.program)
	if err != nil {
		t.Errorf("%s: %v", c, err)
	}
	for _, flag := range m.flags {
		if !strings.Contains(string(text), flag) {
			t.Errorf("%s: the script has no %s", c, flag)
		}
	}
}
