package metrics

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func sample() Snapshot {
	left, due := 95*time.Second, -time.Hour
	return Snapshot{
		Jobs: map[JobKey]int{{"running", "generate-key"}: 2, {"parked", "bind-csr"}: 1}, Late: 1, DueLeft: &due, LeaseLeft: &left,
		Reports: 3, StockTokens: 40, StockBlanks: 7, BlankTokens: 2, Alarms: []string{"place-fails", "pcscd-stuck", "place-fails"},
		Modules: map[string]bool{"bay-01": true, "bay-02": false}, LoopAge: time.Second, Answered: time.Unix(1700000000, 0),
		JournalWritable: true, JournalBytes: 4096, DiskFree: 1 << 30, Healthy: true,
	}
}

func get(t *testing.T, h http.Handler, host, path string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://"+host+path, nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func none() []string { return nil }

// TestMetrics: every number of a station is there, under its name.
func TestMetrics(t *testing.T) {
	m := New("1.2.3", sample)
	m.Expect([]string{"bay-01"}, []string{"failed", "quarantined"}, []string{"identify", "install-certificate"})
	m.Step("SoftHSM v2", "generate-key", 300*time.Millisecond)
	m.Ended("finished", "finish", true)
	m.Ended("quarantined", "install-certificate", false)
	m.PINRefused(PINLastTry)
	m.ModuleFailed("bay-01", ModuleHung)
	code, text := get(t, m.Handler(Checks{none, none}), "127.0.0.1:9999", "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d: %s", code, text)
	}
	for _, line := range []string{
		`usbkeyd_build_info{version="1.2.3"} 1`,
		`usbkeyd_jobs{state="running",step="generate-key"} 2`, `usbkeyd_jobs{state="parked",step="bind-csr"} 1`,
		`usbkeyd_jobs_late 1`, `usbkeyd_due_left_seconds -3600`, `usbkeyd_lease_left_seconds 95`,
		`usbkeyd_jobs_ended_total{state="finished",step="finish"} 1`, `usbkeyd_jobs_ended_total{state="quarantined",step="install-certificate"} 1`,
		`usbkeyd_jobs_ended_total{state="failed",step="identify"} 0`, `usbkeyd_jobs_finished_late_total 1`,
		`usbkeyd_step_seconds_count{model="SoftHSM v2",step="generate-key"} 1`, `usbkeyd_step_seconds_bucket{model="SoftHSM v2",step="generate-key",le="0.25"} 0`,
		`usbkeyd_step_seconds_bucket{model="SoftHSM v2",step="generate-key",le="0.5"} 1`,
		`usbkeyd_pin_refusals_total{kind="last-try"} 1`, `usbkeyd_pin_refusals_total{kind="factory"} 0`,
		`usbkeyd_module_failures_total{kind="hung",module="bay-01"} 1`, `usbkeyd_module_failures_total{kind="crashed",module="bay-01"} 0`,
		`usbkeyd_outbox_reports 3`, `usbkeyd_stock_tokens 40`, `usbkeyd_stock_blanks 7`, `usbkeyd_blank_tokens 2`,
		`usbkeyd_alarm{code="pcscd-stuck"} 1`, `usbkeyd_alarm{code="place-fails"} 1`,
		`usbkeyd_module_up{module="bay-01"} 1`, `usbkeyd_module_up{module="bay-02"} 0`,
		`usbkeyd_loop_age_seconds 1`, `usbkeyd_central_answered_timestamp_seconds 1.7e+09`,
		`usbkeyd_journal_writable 1`, `usbkeyd_journal_bytes 4096`, `usbkeyd_disk_free_bytes 1.073741824e+09`,
		`usbkeyd_healthy 1`, `usbkeyd_ready 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s\n%s", line, text)
		}
	}
}

// TestModelsAreBounded: a token may call itself what it likes, and does not make series without end.
func TestModelsAreBounded(t *testing.T) {
	m := New("", sample)
	for i := range 100 {
		m.Step(fmt.Sprint("model ", i), "identify", time.Millisecond)
	}
	m.Step("\xff\xfe", "identify", time.Millisecond)
	_, text := get(t, m.Handler(Checks{none, none}), "localhost", "/metrics")
	if n := strings.Count(text, "usbkeyd_step_seconds_count{"); n != maxModels+1 {
		t.Errorf("%d models are told apart, wanted %d and the others", n, maxModels)
	}
	if want := fmt.Sprintf(`usbkeyd_step_seconds_count{model="other",step="identify"} %d`, 101-maxModels); !strings.Contains(text, want) {
		t.Errorf("no line %s", want)
	}
}

// TestChecks: a reason is a 503 that names it, none a 200, and who asks under another host's
// name learns nothing.
func TestChecks(t *testing.T) {
	h := New("", sample).Handler(Checks{none, func() []string { return []string{"no session", "an alarm"} }})
	for _, row := range []struct {
		host, path string
		code       int
		text       string
	}{
		{"127.0.0.1:9100", "/healthz", 200, "ok\n"},
		{"[::1]:9100", "/readyz", 503, "no session\nan alarm\n"},
		{"localhost:9100", "/readyz", 503, "no session\nan alarm\n"},
		{"station.example:9100", "/readyz", 403, "only for this machine\n"},
		{"station.example", "/metrics", 403, "only for this machine\n"},
		{"10.0.0.1:9100", "/metrics", 403, "only for this machine\n"},
	} {
		if code, text := get(t, h, row.host, row.path); code != row.code || text != row.text {
			t.Errorf("%s%s: %d %q, wanted %d %q", row.host, row.path, code, text, row.code, row.text)
		}
	}
}

// TestServe answers on the loopback addresses alone, and ends when it is told.
func TestServe(t *testing.T) {
	at, err := Listen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range at {
		if a := l.Addr().(*net.TCPAddr); !a.IP.IsLoopback() {
			t.Errorf("it listens on %s", a)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, at, New("", sample).Handler(Checks{none, none})) }()
	for _, l := range at {
		resp, err := http.Get("http://" + l.Addr().String() + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(body) != "ok\n" {
			t.Errorf("%s answers %q (%v)", l.Addr(), body, err)
		}
	}
	if _, err := Listen(t.Context(), at[0].Addr().(*net.TCPAddr).Port); err == nil {
		t.Error("the port was opened twice")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", at[0].Addr().String()); err == nil {
		t.Error("it still listens")
	}
}
