package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
)

// TestReferenceIsCurrent: docs/api.md is what the document says now.
func TestReferenceIsCurrent(t *testing.T) {
	want, err := render(api.Document)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/api.md is not that of api/openapi.yaml: run scripts/generate")
	}
}

// TestReferenceIsWhole: every operation, schema and problem type is on the page, and each operation
// with an example.
func TestReferenceIsWhole(t *testing.T) {
	d, err := load(api.Document)
	if err != nil {
		t.Fatal(err)
	}
	out, err := render(api.Document)
	if err != nil {
		t.Fatal(err)
	}
	page := string(out)
	n := 0
	for _, tag := range []string{"station", "admin"} {
		for _, op := range d.operations(tag) {
			n++
			_, section, found := strings.Cut(page, "\n### "+op.OperationID+"\n")
			section, _, _ = strings.Cut(section, "\n### ")
			if !found || !strings.Contains(section, "```http\n"+op.Method+" /v1/") {
				t.Errorf("%s is not on the page with an example", op.OperationID)
			}
		}
	}
	total := 0
	for _, item := range d.Paths.Map() {
		total += len(item.Operations())
	}
	if n != total {
		t.Errorf("%d operations are on the page, the document has %d", n, total)
	}
	for schema := range d.Components.Schemas {
		if schema != "Problem" && !strings.Contains(page, "\n### "+schema+"\n") && !strings.Contains(page, "\n| "+schema+" |") && !strings.Contains(page, ": "+schema+", at most") && !strings.Contains(page, ". "+schema+".") {
			t.Errorf("the schema %s is nowhere on the page", schema)
		}
	}
	kinds, err := d.problemKinds()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		if !strings.Contains(page, "\n| `"+k.Name+"` |") {
			t.Errorf("the problem %s is not on the page", k.Name)
		}
	}
}

// TestReferenceIsRefused: what a reader would miss stops the generator.
func TestReferenceIsRefused(t *testing.T) {
	rows := []struct{ name, old, new, want string }{
		{"an example that its schema does not allow", "example: SAMPLE-2026-0001}", "example: sample}", "example"},
		{"a field without an example", ", maxLength: 64, example: Card 3}", ", maxLength: 64}", "has no example"},
		{"a body without a limit", "      x-max-body-kib: 64\n", "", "how large a body may be"},
		{"a problem type that is not described", "stale-epoch: {status", "stale: {status", "stale-epoch"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			broken := strings.Replace(api.Document, row.old, row.new, 1)
			if broken == api.Document {
				t.Fatalf("the document has no %q", row.old)
			}
			if _, err := render(broken); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want something about %q", err, row.want)
			}
		})
	}
}
