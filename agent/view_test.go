package agent

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestView: which slots are listed, what their tokens are, and which jobs have none.
func TestView(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m", Tokens: 2}}, sampleProfile)
	m := inv.instance("m")
	began := map[string]place{}
	uses := func(v ModuleView) string {
		var out []string
		for _, s := range v.Slots {
			out = append(out, s.Description+" "+string(s.Use)+" "+s.Job)
		}
		return strings.Join(out, ", ")
	}
	see := func(want string, slots ...pkcs11.Slot) ModuleView {
		t.Helper()
		if slots != nil {
			inv.saw(m, time.Now(), slots, nil)
		}
		v := inv.view(m, began)
		if got := uses(v); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		return v
	}
	see("s0  , s2 used , s3 blank ",
		pkcs11.Slot{Description: "s0"}, slot("s2", "A2", used), slot("s3", "", 0), slot("s4", "", 0))
	// The spare slot comes first, and is the blank one beyond the limit all the same.
	see("s2 used , s3 used ", slot("s1", "", 0), slot("s2", "A2", used), slot("s3", "A3", used))

	// A job is at the slot in which it began, also when its token has become another.
	see("s1 blank ", slot("s1", "", 0))
	ref := inv.free()[0]
	began["u-1-g1-1"] = place{"m", "s1"}
	inv.occupy(ref, "u-1-g1-1", true)
	see("s1 busy u-1-g1-1")
	inv.moved(provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: "A1"}}, "u-1-g1-1")
	if v := see("s1 busy u-1-g1-1"); len(v.Unseen) != 0 {
		t.Errorf("unseen: %v", v.Unseen)
	}
	// Once it is parked, only its own identity counts.
	inv.occupy(provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: "A1"}}, "u-1-g1-1", false)
	inv.saw(m, time.Now(), nil, nil)
	if v := inv.view(m, began); len(v.Slots) != 0 || !slices.Equal(v.Unseen, []string{"u-1-g1-1"}) {
		t.Errorf("the token is out: %+v", v)
	}
	see("s1 busy u-1-g1-1", slot("s1", "A1", used))

	inv.saw(m, time.Now(), nil, errors.New("gone"))
	if v := inv.view(m, began); v.Err == nil || len(v.Slots) != 1 {
		t.Errorf("a module that cannot be read: %+v", v)
	}
}

// TestHintsAreKnown: every hint that this package writes down is one of Hints.
func TestHintsAreKnown(t *testing.T) {
	for _, file := range []string{"jobs.go", "adopt.go", "../provision/steps_wipe.go"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if field, ok := n.(*ast.KeyValueExpr); ok {
				if key, ok := field.Key.(*ast.Ident); ok && key.Name == "Hint" {
					if lit, ok := field.Value.(*ast.BasicLit); ok {
						hint, _ := strconv.Unquote(lit.Value)
						t.Errorf("%s: the hint %q is not among Hints", file, hint)
					}
				}
			}
			return true
		})
	}
	seen := map[string]bool{}
	for _, h := range Hints() {
		if h == "" || seen[h] {
			t.Errorf("%q is empty or twice there", h)
		}
		seen[h] = true
	}
}
