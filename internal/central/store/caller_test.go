package store

import (
	"reflect"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// TestCallerIsAsItIs: whatever changes a station, the next request of it meets it as it is.
func TestCallerIsAsItIs(t *testing.T) { onBothEngines(t, testCallerIsAsItIs) }

func testCallerIsAsItIs(t *testing.T, at database.Place) {
	s, _ := newStore(t, at)
	if _, err := s.Caller(t.Context(), "bay-3"); !isRefusal(err, NotFound) {
		t.Errorf("a station that is not there: %v", err)
	}
	addStation(t, s, "bay-3")
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"added", func() error { return nil }},
		{"to drain", func() error { return second(s.DrainStation(t.Context(), "bay-3", true)) }},
		{"to go on", func() error { return second(s.DrainStation(t.Context(), "bay-3", false)) }},
		{"another one to drain", func() error { return second(s.DrainStation(t.Context(), "bay-1", true)) }},
		{"revoked", func() error { return s.RevokeStation(t.Context(), "bay-3") }},
	} {
		// It was read before, so that an old one could be there.
		if _, err := s.Caller(t.Context(), "bay-3"); err != nil {
			t.Fatal(err)
		}
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"bay-1", "bay-3"} {
			want, err := s.Station(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := s.Caller(t.Context(), name); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, %v, and is %+v", change.name, got, err, want)
			}
		}
	}
}

func second(_ Station, err error) error { return err }
