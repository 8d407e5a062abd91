package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
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
