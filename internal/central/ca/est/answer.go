package est

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// ErrUnclear says that an answer's status leaves open whether a certificate was made.
var ErrUnclear = errors.New("the answer leaves open whether a certificate was made")

// maxSaid is how much of a server's own words is kept.
const maxSaid = 300

// decide says what the status of an enrolment's answer means: nil for a
// certificate in its body, *ca.RefusedError, *ca.PendingError, else ErrUnclear.
// What is not certain is unclear: a second certificate is worse than a person's
// question.
func decide(a answer, now time.Time) error {
	switch a.status {
	case http.StatusOK:
		return nil

	case http.StatusAccepted: // RFC 7030, 4.2.3: the same request again after the time
		return later(a, now, "the CA has the request and decides")

	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		// Ours to put right: the credential, or what it may do at the CA.
		return later(a, now, "the EST server does not let us in: check clientCertificate, username and passwordFile")
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusMisdirectedRequest,
		http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		// The method is kept by 307 and 308, and RFC 9110 lets nobody process what is
		// moved for good; so nothing was processed here.
		return later(a, now, "EST is not at this address: check server and label")
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return later(a, now, "the EST server did not take the request")
	case http.StatusServiceUnavailable:
		// With a time to come back the server itself says that it did nothing. Without
		// one, a proxy may have said it after the CA had got the request.
		if a.header.Get("Retry-After") != "" {
			return later(a, now, "the EST server is not available")
		}

	case http.StatusBadRequest, http.StatusNotAcceptable, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return &ca.RefusedError{Reason: describe(a)}
	}
	// 409 among them: it may be about a certificate that exists. 302 and 303 too: the
	// answer to a POST that was processed may be elsewhere.
	return fmt.Errorf("%w: %s", ErrUnclear, describe(a))
}

func later(a answer, now time.Time, what string) error {
	return &ca.PendingError{Reason: what + " (" + describe(a) + ")", After: retryAfter(a.header, now)}
}

// retryAfter reads seconds or an HTTP date (RFC 9110, 10.2.3); zero if there is
// none that can be read. A date counts from the answer's own, so that clocks that
// differ do not matter.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const most = 10 * 365 * 24 * time.Hour
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if strings.Trim(text, "0123456789") == "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n > int64(most/time.Second) {
			return most
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return max(min(at.Sub(now), most), 0)
}

// describe is the status, where a redirect leads, and the server's words if they are text.
func describe(a answer) string {
	said := strconv.Itoa(a.status)
	if name := http.StatusText(a.status); name != "" {
		said += " " + name
	}
	if to := a.header.Get("Location"); to != "" && a.status/100 == 3 {
		said += ", to " + clip(to, maxSaid)
	}
	if kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type")); err == nil && kind == "text/plain" && len(a.body) > 0 {
		said += ": " + clip(string(a.body), maxSaid)
	}
	return said
}

// clip makes words from outside fit for one line of a log or a table.
func clip(s string, most int) string {
	clean := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "?"), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if runes := []rune(clean); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return clean
}
