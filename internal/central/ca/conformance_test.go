package ca_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/catest"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
)

func TestDevelopmentConformance(t *testing.T) {
	t.Parallel()
	places := map[string]func(t *testing.T, dir string) database.Place{
		"SQLite": func(_ *testing.T, dir string) database.Place { return ca.DevelopmentRecord(dir) },
		"PostgreSQL": func(t *testing.T, _ string) database.Place {
			p, err := database.ParsePostgres(pgtest.Database(t))
			if err != nil {
				t.Fatal(err)
			}
			return p.Schema("usbkey_ca")
		},
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			catest.Conformance(t, func(t *testing.T) *catest.Fixture {
				dir := filepath.Join(t.TempDir(), "ca")
				at := place(t, dir)
				open := func() *ca.Development {
					d, err := ca.OpenDevelopment(t.Context(), dir, at, time.Now)
					if err != nil {
						t.Fatal(err)
					}
					return d
				}
				d := open()
				t.Cleanup(func() { _ = d.Close() })
				return &catest.Fixture{CA: d, Reopen: func(t *testing.T) ca.CA {
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
					d = open()
					return d
				}}
			})
		})
	}
}
