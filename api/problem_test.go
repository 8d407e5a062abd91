package api

import (
	"net/http"
	"testing"
)

// FuzzReadProblem: whatever comes back instead of an answer, a station gets something
// that it can decide by.
func FuzzReadProblem(f *testing.F) {
	f.Add(409, ProblemMediaType, []byte(`{"type":"urn:usbkeyd:problem:stale-epoch","title":"x","status":409,"retryable":false,"currentEpoch":7}`))
	f.Add(502, "text/html", []byte("<html>bad gateway</html>"))
	f.Add(200, "", []byte(nil))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		p := ReadProblem(&http.Response{StatusCode: status, Header: http.Header{"Content-Type": {contentType}}}, body)
		if p == nil || p.Type == "" && p.Status != status {
			t.Fatalf("%d %q %q became %+v", status, contentType, body, p)
		}
		if p.Error() == "" && p.Type == "" {
			t.Error("an error without a word")
		}
	})
}
