//go:build rig && linux

package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/docs"
)

// chapter says how a document is followed: where, by whom, and what the reader does between the
// blocks that the text tells in words.
type chapter struct {
	document string
	// put has in pairs what the reader puts for a placeholder.
	put []string
	// before has, in pairs, a text in a block and what the reader does before that block.
	before []string
	// file is where a block is saved that is a script of its own. What has insert in it belongs
	// into that script, before its last line.
	file, insert string
	// after is done at the end: commands that stand in the text, and what must be true then.
	after string
}

// build makes the packages from what is here. The flags of the programs are those of any test, so
// that nothing is compiled twice.
const build = `set -euo pipefail
. scripts/lib.sh
. scripts/package.d/make.sh
need_go
programs=(usbkeyd usbkey-central) flags=(-ldflags "-s -w") compression=none
export SOURCE_DATE_EPOCH=1767225600 DEB_ARCH=amd64 DEB_MAINTAINER='usbkeyd authors <authors@usbkeyd.invalid>' CGO_ENABLED=1
make_packages "$PWD" 1.0 "$1" "$2"
`

// readiness is of a machine whose reader says yes to apt.
const readiness = `chmod 755 /usr/local/bin/systemctl
chmod 1777 /srv/reader
echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/99yes
`

func TestDocumentsAreFollowed(t *testing.T) {
	all, err := docs.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	room := t.TempDir()
	packages := filepath.Join(room, "packages")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", build, "build", packages, filepath.Join(room, "root"))
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the packages were not made: %v\n%s", err, out)
	}
	t.Logf("the packages: %.1f s", time.Since(start).Seconds())
	m := newMachine(t)
	m.put(packages, "/srv/reader")
	m.put("../../docs", "/srv/reader/docs")
	m.put("testdata/machine", "/usr/local/bin")
	if out, err := m.run(readiness); err != nil {
		t.Fatal(out)
	}
	whole, typed := "", map[string]bool{}
	for _, c := range chapters() {
		begun := time.Now()
		whole += followed(t, m, all, c, typed)
		t.Logf("%s: %.1f s", c.document, time.Since(begun).Seconds())
	}
	covered(t, all, whole, typed)
}

// followed runs the blocks of a document in their order, in one shell. It returns what was run, and
// notes in typed which commands of the document those were.
func followed(t *testing.T, m *machine, all []docs.Document, c chapter, typed map[string]bool) string {
	t.Helper()
	var script strings.Builder
	script.WriteString(prelude)
	for _, d := range all {
		if d.Path != c.document {
			continue
		}
		for _, b := range d.Blocks {
			text, commands := mine(d.Path, b)
			if len(commands) == 0 {
				continue
			}
			for _, command := range commands {
				typed[command.Text] = true
			}
			for i := 0; i+1 < len(c.before); i += 2 {
				if strings.Contains(b.Text, c.before[i]) {
					script.WriteString(c.before[i+1] + "\n")
				}
			}
			if c.insert != "" && strings.Contains(text, c.insert) && !strings.HasPrefix(text, "#!") {
				continue
			}
			script.WriteString("echo \"" + mark + "$SECONDS\" '" + strings.ReplaceAll(commands[0].String(), "'", "") + "'\n")
			if strings.HasPrefix(text, "#!") {
				text = "cat >" + c.file + " <<'END OF THE SCRIPT'\n" + inserted(d, text, c.insert) + "END OF THE SCRIPT\n"
			}
			script.WriteString(strings.NewReplacer(c.put...).Replace(text))
		}
	}
	script.WriteString("echo '" + mark + "after " + c.document + "'\n" + c.after)
	out, err := m.run(script.String())
	if os.Getenv("DOCS_SHOW") != "" {
		t.Log(out)
	}
	if err != nil {
		t.Errorf("%s cannot be followed: %v\n%s", c.document, err, out[max(0, strings.LastIndex(out, mark)):])
	}
	return script.String()
}

// mark begins a line that says which block comes now.
const mark = "@@ "

// inserted is a script with the other blocks that belong into it, before its last line.
func inserted(d docs.Document, script, insert string) string {
	end := strings.LastIndex(strings.TrimRight(script, "\n"), "\n") + 1
	for _, b := range d.Blocks {
		if b.IsShell() && strings.Contains(b.Text, insert) && !strings.HasPrefix(b.Text, "#!") {
			script = script[:end] + b.Script() + script[end:]
			end += len(b.Script())
		}
	}
	return script
}

// mine is a block without the commands that something else runs, and those that are left.
func mine(document string, b docs.Block) (script string, commands []docs.Command) {
	if !b.IsShell() {
		return "", nil
	}
	lines := strings.Split(b.Script(), "\n")
	for _, c := range b.Commands(document) {
		if !slices.ContainsFunc(runners(), func(r runner) bool { return r.command == c.Text }) {
			commands = append(commands, c)
			continue
		}
		for i := c.Line - b.Line; i < len(lines); i++ {
			more := strings.HasSuffix(lines[i], "\\")
			lines[i] = ""
			if !more {
				break
			}
		}
	}
	return strings.Join(lines, "\n"), commands
}
