package central

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/contract"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// kind is what a problem type looks like on the wire.
type kind struct {
	status    int
	title     string
	retryable bool
}

// kindOf is the one table from problem type to status, title and whether trying
// the same again may help.
func kindOf(t api.ProblemType) kind {
	switch t {
	case api.ProblemBadRequest:
		return kind{http.StatusBadRequest, "The request is malformed", false}
	case api.ProblemInvalidContent:
		return kind{http.StatusUnprocessableEntity, "The content is not valid", false}
	case api.ProblemContentTooLarge:
		return kind{http.StatusRequestEntityTooLarge, "The body is too large", false}
	case api.ProblemUnsupportedMediaType:
		return kind{http.StatusUnsupportedMediaType, "The body must be application/json", false}
	case api.ProblemUnauthenticated:
		return kind{http.StatusUnauthorized, "Not authenticated", false}
	case api.ProblemForbidden:
		return kind{http.StatusForbidden, "Not allowed", false}
	case api.ProblemNotFound:
		return kind{http.StatusNotFound, "Not found", false}
	case api.ProblemMethodNotAllowed:
		return kind{http.StatusMethodNotAllowed, "Method not allowed", false}
	case api.ProblemProtocolUnsupported:
		return kind{http.StatusConflict, "This protocol version is not spoken here", false}
	case api.ProblemSessionConflict:
		return kind{http.StatusConflict, "Another instance of this station is at work", true}
	case api.ProblemSessionUnknown:
		return kind{http.StatusConflict, "The session is not known any more", false}
	case api.ProblemIdempotencyKeyMissing:
		return kind{http.StatusBadRequest, "The Idempotency-Key header is missing", false}
	case api.ProblemIdempotencyKeyReused:
		return kind{http.StatusUnprocessableEntity, "The Idempotency-Key was used for another request", false}
	case api.ProblemStaleEpoch:
		return kind{http.StatusConflict, "The epoch is stale", false}
	case api.ProblemUnitState:
		return kind{http.StatusConflict, "The unit's state does not allow it", false}
	case api.ProblemEscrowConflict:
		return kind{http.StatusConflict, "The escrow does not fit", false}
	case api.ProblemCsrInvalid:
		return kind{http.StatusUnprocessableEntity, "The certification request is not acceptable", false}
	case api.ProblemCsrConflict:
		return kind{http.StatusConflict, "Another certification request is bound", false}
	case api.ProblemKeyReused:
		return kind{http.StatusConflict, "The public key was bound before", false}
	case api.ProblemResultConflict:
		return kind{http.StatusConflict, "Another result was reported before", false}
	case api.ProblemCancelled:
		return kind{http.StatusGone, "The unit is cancelled", false}
	case api.ProblemProofInvalid:
		return kind{http.StatusUnprocessableEntity, "The proof does not hold", false}
	case api.ProblemShipmentConflict:
		return kind{http.StatusConflict, "Another shipment was reported before", false}
	case api.ProblemSamePerson:
		return kind{http.StatusConflict, "A second person must approve", false}
	case api.ProblemOrderConflict:
		return kind{http.StatusConflict, "The order is known with other content", false}
	case api.ProblemStationConflict:
		return kind{http.StatusConflict, "The station is known with another key", false}
	case api.ProblemRecordForked:
		return kind{http.StatusConflict, "The station's record was changed", false}
	case api.ProblemNotAnchored:
		return kind{http.StatusConflict, "The unit's record is not here yet", true}
	case api.ProblemJoinTokenUsed:
		return kind{http.StatusConflict, "The join token was used", false}
	case api.ProblemJoinTokenExpired:
		return kind{http.StatusGone, "The join token, or its challenge, has expired", false}
	case api.ProblemCertificateExpired:
		return kind{http.StatusUnauthorized, "The station's certificate has expired", false}
	case api.ProblemUnavailable:
		return kind{http.StatusServiceUnavailable, "Not available now", true}
	}
	return kind{http.StatusInternalServerError, "Internal error", true}
}

