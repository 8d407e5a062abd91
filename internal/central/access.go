package central

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
)

// requestInfo is what the line in the log tells of a request, ids only: never a body, a PIN
// or the name of a person. The caller is for the operation alone.
type requestInfo struct {
	caller    stationCaller
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
	log = log.With("listener", listener)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l := &logged{log: log, start: time.Now(), answer: statusWriter{ResponseWriter: w}}
		l.request = r.WithContext(context.WithValue(r.Context(), infoKey{}, &l.seen))
		defer l.end()
		next.ServeHTTP(&l.answer, l.request)
	})
}

// logged is a request that will have its line.
type logged struct {
	log     *slog.Logger
	start   time.Time
	request *http.Request
	answer  statusWriter
	seen    requestInfo
}

// end is deferred.
func (l *logged) end() {
	seen := &l.seen
	if p := recover(); p != nil {
		l.log.Error("panic in a handler", "operation", seen.operation, "panic", p, "stack", string(debug.Stack()))
		if l.answer.status == 0 {
			seen.problem = shortType(api.ProblemInternal)
			writeProblem(&l.answer, problem(api.ProblemInternal, ""))
		}
	}
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", l.request.Method), slog.String("operation", seen.operation),
		slog.Int("status", l.answer.status), slog.Float64("milliseconds", float64(time.Since(l.start).Microseconds())/1000),
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
	l.log.LogAttrs(l.request.Context(), level, "request", attrs...)
}
