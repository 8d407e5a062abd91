package central_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
)

// undated is an order that leaves its due time to the server.
func undated(id, approved string) map[string]any {
	o := order(id, 1)
	delete(o, "dueAt")
	o["approval"].(map[string]any)["approvedAt"] = approved
	return o
}

func (r *rig) putOrder(o map[string]any) answer {
	r.t.Helper()
	return send(r.t, r.spec, &http.Client{Timeout: 10 * time.Second}, r.srv.AdminURL(), http.MethodPut, "/orders/"+o["orderId"].(string), o,
		"Authorization", "Bearer "+r.srv.AdminToken())
}

func TestDueTimeIsComputed(t *testing.T) { onBothEngines(t, testDueTimeIsComputed) }

func testDueTimeIsComputed(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	due := func(a answer, status int) string {
		t.Helper()
		s := must[api.OrderStatus](t, a, status)
		return s.DueAt.UTC().Format(time.RFC3339)
	}
	// Approved before Spring Festival: the 13th, the 14th (a Saturday that is worked), the 24th.
	spring := undated("SPRING", "2026-02-12T10:20:00+08:00")
	if got := due(r.putOrder(spring), http.StatusCreated); got != "2026-02-24T10:00:00Z" {
		t.Errorf("due %s", got)
	}
	if got := due(r.putOrder(spring), http.StatusOK); got != "2026-02-24T10:00:00Z" {
		t.Errorf("the same order again is due %s", got)
	}
	status, err := r.admin.Order(t.Context(), "SPRING")
	if err != nil || status.Order.DueAt != nil || !status.DueAt.Equal(time.Date(2026, 2, 24, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("shown as due %s, the order itself as %v: %v", status.DueAt, status.Order.DueAt, err)
	}
	// One that names its due time keeps it.
	if got := due(r.putOrder(order("NAMED", 1)), http.StatusCreated); got != "2026-11-23T10:00:00Z" {
		t.Errorf("due %s, want what the order says", got)
	}
	rows, err := r.admin.Orders(t.Context())
	if err != nil || len(rows) != 2 || rows[0].OrderId != "SPRING" || !rows[0].DueAt.Equal(status.DueAt) {
		t.Errorf("orders by due time: %+v, %v", rows, err)
	}
	// Its lease says it too.
	s := r.station("bay-1")
	leases := s.claim(1)
	if len(leases) != 1 || leases[0].OrderId != "SPRING" || leases[0].DueAt == nil || !leases[0].DueAt.Equal(status.DueAt) {
		t.Errorf("leases: %+v", leases)
	}
	// A later approval, as a revision, moves it.
	spring["revision"], spring["approval"].(map[string]any)["approvedAt"] = 2, "2026-02-13T10:20:00+08:00"
	if got := due(r.putOrder(spring), http.StatusOK); got != "2026-02-25T10:00:00Z" {
		t.Errorf("the revision is due %s", got)
	}
}

func TestDueTimeWithoutTheYear(t *testing.T) { onBothEngines(t, testDueTimeWithoutTheYear) }

func testDueTimeWithoutTheYear(t *testing.T, e engine) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "calendar.txt")
	notice := func(year string) string {
		return strings.ReplaceAll(`year YEAR
notice N
number 1
issued 2026-11-04
source a test
off YEAR-01-01 YEAR-01-01 元旦
off YEAR-05-01 YEAR-05-05 劳动节
off YEAR-10-01 YEAR-10-07 国庆节
`, "YEAR", year)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(notice("2022"))
	r := newRig(t, e, func(c *central.Config) { c.CalendarFile = file })

	old := undated("OLD", "2023-06-01T10:20:00+08:00")
	a := r.putOrder(old)
	wantProblem(t, a, http.StatusUnprocessableEntity, api.ProblemInvalidContent)
	if got := a.pointers(); len(got) != 1 || got[0] != "/dueAt" || !strings.Contains(string(a.body), "2023") {
		t.Errorf("refused with %s", a.body)
	}
	if rows, err := r.admin.Orders(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("a refused order is there: %v, %v", rows, err)
	}

	// The file is replaced under the running server.
	write(notice("2022") + notice("2023"))
	if s := must[api.OrderStatus](t, r.putOrder(old), http.StatusCreated); !s.DueAt.Equal(time.Date(2023, 6, 6, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("due %s", s.DueAt)
	}
	// What was accepted stays so when the year is gone again, and with a file that is no calendar.
	for _, text := range []string{notice("2022"), "off\n"} {
		write(text)
		if s := must[api.OrderStatus](t, r.putOrder(old), http.StatusOK); !s.DueAt.Equal(time.Date(2023, 6, 6, 10, 0, 0, 0, time.UTC)) {
			t.Errorf("due %s", s.DueAt)
		}
	}
	wantProblem(t, r.putOrder(undated("NEW", "2026-02-12T10:20:00+08:00")), http.StatusServiceUnavailable, api.ProblemUnavailable)
	if a := r.putOrder(order("NAMED", 1)); a.status != http.StatusCreated {
		t.Errorf("an order that names its due time needs no calendar: %v", a)
	}
}

func TestNoServerWithoutItsCalendar(t *testing.T) {
	t.Parallel()
	_, err := central.New(t.Context(), central.Config{DataDir: t.TempDir(), CalendarFile: filepath.Join(t.TempDir(), "nowhere.txt")})
	if err == nil || !strings.Contains(err.Error(), "nowhere.txt") {
		t.Errorf("%v, want an error that names the file", err)
	}
}
