package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/conformance"
)

// TestOurServerConforms tries every rule of the contract against usbkey-central.
func TestOurServerConforms(t *testing.T) {
	server := centraltest.New(t, nil)
	s := newStationAt(t, server, 1, "ec-p256")
	second := filepath.Join(s.Dir, "second")
	if err := s.Central.Admin.AddStation(t.Context(), "second-station", second); err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(s.Dir, "admin.token")
	if err := os.WriteFile(token, []byte(server.AdminToken()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := s.command("central", "conformance", "--admin-url", server.AdminURL(), "--admin-token-file", token, "--second", second, "--output", "json")
	var results []conformance.Result
	if err := json.Unmarshal([]byte(out), &results); err != nil {
		t.Fatalf("%v\n%s", err, errOut)
	}
	for _, r := range results {
		if r.Verdict != conformance.Holds {
			t.Errorf("%s: %s: %s", r.Name, r.Verdict, r.Detail)
		}
	}
	if code != exitOK || len(results) != len(conformance.Rules()) {
		t.Errorf("code %d, %d of %d rules\n%s", code, len(results), len(conformance.Rules()), errOut)
	}
}
