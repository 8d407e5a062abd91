package crashmatrix

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// point is where a program dies: at the n-th time (from 1) that it passes a moment of a label.
type point struct {
	moment string
	n      int
	label  crashpoint.Label
}

func (p point) String() string { return fmt.Sprintf("%s %d %s", p.moment, p.n, p.label) }

// parsePoint reads what String writes.
func parsePoint(text string) (p point, err error) {
	part := strings.SplitN(text, " ", 3)
	if len(part) == 3 {
		p.moment, p.label = part[0], crashpoint.Label(part[2])
		p.n, err = strconv.Atoi(part[1])
	}
	if len(part) < 3 || err != nil || p.moment != crashpoint.BeforeIt && p.moment != crashpoint.AfterIt {
		return p, fmt.Errorf("%q: want before or after, a number, a label", text)
	}
	return p, nil
}

// passed are the points of a trace, in their order.
func passed(t testing.TB, trace string) []point {
	t.Helper()
	text, err := os.ReadFile(trace)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var out []point
	counts := map[string]int{}
	for line := range strings.Lines(string(text)) {
		line, whole := strings.CutSuffix(line, "\n")
		if !whole {
			break // it is being written
		}
		moment, label, ok := strings.Cut(line, " ")
		if !ok || moment == crashpoint.Unlisted {
			t.Errorf("%s: %q is in no list of internal/crashpoint", trace, line)
			continue
		}
		counts[line]++
		out = append(out, point{moment, counts[line], crashpoint.Label(label)})
	}
	return out
}

// rhythmic labels are passed again and again by themselves; only the first time is
// the same in every run.
func rhythmic() []crashpoint.Label {
	return []crashpoint.Label{
		"POST /v1/claims", "POST /v1/heartbeat", crashpoint.JournalRoom,
		"PostClaims", "PostHeartbeat", "claim for station *", "heartbeat of station *", "sweep",
		"grow older", crashpoint.AgeFile,
		// How often the harness asks depends on how long a start takes.
		"PutStation", "record station *", "PutOrder", "accept order *",
	}
}

// untimely labels are those of the record, which is sent when there is time: where in a
// unit's life that falls, and how often, differs from run to run.
func untimely() []crashpoint.Label {
	return []crashpoint.Label{
		crashpoint.JournalAnchor, crashpoint.JournalStatement, "PUT /v1/records/*",
		"PutRecord", "keep the record of station *",
	}
}

// killable leaves out the points that the next run may not pass again.
func killable(points []point) []point {
	return slices.DeleteFunc(slices.Clone(points), func(p point) bool {
		return p.n > 1 && slices.Contains(append(rhythmic(), untimely()...), p.label)
	})
}
