package api

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
)

// ProblemMediaType is the media type of RFC 9457.
const ProblemMediaType = "application/problem+json"

// ProtocolVersion is the version of the contract that this package describes.
const ProtocolVersion = 1

// Error implements error, so that a Problem off the wire can be returned and found again with errors.As.
func (p *Problem) Error() string {
	s := p.Title
	if p.Detail != nil && *p.Detail != "" {
		s += ": " + *p.Detail
	}
	if p.Errors != nil {
		for _, f := range *p.Errors {
			s += fmt.Sprintf("\n  %s: %s", f.Pointer, f.Detail)
		}
	}
	return s
}

// PointerToken escapes a key for FieldError.Pointer, a JSON Pointer (RFC 6901, 3).
func PointerToken(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// maxProblem bounds what is read of an error body.
const maxProblem = 64 << 10

// ProblemNamespace begins the types of this contract's problems. Problem documents are
// everybody's (RFC 9457): a gateway or framework that answers "about:blank" says nothing
// about a unit.
const ProblemNamespace = "urn:usbkeyd:problem:"

// ReadProblem turns an error answer into a Problem. A body that is no problem of this
// contract (a proxy's HTML page, say) becomes one that says so, is retryable
// when the status is 5xx, 408 or 429, and has an empty Type.
func ReadProblem(resp *http.Response, body []byte) *Problem {
	if mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && mt == ProblemMediaType {
		var p Problem
		if json.Unmarshal(body, &p) == nil && strings.HasPrefix(string(p.Type), ProblemNamespace) {
			return &p
		}
	}
	detail := fmt.Sprintf("the answer is not one of this contract (status %d, content type %q)", resp.StatusCode, resp.Header.Get("Content-Type"))
	return &Problem{
		Title: "unexpected answer", Status: resp.StatusCode, Detail: &detail,
		Retryable: resp.StatusCode >= 500 || resp.StatusCode == http.StatusRequestTimeout || resp.StatusCode == http.StatusTooManyRequests,
	}
}

// ReadProblemBody reads a bounded body and calls ReadProblem.
func ReadProblemBody(resp *http.Response) *Problem {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		body = nil
	}
	return ReadProblem(resp, body)
}

// IsJSON reports whether an answer claims to be JSON.
func IsJSON(h http.Header) bool {
	mt, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (mt == "application/json" || strings.HasSuffix(mt, "+json"))
}
