package store

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The whole table, as the dispatch contract has it: what is not in it is an error.
func TestTransitions(t *testing.T) {
	text, err := os.ReadFile("testdata/transitions.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(text)), "\n")
	states := []State{Ready, Leased, Bound, Issuing, IssueUnknown, Issued, Installed, Shipped, Held, Stranded, Cancelling, Cancelled}
	events := []Event{
		EventClaim, EventRelease, EventLeaseExpired, EventHold, EventBind, EventIntend, EventIssued, EventRefused, EventUnknown, EventAbsent, EventPending,
		EventInstalled, EventFailed, EventCustodyExpired, EventAdopt, EventGiveUp, EventReissue, EventShip, EventReturn,
		EventCancel, EventRevoked, EventAcknowledged, EventCancelled,
	}
	var got []string
	for _, s := range states {
		for _, e := range events {
			to, err := next(s, e)
			if err != nil {
				continue
			}
			if to != stateBefore && !to.known() {
				t.Errorf("%s %s leads to %q", s, e, to)
			}
			if s.InCustody() && to == Ready {
				t.Errorf("%s %s: a bound unit goes back to READY", s, e)
			}
			if s == Shipped && to == Ready || s == Installed && to == Ready {
				t.Errorf("%s %s: a finished unit goes back to READY", s, e)
			}
			got = append(got, fmt.Sprintf("%s %s %s", s, e, to))
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := next("NONSENSE", EventClaim); err == nil || !strings.Contains(err.Error(), "unknown unit state") {
		t.Errorf("an unknown state: %v", err)
	}
	if _, err := next(Ready, "nonsense"); err == nil {
		t.Error("an unknown event is taken")
	}
}