// refusalType maps what the store refuses.
func refusalType(r store.Reason) api.ProblemType {
	switch r {
	case store.NotFound:
		return api.ProblemNotFound
	case store.NotYours:
		return api.ProblemForbidden
	case store.SessionUnknown:
		return api.ProblemSessionUnknown
	case store.SessionConflict:
		return api.ProblemSessionConflict
	case store.ClaimKeyReused:
		return api.ProblemIdempotencyKeyReused
	case store.StaleEpoch:
		return api.ProblemStaleEpoch
	case store.WrongState:
		return api.ProblemUnitState
	case store.EscrowConflict:
		return api.ProblemEscrowConflict
	case store.CSRConflict:
		return api.ProblemCsrConflict
	case store.KeyReused:
		return api.ProblemKeyReused
	case store.ResultConflict:
		return api.ProblemResultConflict
	case store.ResultMismatch:
		return api.ProblemInvalidContent
	case store.Busy:
		return api.ProblemUnavailable
	case store.UnitCancelled:
		return api.ProblemCancelled
	case store.ProofInvalid:
		return api.ProblemProofInvalid
	case store.ShipmentConflict:
		return api.ProblemShipmentConflict
	case store.SamePerson:
		return api.ProblemSamePerson
	case store.OrderConflict:
		return api.ProblemOrderConflict
	case store.StationConflict:
		return api.ProblemStationConflict
	case store.RecordForked:
		return api.ProblemRecordForked
	case store.NotAnchored:
		return api.ProblemNotAnchored
	case store.TokenUnknown:
		return api.ProblemUnauthenticated
	case store.TokenUsed:
		return api.ProblemJoinTokenUsed
	case store.TokenExpired:
		return api.ProblemJoinTokenExpired
	}
	return api.ProblemInternal
}

// problem makes a Problem of a type, with its status and title.
func problem(t api.ProblemType, detail string, fields ...api.FieldError) *api.Problem {
	k := kindOf(t)
	p := &api.Problem{Type: t, Title: k.title, Status: k.status, Retryable: k.retryable}
	if detail != "" {
		p.Detail = &detail
	}
	if len(fields) > 0 {
		p.Errors = &fields
	}
	return p
}

// problemOf is the one place where an error becomes what the caller sees. An error
// that is nobody's refusal is internal, and its text stays in the log.
func problemOf(err error) *api.Problem {
	var p *api.Problem
	var refusal *store.Refusal
	var malformed *contract.MalformedError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		p = problem(refusalType(refusal.Reason), refusal.Detail)
		if refusal.Reason == store.StaleEpoch {
			p.CurrentEpoch = &refusal.CurrentEpoch
		}
		if len(refusal.Fields) > 0 {
			fields := make([]api.FieldError, len(refusal.Fields))
			for i, f := range refusal.Fields {
				fields[i] = api.FieldError{Pointer: "/" + f.Name, Detail: f.Detail}
			}
			p.Errors = &fields
		}
		return p
	case errors.As(err, &malformed):
		return problem(api.ProblemBadRequest, malformed.Error())
	case errors.As(err, &tooLarge):
		return tooLargeProblem(tooLarge.Limit)
	}
	return problem(api.ProblemInternal, "")
}

// writeProblem answers with a problem.
func writeProblem(w http.ResponseWriter, p *api.Problem) {
	body, err := json.Marshal(p)
	if err != nil {
		body = []byte(`{"type":"` + string(api.ProblemInternal) + `","title":"Internal error","status":500,"retryable":true}`)
	}
	h := w.Header()
	h.Set("Content-Type", api.ProblemMediaType)
	h.Set("Cache-Control", "no-store")
	if p.Retryable {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // the caller is gone; there is nobody to tell
}

// shortType is a problem type for the log.
func shortType(t api.ProblemType) string {
	return strings.TrimPrefix(string(t), api.ProblemNamespace)
}
