package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// Whoever asks for a state that there is not is told of all that the contract has.
func TestAllStatesCanBeAskedFor(t *testing.T) {
	contract, err := os.ReadFile("../../api/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, of, _ := strings.Cut(string(contract), "\n    UnitStateName:\n")
	_, of, _ = strings.Cut(of, "enum: [")
	of, _, _ = strings.Cut(of, "]")
	var got []string
	for _, state := range unitStates {
		got = append(got, string(state))
	}
	want := strings.Split(of, ", ")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%v can be asked for; the contract has %v", got, want)
	}
	err = unitsListOptions{state: "done"}.run(t.Context(), streams{}, nil)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(unitStates)) {
		t.Errorf("it is told %v", err)
	}
}

// Whoever waits for the CA is told so, whatever else there is to say of the unit.
func TestNoteOfAUnit(t *testing.T) {
	said, faulty, step, at := "it is Sunday", "faulty", "request certificate", time.Date(2026, 11, 22, 9, 0, 0, 0, time.Local)
	for want, u := range map[string]api.Unit{
		"-":                   {},
		"2 failed attempt(s)": {Attempts: 2},
		"faulty":              {HeldReason: &faulty},
		"request certificate; the CA has not decided: it is Sunday; asked again 2026-11-22 09:00": {Phase: &step, PendingReason: &said, PendingUntil: &at},
		"faulty; the CA has not decided: it is Sunday; asked again 2026-11-22 09:00":              {HeldReason: &faulty, PendingReason: &said, PendingUntil: &at},
		"the CA has not decided: it is Sunday":                                                    {PendingReason: &said},
	} {
		if row := unitRows([]api.Unit{u}).Rows[0]; row[len(row)-1] != want {
			t.Errorf("the note is %q, want %q", row[len(row)-1], want)
		}
	}
}
