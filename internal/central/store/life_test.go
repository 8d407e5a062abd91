package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The whole table, as the dispatch contract has it: what is not in it is an error.
func TestTransitions(t *testing.T) {
	want := strings.Split(`READY claim LEASED
LEASED release READY
LEASED lease-expired READY
LEASED hold HELD
LEASED bind BOUND
BOUND intend ISSUING
BOUND failed HELD
BOUND custody-expired STRANDED
ISSUING issued ISSUED
ISSUING refused HELD
ISSUING unknown ISSUE_UNKNOWN
ISSUING failed HELD
ISSUING custody-expired STRANDED
ISSUE_UNKNOWN issued ISSUED
ISSUE_UNKNOWN absent ISSUING
ISSUE_UNKNOWN failed HELD
ISSUE_UNKNOWN custody-expired STRANDED
ISSUED installed INSTALLED
ISSUED failed HELD
ISSUED custody-expired STRANDED
STRANDED issued STRANDED
STRANDED refused HELD
STRANDED unknown STRANDED
STRANDED absent STRANDED
STRANDED installed INSTALLED
STRANDED failed HELD`, "\n")
	states := []State{Ready, Leased, Bound, Issuing, IssueUnknown, Issued, Installed, Held, Stranded}
	events := []Event{EventClaim, EventRelease, EventLeaseExpired, EventHold, EventBind, EventIntend, EventIssued, EventRefused, EventUnknown, EventAbsent, EventInstalled, EventFailed, EventCustodyExpired}
	var got []string
	for _, s := range states {
		for _, e := range events {
			to, err := next(s, e)
			if err != nil {
				continue
			}
			if !to.known() {
				t.Errorf("%s %s leads to %q", s, e, to)
			}
			if s.InCustody() && to == Ready {
				t.Errorf("%s %s: a bound unit goes back to READY", s, e)
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
