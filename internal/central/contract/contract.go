// Package contract checks requests against the OpenAPI document itself, so that
// the document is what holds and not a copy of it in code: parameters, and bodies
// with every wrong field named at once by its JSON Pointer.
//
// It owns the reading of JSON (strict: no key twice, nothing after the document)
// and of the schema. It must not know what operations do, who may call them, nor
// how a problem is answered.
package contract

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/usbkeyd/usbkeyd/api"
)

// Contract is the OpenAPI document.
type Contract struct{ doc *openapi3.T }

// Load reads the document that is embedded in package api, once for all callers.
func Load() (*Contract, error) { return load() }

var load = sync.OnceValues(func() (*Contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData([]byte(api.Document))
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("the OpenAPI document is not valid: %w", err)
	}
	return &Contract{doc: doc}, nil
})

// Operation is one operation of the document.
type Operation struct {
	ID     string // as the generated code spells it, getMeta as GetMeta
	Method string
	Path   string
	// Tag is "station" or "admin".
	Tag   string
	route *routers.Route
	body  *openapi3.Schema
}

// Operations lists all operations by path and method.
func (c *Contract) Operations() []Operation {
	var out []Operation
	for _, path := range c.doc.Paths.InMatchingOrder() {
		item := c.doc.Paths.Value(path)
		for method, op := range item.Operations() {
			o := Operation{
				ID: exported(op.OperationID), Method: method, Path: path,
				route: &routers.Route{Spec: c.doc, Path: path, PathItem: item, Method: method, Operation: op},
			}
			if len(op.Tags) > 0 {
				o.Tag = op.Tags[0]
			}
			if op.RequestBody != nil {
				if media := op.RequestBody.Value.Content.Get("application/json"); media != nil {
					o.body = media.Schema.Value
				}
			}
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b Operation) int { return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method) })
	return out
}

func exported(id string) string { return strings.ToUpper(id[:min(1, len(id))]) + id[min(1, len(id)):] }

// HasBody says whether the operation takes a JSON body.
func (o Operation) HasBody() bool { return o.body != nil }

// CheckParameters checks path, query and header parameters and says, in one
// sentence per parameter, what is wrong.
func (o Operation) CheckParameters(r *http.Request) error {
	input := &openapi3filter.RequestValidationInput{
		Request: r, Route: o.route, PathParams: make(map[string]string),
		Options: &openapi3filter.Options{
			SkipSettingDefaults:     true,
			SchemaValidationOptions: []openapi3.SchemaValidationOption{openapi3.DisableSchemaErrorDetails()},
		},
	}
	var errs []error
	for _, ref := range o.route.Operation.Parameters {
		p := ref.Value
		if p.In == openapi3.ParameterInPath {
			input.PathParams[p.Name] = r.PathValue(p.Name)
		}
		if err := openapi3filter.ValidateParameter(r.Context(), input, p); err != nil {
			errs = append(errs, fmt.Errorf("%s parameter %s: %s", p.In, p.Name, parameterReason(err)))
		}
	}
	return errors.Join(errs...)
}

func parameterReason(err error) string {
	var schema *openapi3.SchemaError
	if errors.As(err, &schema) {
		return reason(schema)
	}
	var request *openapi3filter.RequestError
	if errors.As(err, &request) {
		if request.Reason != "" {
			return request.Reason
		}
		return "has the wrong form"
	}
	return "is wrong"
}

// DecodeBody reads a body. The error is a *MalformedError; fields are what the
// schema finds wrong, and then the document is returned as well, so that other
// rules can be asked before the answer is given.
func (o Operation) DecodeBody(data []byte) (document any, fields []api.FieldError, err error) {
	document, err = decode(data)
	if err != nil {
		return nil, nil, err
	}
	err = o.body.VisitJSON(document,
		openapi3.MultiErrors(), openapi3.VisitAsRequest(), openapi3.EnableFormatValidation(), openapi3.DisableSchemaErrorDetails(),
		// The built-in check of "byte" lets through what the decoder then refuses, and
		// that of "date-time" knows leap seconds, which Go does not.
		openapi3.WithStringFormatValidator("byte", openapi3.NewCallbackValidator(checkBase64)),
		openapi3.WithStringFormatValidator("date-time", openapi3.NewCallbackValidator(checkDateTime)))
	return document, flatten(err), nil
}

func checkBase64(s string) error {
	if _, err := base64.StdEncoding.Strict().DecodeString(s); err != nil || strings.ContainsAny(s, "\r\n") {
		return errors.New("must be base64 with padding and without line breaks (RFC 4648, 4)")
	}
	return nil
}

func checkDateTime(s string) error {
	if _, err := time.Parse(time.RFC3339, s); err != nil {
		return errors.New("must be a date and time such as 2026-11-20T09:30:00+08:00 (RFC 3339)")
	}
	return nil
}

// flatten turns the schema's findings into fields, in the order of their pointers, each once.
func flatten(err error) []api.FieldError {
	var out []api.FieldError
	// The validator has one error per unknown field, all alike, each with the whole
	// object: looked through once per object, or ten thousand of them take minutes.
	searched := make(map[string]bool)
	var walk func(error)
	walk = func(err error) {
		var many openapi3.MultiError
		var one *openapi3.SchemaError
		switch {
		case err == nil:
		case errors.As(err, &one):
			out = append(out, findings(one, searched)...)
		case errors.As(err, &many):
			for _, e := range many {
				walk(e)
			}
		default:
			out = append(out, api.FieldError{Detail: "does not fit the schema"})
		}
	}
	if many, ok := err.(openapi3.MultiError); ok {
		for _, e := range many {
			walk(e)
		}
	} else {
		walk(err)
	}
	return Merge(out)
}

// findings are those of one error of the validator. Of unknown fields it tells
// only the object that they are in.
func findings(e *openapi3.SchemaError, searched map[string]bool) []api.FieldError {
	at := pointer(e.JSONPointer())
	object, ok := e.Value.(map[string]any)
	if !ok || e.SchemaField != "properties" {
		return []api.FieldError{{Pointer: at, Detail: reason(e)}}
	}
	if searched[at] {
		return nil
	}
	searched[at] = true
	var out []api.FieldError
	for key := range object {
		if _, known := e.Schema.Properties[key]; !known {
			out = append(out, api.FieldError{Pointer: at + "/" + api.PointerToken(key), Detail: "is not a field of the contract"})
		}
	}
	return out
}

// maxFindings bounds an answer: nobody mends more than that at once.
const maxFindings = 100

// Merge puts findings in the order of their pointers and keeps one for each
// pointer, the first given.
func Merge(lists ...[]api.FieldError) []api.FieldError {
	var out []api.FieldError
	seen := make(map[string]bool)
	for _, f := range slices.Concat(lists...) {
		if !seen[f.Pointer] {
			seen[f.Pointer] = true
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b api.FieldError) int { return strings.Compare(a.Pointer, b.Pointer) })
	return out[:min(len(out), maxFindings)]
}

// reason is the finding without any value: bodies hold what belongs in no log.
func reason(e *openapi3.SchemaError) string {
	if e.SchemaField == "format" {
		switch e.Schema.Format {
		case "byte":
			return checkBase64("*").Error()
		case "date-time":
			return checkDateTime("").Error()
		}
	}
	switch e.SchemaField {
	case "required":
		return "is required"
	case "pattern":
		return "must match " + e.Schema.Pattern
	}
	return e.Reason
}

func pointer(tokens []string) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte('/')
		b.WriteString(api.PointerToken(t))
	}
	return b.String()
}
