package wording

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// spoken are the folders whose texts the command line prints: its own, and that of what it does
// as the operator's page does.
var spoken = []string{"cmd/usbkeyd", "internal/floor"}

// sources are the program's files in a folder, without tests and what is generated.
func sources(t *testing.T, folder string) []*ast.File {
	t.Helper()
	return filesOf(t, filepath.Join(folder, "*.go"))
}

// filesOf are those that a pattern of paths fits.
func filesOf(t *testing.T, pattern string) (out []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, ".gen.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// constants are the texts that a package has names for.
func constants(files []*ast.File) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, name := range v.Names {
					if i < len(v.Values) {
						if text, ok := textOf(v.Values[i], out); ok {
							out[name.Name] = text
						}
					}
				}
			}
		}
	}
	return out
}

// textOf is a text that the source says, in one piece or several.
func textOf(e ast.Expr, names map[string]string) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.Ident:
		text, ok := names[e.Name]
		return text, ok
	case *ast.ParenExpr:
		return textOf(e.X, names)
	case *ast.BinaryExpr:
		x, ok := textOf(e.X, names)
		y, too := textOf(e.Y, names)
		return x + y, ok && too && e.Op == token.ADD
	}
	return "", false
}

// shown are the arguments by which functions of the command line are given what people read,
// by the functions' names; -1 is the last one.
var shown = map[string][]int{
	"Say": {0}, "Sprintf": {0}, "say": {0}, "usage": {0}, "Fprintf": {1}, "Fprintln": {1}, "group": {1}, "exactArgs": {1}, "labelAct": {-1},
	"StringVar": {-1}, "BoolVar": {-1}, "DurationVar": {-1}, "TextVar": {-1}, "IntVar": {-1}, "StringSliceVar": {-1}, "StringArrayVar": {-1}, "VarP": {-1},
}

// readByPeople are the texts in the sources of the command line that people read.
func readByPeople(files []*ast.File) map[string]bool {
	names, out := constants(files), map[string]bool{}
	add := func(e ast.Expr) {
		if text, ok := textOf(e, names); ok && worded(text) > 0 {
			out[text] = true
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				key, _ := n.Key.(*ast.Ident)
				if key == nil {
					break
				}
				switch list, _ := n.Value.(*ast.CompositeLit); {
				case key.Name == "Short", key.Name == "Empty":
					add(n.Value)
				case key.Name == "Header" && list != nil:
					for _, e := range list.Elts {
						add(e)
					}
				}
			case *ast.CallExpr:
				on, name := "", ""
				switch f := n.Fun.(type) {
				case *ast.Ident:
					name = f.Name
				case *ast.SelectorExpr:
					name = f.Sel.Name
					if x, ok := f.X.(*ast.Ident); ok {
						on = x.Name
					}
				}
				if on == "errors" && name == "New" || on == "fmt" && name == "Errorf" {
					if text, ok := textOf(n.Args[0], names); ok && worded(text) >= 4 {
						out[text] = true
					}
					break
				}
				if on == "fmt" || on == "packing" || on == "console" {
					break
				}
				for _, i := range shown[name] {
					if i < 0 {
						i = len(n.Args) - 1
					}
					if i >= 0 && i < len(n.Args) {
						add(n.Args[i])
					}
				}
			}
			return true
		})
	}
	return out
}

// worded counts the words of a text, without what is put into it.
func worded(text string) int {
	return len(regexp.MustCompile(`[A-Za-z]{2,}`).FindAllString(verb().ReplaceAllString(text, " "), -1))
}

func TestEveryTextHasItsChinese(t *testing.T) {
	have := texts()
	for _, folder := range spoken {
		for _, english := range slices.Sorted(maps.Keys(readByPeople(sources(t, filepath.Join(root, folder))))) {
			if have[english] == "" {
				t.Errorf("no Chinese for %q", english)
			}
		}
	}
}

// faultsIn are the texts of least words or more that files give to functions, or as errors or
// findings.
func faultsIn(files []*ast.File, least int) map[string]bool {
	names, out := constants(files), map[string]bool{}
	add := func(e ast.Expr) {
		if text, ok := textOf(e, names); ok && worded(text) >= least && strings.Contains(text, " ") {
			out[text] = true
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, _ := n.Key.(*ast.Ident); key != nil && slices.Contains([]string{"Message", "Found", "Mend"}, key.Name) {
					add(n.Value)
				}
			case *ast.ReturnStmt:
				for _, e := range n.Results {
					add(e)
				}
			case *ast.AssignStmt:
				for _, e := range n.Rhs {
					add(e)
				}
			case *ast.ValueSpec:
				if kind, _ := n.Type.(*ast.Ident); kind != nil && kind.Name == "Sentinel" {
					for _, e := range n.Values {
						add(e)
					}
				}
			case *ast.CallExpr:
				f, _ := n.Fun.(*ast.SelectorExpr)
				if f != nil {
					if on, _ := f.X.(*ast.Ident); on != nil && (on.Name == "strings" || on.Name == "regexp") {
						break
					}
				}
				for _, a := range n.Args {
					add(a)
				}
			}
			return true
		})
	}
	return out
}

