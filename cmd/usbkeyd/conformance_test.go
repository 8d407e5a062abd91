package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
	"github.com/usbkeyd/usbkeyd/internal/conformance"
)

// TestOurServerConforms tries every rule of the contract against usbkey-central, on both
// engines.
func TestOurServerConforms(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) { conforms(t, centraltest.New(t, nil)) })
	t.Run("PostgreSQL", func(t *testing.T) {
		db, err := database.ParsePostgres(pgtest.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		conforms(t, centraltest.New(t, func(c *central.Config) { c.Postgres = db }))
	})
}

func conforms(t *testing.T, server *centraltest.Central) {
	t.Helper()
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
