package floor

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/provision"
)

// sentencesOf are the texts with a blank in a package's source, but for those of errors and
// regular expressions: what it says to people.
func sentencesOf(t *testing.T, dir string) (out []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && (f.Sel.Name == "Errorf" || f.Sel.Name == "MustCompile") {
					return false
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); n.Kind == token.STRING && err == nil && strings.ContainsAny(text, " \n") {
					out = append(out, text)
				}
			}
			return true
		})
	}
	return out
}

// TestPageSaysWhatThePackingTableSays: every sentence of package packing has its text in both
// languages, and so has whatever an insertion or a sheet comes to.
func TestPageSaysWhatThePackingTableSays(t *testing.T) {
	have := console.TextKeys()
	said := sentencesOf(t, "../packing")
	if len(said) < 45 {
		t.Fatalf("only %d sentences were found", len(said))
	}
	said = append(said, "%s.") // the one without a blank
	var want []string
	for _, s := range said {
		want = append(want, "say:"+s)
	}
	for _, s := range saidByPage(t) {
		want = append(want, "say:"+s)
	}
	for _, s := range packing.Standings() {
		want = append(want, "standing."+string(s), "count."+string(s))
	}
	for _, s := range []string{"asked", "wanted", provision.InsertionRead, provision.InsertionFailed, provision.InsertionLate, string(packing.WrongKey), string(packing.NotThere)} {
		want = append(want, "insertion."+s)
	}
	for _, e := range []cups.End{cups.Completed, cups.GivenUp, cups.Cancelled, cups.TooLate, cups.NoPaper, cups.Lost} {
		want = append(want, "outcome."+string(e))
	}
	for _, key := range want {
		if !slices.Contains(have, key) {
			t.Errorf("the page has no text %q", key)
		}
	}
	for _, key := range have {
		if s, ok := strings.CutPrefix(key, "say:"); ok && !slices.Contains(said, s) && !slices.Contains(saidByPage(t), s) {
			t.Errorf("nobody says %q", s)
		}
	}
}

// saidByPage are the sentences that this package hands to console.Say.
func saidByPage(t *testing.T) (out []string) {
	t.Helper()
	for _, file := range []string{"packing.go", "letters.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`console\.Say\(("[^"]+")`).FindAllSubmatch(text, -1) {
			s, err := strconv.Unquote(string(m[1]))
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, s)
		}
	}
	return out
}
