package central

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
)

// A panic of a handler is answered with a problem, unless there is an answer already, and
// told in the log beside the request's line.
func TestPanicIsAnswered(t *testing.T) {
	for _, row := range []struct {
		name   string
		before func(http.ResponseWriter)
		want   int
	}{
		{"before an answer", func(http.ResponseWriter) {}, http.StatusInternalServerError},
		{"after it", func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }, http.StatusNoContent},
	} {
		t.Run(row.name, func(t *testing.T) {
			var log strings.Builder
			h := withLog(slog.New(slog.NewJSONHandler(&log, nil)), "station", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				infoOf(r.Context()).operation = "getMeta"
				row.before(w)
				panic("a fault")
			}))
			got := httptest.NewRecorder()
			h.ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/v1/meta", nil))
			var p api.Problem
			if got.Code != row.want {
				t.Errorf("the answer is %d, want %d", got.Code, row.want)
			}
			if err := json.Unmarshal(got.Body.Bytes(), &p); row.want >= 500 && (err != nil || p.Type != api.ProblemInternal || strings.Contains(got.Body.String(), "fault")) {
				t.Errorf("the answer is %s, %v", got.Body, err)
			}
			lines := strings.Split(strings.TrimSpace(log.String()), "\n")
			if len(lines) != 2 {
				t.Fatalf("the log has %d lines:\n%s", len(lines), log.String())
			}
			for i, want := range []map[string]any{
				{"msg": "panic in a handler", "listener": "station", "operation": "getMeta", "panic": "a fault"},
				{"msg": "request", "listener": "station", "operation": "getMeta", "method": "GET", "status": float64(row.want)},
			} {
				var line map[string]any
				if err := json.Unmarshal([]byte(lines[i]), &line); err != nil {
					t.Fatal(err)
				}
				for name, value := range want {
					if line[name] != value {
						t.Errorf("line %d says %s %v, want %v", i, name, line[name], value)
					}
				}
			}
		})
	}
}