// TestEveryFaultHasItsChinese: of a configuration in the file, in values, in profiles of certificates
// and in the files that it names, and what doctor finds of folders, TPM, printer and pcscd.
func TestEveryFaultHasItsChinese(t *testing.T) {
	have := texts()
	for pattern, least := range map[string]int{
		"config/*.go": 1, "csr/attribute.go": 2, "csr/profile.go": 2, "csr/text.go": 2, "internal/typeface/*.go": 2, "internal/mailer/cups/memory_other.go": 2,
		"cmd/usbkeyd/catalogue.go": 2, "cmd/usbkeyd/profiles.go": 2, "cmd/usbkeyd/credential.go": 2, "cmd/usbkeyd/labels.go": 2,
		"internal/doctor/disk.go": 2, "internal/doctor/machine_*.go": 2, "internal/identity/errors.go": 3, "internal/pcsc/probe.go": 3, "internal/mailer/cups/memory_linux.go": 2,
		"pkcs11/worker/trust.go": 4, "pkcs11/worker/trust_linux.go": 2, "pkcs11/errors.go": 2, "pkcs11/cryptoki/explain*.go": 2, "pkcs11/cryptoki/functions_linux.go": 2,
	} {
		said := faultsIn(filesOf(t, filepath.Join(root, pattern)), least)
		if len(said) == 0 {
			t.Errorf("%s says nothing", pattern)
		}
		for _, english := range slices.Sorted(maps.Keys(said)) {
			if have[english] == "" {
				t.Errorf("%s: no Chinese for %q", pattern, english)
			}
		}
	}
}

// TestNoChineseIsLeftBehind: what is said in Chinese is said in English somewhere.
func TestNoChineseIsLeftBehind(t *testing.T) {
	said := map[string]bool{}
	for _, folder := range []string{"cmd/usbkeyd", "agent", "config", "csr", "provision", "csr/*", "pkcs11", "pkcs11/*", "internal/*", "internal/*/*"} {
		folders, err := filepath.Glob(filepath.Join(root, folder))
		if err != nil || len(folders) == 0 {
			t.Fatalf("%s: %v", folder, err)
		}
		for _, f := range folders {
			if info, err := os.Stat(f); err != nil || !info.IsDir() || filepath.Base(f) == "wording" {
				continue
			}
			files := sources(t, f)
			names := constants(files)
			for _, file := range files {
				ast.Inspect(file, func(n ast.Node) bool {
					if e, ok := n.(ast.Expr); ok {
						if text, ok := textOf(e, names); ok {
							said[text] = true
							said[digest(text)] = true
						}
					}
					return true
				})
			}
		}
	}
	elsewhere := libraryTexts()
	maps.Copy(elsewhere, composedTexts())
	maps.Copy(elsewhere, stateTexts())
	maps.Copy(elsewhere, foreignTexts())
	maps.Copy(elsewhere, networkTexts())
	for _, english := range slices.Sorted(maps.Keys(texts())) {
		if _, ok := elsewhere[english]; !ok && !said[english] {
			t.Errorf("nothing says %q any more", english)
		}
	}
	for _, of := range slices.Sorted(maps.Keys(long())) {
		if !said[of] {
			t.Errorf("no long text of a command has the digest %s any more: %.40s…", of, long()[of])
		}
	}
}

// TestPatternsTakeTheSameArguments: a number stays a number, and what is text may be quoted or not.
func TestPatternsTakeTheSameArguments(t *testing.T) {
	letters := func(pattern string) map[int]string {
		out, order, i := map[int]string{}, verbs(pattern), 0
		for _, m := range verb().FindAllStringSubmatch(pattern, -1) {
			if m[2] == "%" {
				continue
			}
			letter := m[2]
			if strings.Contains("sqvw", letter) {
				letter = "text"
			}
			out[order[i]] = letter
			i++
		}
		return out
	}
	for english, chinese := range texts() {
		if a, b := letters(english), letters(chinese); !maps.Equal(a, b) {
			t.Errorf("%q takes %v, %q takes %v", english, a, chinese, b)
		}
		if regexp.MustCompile(`[,;:?!] ?\p{Han}|\p{Han}[,;:?!]`).MatchString(chinese) {
			t.Errorf("%q has punctuation of English in it", chinese)
		}
		if strings.HasSuffix(english, "\n") != strings.HasSuffix(chinese, "\n") {
			t.Errorf("%q ends its line, %q does not, or the other way round", english, chinese)
		}
	}
}
