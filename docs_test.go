package house_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are all documents, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	walk(t, ".md", func(file, text string) { all[file] = text })
	if len(all) < 10 {
		t.Fatalf("%d documents were found", len(all))
	}
	return all
}

// walk hands every file with the ending to see.
func walk(t *testing.T, ending string, see func(file, text string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ending) {
			return err
		}
		text, err := os.ReadFile(file)
		if err == nil {
			see(file, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDocsNameTestsThatExist: a guarantee whose proof is gone is none.
func TestDocsNameTestsThatExist(t *testing.T) {
	defined := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test|Fuzz|Benchmark)([A-Z]\w*)\(`)
	walk(t, "_test.go", func(_, text string) {
		for _, m := range function.FindAllStringSubmatch(text, -1) {
			defined[m[1]+m[2]] = true
		}
	})
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")
	n := 0
	for file, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if n++; !defined[m[1]] {
				t.Errorf("%s names %s, which is no test", file, m[1])
			}
		}
	}
	if n == 0 {
		t.Error("no document names a test")
	}
}

// TestDocsLeadSomewhere: links within the project, and the scripts that are named.
func TestDocsLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	script := regexp.MustCompile(`\bscripts/[a-z][a-z0-9.-]*[a-z0-9]`)
	code := regexp.MustCompile("`[^`\n]*`") // what looks like a link in a pattern is none
	for file, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
		for _, name := range script.FindAllString(text, -1) {
			if _, err := os.Stat(name); err != nil {
				t.Errorf("%s names %s: %v", file, name, err)
			}
		}
	}
}

// TestEveryDecisionIsListed: a record that nobody finds is not read.
func TestEveryDecisionIsListed(t *testing.T) {
	all := pages(t)
	index := all[filepath.Join("docs", "decisions", "README.md")]
	for file := range all {
		dir, name := filepath.Split(file)
		if filepath.Clean(dir) == filepath.Join("docs", "decisions") && name != "README.md" && !strings.Contains(index, "("+name+")") {
			t.Errorf("%s is not in the list of decisions", name)
		}
	}
}
