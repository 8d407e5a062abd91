// Package house_test states the rules of the house: who may import whom, what
// every package must say of itself, and what no package may have. docs/architecture.md
// gives the reasons at length.
package house_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/usbkeyd/usbkeyd"

type goPackage struct {
	ImportPath string
	Name       string
	Doc        string
	Dir        string
	Imports    []string
	CgoFiles   []string
	GoFiles    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Doc,Dir,Imports,CgoFiles,GoFiles", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

// may says which of our packages a package and those below it may import; the
// longest entry that fits counts. "x/..." stands for x and everything below.
func may() map[string][]string {
	return map[string][]string{
		"pkcs11":                    {},
		"pkcs11/cryptoki":           {"pkcs11"},
		"pkcs11/worker":             {"pkcs11", "internal/filelock"},
		"pkcs11/worker/workertest":  {"pkcs11/worker"},
		"pkcs11/pkcs11test":         {"pkcs11"},
		"pkcs11/pkcs11test/usbrig":  {"pkcs11/pkcs11test/pivcard"},
		"pkcs11/pkcs11test/pivcard": {},
		"pkcs11/pkcs11test/winerig": {},
		"csr":                       {},
		"csr/envelope":              {},
		"csr/envelope/recovery":     {"csr/envelope"},
		"config":                    {},
		"api":                       {},
		"api/stationserver":         {"api"},
		"api/adminserver":           {"api"},
		"api/reference":             {"api"},
		"provision":                 {"pkcs11", "csr/...", "internal/audit", "internal/crashpoint", "internal/keycheck", "internal/packing", "internal/sqlite", "internal/stock"},
		"agent":                     {"provision", "api", "pkcs11", "csr/...", "internal/audit", "internal/crashpoint", "internal/evidence", "internal/identity/proof"},
		"internal/central":          {"api/...", "csr/...", "internal/audit", "internal/central/...", "internal/crashpoint", "internal/filelock", "internal/identity/proof", "internal/sqlite"},
		"internal/central/ca":       {"csr", "internal/central/ca/...", "internal/central/database", "internal/central/keyfile", "internal/filelock"},
		"internal/attestation":      {"pkcs11"},
		"internal/audit":            {},
		"internal/bays":             {},
		"internal/usbport":          {},
		"internal/wording":          {"internal/output"},
		"internal/buildinfo":        {"internal/output"},
		"internal/conformance":      {"api", "csr/...", "internal/audit"},
		"internal/console":          {}, // it says itself what it wants to know
		"internal/crashmatrix":      {},
		"internal/docs":             {},
		"internal/doctor":           {},
		"internal/crashpoint":       {},
		"internal/filelock":         {},
		"internal/identity":         {"internal/identity/proof"},
		"internal/identity/proof":   {},
		"internal/identity/tpmtest": {},
		"internal/floor":            {"agent", "config", "internal/bays", "internal/console", "internal/filelock", "internal/mailer", "internal/mailer/cups", "internal/packing", "internal/typeface", "internal/usbport", "pkcs11", "provision"},
		"internal/helpcmd":          {},
		"internal/keycheck":         {},
		"internal/label":            {"internal/typeface"},
		"internal/mailer":           {"pkcs11", "internal/typeface"},
		"internal/mailer/cups":      {},
		"internal/mailer/cupstest":  {"internal/canary"},
		"internal/manpage":          {},
		"internal/metrics":          {}, // it is told everything
		"internal/output":           {},
		"internal/packing":          {},
		"internal/pcsc":             {},
		"internal/qualify":          {"pkcs11"},
		"internal/simulation":       {}, // tests alone
		"internal/soak":             {}, // tests alone
		"internal/stock":            {},
		"internal/systemd":          {},
		"internal/sqlite":           {},
		"internal/stationload":      {"api", "csr"},
		"internal/typeface":         {},
		"internal/canary":           {},
		"internal/evidence":         {"csr", "internal/audit"},
		"internal/stationtest":      {"api", "internal/audit", "internal/canary", "internal/central/centraltest", "pkcs11/pkcs11test", "provision"},
		"cmd/usbkeyd":               {"agent", "api", "config", "csr/...", "internal/attestation", "internal/audit", "internal/buildinfo", "internal/conformance", "internal/console", "internal/doctor", "internal/evidence", "internal/filelock", "internal/floor", "internal/helpcmd", "internal/identity/...", "internal/label", "internal/mailer/...", "internal/manpage", "internal/metrics", "internal/output", "internal/packing", "internal/pcsc", "internal/qualify", "internal/stock", "internal/systemd", "internal/typeface", "internal/wording", "pkcs11/...", "provision"},
		"cmd/usbkeyd-module":        {"pkcs11/cryptoki", "pkcs11/worker"}, // and so starts fast
		"cmd/usbkey-rig":            {"internal/mailer/cupstest", "pkcs11/pkcs11test/..."},
		"cmd/usbkey-bench":          {"api", "internal/central", "internal/central/adminclient"},
		"cmd/usbkey-load":           {"api", "csr/envelope", "internal/central", "internal/central/adminclient", "internal/stationload"},
		"cmd/usbkey-central":        {"api", "csr/...", "internal/audit", "internal/buildinfo", "internal/central/...", "internal/helpcmd", "internal/manpage", "internal/output", "internal/systemd"},
	}
}

// only says which packages may import something from outside, and why only they.
func only() map[string]struct {
	packages []string
	why      string
} {
	return map[string]struct {
		packages []string
		why      string
	}{
		"github.com/miekg/pkcs11":       {[]string{"pkcs11/cryptoki"}, "a vendor module may only ever be loaded in a child process"},
		"C":                             {[]string{"pkcs11/cryptoki"}, "everything else must build without a C compiler"},
		"github.com/spf13/cobra":        {[]string{"cmd/usbkeyd", "cmd/usbkey-central", "internal/buildinfo", "internal/docs", "internal/helpcmd", "internal/manpage", "internal/wording"}, "the command line is the edge"},
		"github.com/goccy/go-yaml":      {[]string{"config"}, "settings are written down in one place"},
		"go.mozilla.org/pkcs7":          {[]string{"csr", "csr/envelope", "internal/evidence"}, "its defaults are weak; csr sees to that once"},
		"github.com/jackc/pgx/v5":       {[]string{"internal/central/database", "internal/central/pgtest"}, "the store's SQL is one text for both engines"},
		"golang.org/x/mod":              {[]string{"internal/audit"}, "one package says what a record is"},
		"github.com/google/go-tpm":      {[]string{"internal/identity", "internal/identity/proof", "internal/identity/tpmtest"}, "what a TPM loads must be flushed, and what it says judged, in one place"},
		"net/http":                      {[]string{"agent", "api", "api/stationserver", "api/adminserver", "internal/central", "internal/central/contract", "internal/central/adminclient", "internal/central/ca/est", "internal/central/ca/esttest", "internal/conformance", "internal/console", "internal/mailer/cups", "internal/metrics", "internal/stationload", "cmd/usbkey-central"}, "the pipeline must not know the network"},
		"github.com/signintech/gopdf":   {[]string{"internal/label", "internal/mailer"}, "it leaves out what it has no glyph for; typeface is asked first"},
		"github.com/boombuler/barcode":  {[]string{"internal/label"}, "one package says what is on a label"},
		"github.com/OpenPrinting/goipp": {[]string{"internal/mailer/cups"}, "one package speaks with CUPS"},
		"golang.org/x/text":             {[]string{"internal/console"}, "what an operator reads in two languages is written in one place"},
		"html/template":                 {[]string{"internal/console", "internal/label", "internal/mailer"}, "who makes markup escapes it"},
		"github.com/prometheus":         {[]string{"internal/metrics"}, "what may be a label is decided in one place"},
		"github.com/chromedp/chromedp":  {[]string{"internal/console/consoletest"}, "tests alone have a browser"},
		"golang.org/x/image":            {[]string{"internal/typeface"}, "one package reads fonts"},
		"gonum.org/v1/plot":             {[]string{"cmd/usbkey-bench"}, "no program that is shipped draws"},
		"github.com/getkin/kin-openapi": {[]string{"api/reference", "internal/central", "internal/central/contract"}, "only the server judges by the document, and one program shows it"},
	}
}

func own(importPath string) string { return strings.TrimPrefix(importPath, module+"/") }

func allowed(list []string, pkg string) bool {
	return slices.ContainsFunc(list, func(a string) bool {
		below, tree := strings.CutSuffix(a, "/...")
		return pkg == below || tree && strings.HasPrefix(pkg, below+"/")
	})
}

func TestWhoImportsWhom(t *testing.T) {
	for _, p := range packages(t) {
		name := own(p.ImportPath)
		rule, room := []string(nil), name
		for ; room != "."; room = path.Dir(room) {
			if r, ok := may()[room]; ok {
				rule = r
				break
			}
		}
		if room == "." && name != module {
			t.Errorf("%s: no rule says what it may import; add it to the house in house_test.go and docs/architecture.md", name)
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasPrefix(imported, module+"/") && !allowed(rule, own(imported)) {
				t.Errorf("%s imports %s: it may import only %v of ours, so that data flows one way", name, own(imported), rule)
			}
			for outside, r := range only() {
				if (imported == outside || strings.HasPrefix(imported, outside+"/")) && !slices.Contains(r.packages, name) {
					t.Errorf("%s imports %s: only %v may, for %s", name, imported, r.packages, r.why)
				}
			}
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles)+len(p.CgoFiles) > 0 {
			t.Errorf("%s has no package comment", own(p.ImportPath))
		}
		if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "misc"}, p.Name) {
			t.Errorf("%s: a package named %q says nothing", own(p.ImportPath), p.Name)
		}
	}
}

// TestNoHiddenStart: nothing registers itself in init, so reading main tells all.
func TestNoHiddenStart(t *testing.T) {
	walk := func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, ".gen.go") {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function", file)
			}
		}
		return nil
	}
	if err := filepath.WalkDir(".", walk); err != nil {
		t.Fatal(err)
	}
}
