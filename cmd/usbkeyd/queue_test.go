package main

import (
	"slices"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// TestBaysHaveTheirNumbers: bays prints the number that was taught beside the bay's name, and
// none where nothing was.
func TestBaysHaveTheirNumbers(t *testing.T) {
	job := &console.Job{Order: "P-1", Sequence: 2, Of: 3, Step: "finish", Percent: 100}
	table, rows := bayRows(wording.Words{}, []console.Bay{{Name: "hub · one", Number: 7, State: console.BayDone, Token: "A1", Job: job}, {Name: "hub · two", State: console.BayEmpty}})
	if rows[0].Number != 7 || rows[1].Number != 0 || rows[0].Job.OrderID != "P-1" {
		t.Errorf("%+v", rows)
	}
	for i, want := range [][]string{{"7", "hub · one", "done", "A1", "P-1", "2/3", "finish", "100%", ""}, {"", "hub · two", "empty", "", "", "", "", "", ""}} {
		if !slices.Equal(table.Rows[i], want) || len(table.Header) != len(want) {
			t.Errorf("%q, want %q", table.Rows[i], want)
		}
	}
}
