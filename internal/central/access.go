package central

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// requestInfo is what the line in the log tells of a request. It holds ids only:
// never a body, a PIN or the name of a person.
type requestInfo struct {
	operation string
	station   string
	unit      string
	order     string
	problem   string
	err       error
}

type infoKey struct{}

// infoOf gives the request's info, or one that nobody reads.
func infoOf(ctx context.Context) *requestInfo {
	if i, ok := ctx.Value(infoKey{}).(*requestInfo); ok {
		return i
	}
	return &requestInfo{}
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// withLog writes one line per request, and turns a panic into a problem.
func withLog(log *slog.Logger, listener string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		seen := &requestInfo{}
		r = r.WithContext(context.WithValue(r.Context(), infoKey{}, seen))
		sw := &statusWriter{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				log.Error("panic in a handler", "listener", listener, "operation", seen.operation, "panic", p, "stack", string(debug.Stack()))
				if sw.status == 0 {
					seen.problem = shortType(api.ProblemInternal)
					writeProblem(sw, problem(api.ProblemInternal, ""))
				}
			}
			level := slog.LevelInfo
			attrs := []slog.Attr{
				slog.String("listener", listener), slog.String("method", r.Method), slog.String("operation", seen.operation),
				slog.Int("status", sw.status), slog.Float64("milliseconds", float64(time.Since(start).Microseconds())/1000),
			}
			for _, a := range []struct{ key, value string }{
				{"station", seen.station}, {"unit", seen.unit}, {"order", seen.order}, {"problem", seen.problem},
			} {
				if a.value != "" {
					attrs = append(attrs, slog.String(a.key, a.value))
				}
			}
			if seen.err != nil {
				level = slog.LevelError
				attrs = append(attrs, slog.Any("error", seen.err))
			}
			log.LogAttrs(r.Context(), level, "request", attrs...)
		}()
		next.ServeHTTP(sw, r)
	})
}
