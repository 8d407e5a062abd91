package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"github.com/getkin/kin-openapi/openapi3"
)

//go:embed api.md.tmpl
var page string

// group is one half of the contract.
type group struct {
	Title, Note string
	Operations  []section
}

// section is one operation as the page shows it.
type section struct {
	ID, Method, Path, Summary, Description string
	Caller, Limit                          string
	Parameters                             []field
	Request                                *body
	Answers                                []answer
	Problems                               []string
	ExampleRequest, ExampleAnswer          string
}

// answer is one status of an operation.
type answer struct {
	Status, Description string
	Headers             []field
	Body                *body
}

// body is what goes over the wire: an object whose fields are shown here, or a link.
type body struct {
	Media, Type string
	Shown       *object
}

// object is a schema with fields.
type object struct {
	Name, Description string
	Fields            []field
}

// field is a row of a table.
type field struct{ Name, In, Type, Required, Meaning string }

// value is a schema without fields: a number, a text, one of several words.
type value struct{ Name, Type, Meaning string }

// shortEnough is how long the description of a value may be to be repeated at a field, in bytes.
const shortEnough = 120

// render makes the page.
func render(text string) ([]byte, error) {
	d, err := load(text)
	if err != nil {
		return nil, err
	}
	for schema, by := range d.uses() {
		if op, one := strings.CutPrefix(by[0], "operation "); one && len(by) == 1 && isObject(d.Components.Schemas[schema].Value) {
			d.shownAt[schema] = op
		}
	}
	data := struct {
		Title, Version, Description string
		Groups                      []group
		Common                      []string
		Problems                    []problemKind
		Objects                     []object
		Values                      []value
		Problem                     object
		ExampleProblem              string
	}{Title: d.Info.Title, Version: d.Info.Version, Description: d.Info.Description}
	for _, tag := range d.Tags {
		g := group{Title: tag.Name, Note: tag.Description}
		for _, op := range d.operations(tag.Name) {
			s, err := d.section(op)
			if err != nil {
				return nil, err
			}
			g.Operations = append(g.Operations, s)
			if _, data.Common, err = d.problems(op); err != nil {
				return nil, err
			}
		}
		data.Groups = append(data.Groups, g)
	}
	if data.Problems, err = d.problemKinds(); err != nil {
		return nil, err
	}
	refused := d.Components.Responses["Problem"].Value.Content["application/problem+json"]
	data.Problem = d.object("Problem", refused.Schema.Value)
	if data.ExampleProblem, err = d.bodyExample(refused, "a problem"); err != nil {
		return nil, err
	}
	for _, n := range d.schemas() {
		s := d.Components.Schemas[n].Value
		switch {
		case d.shownAt[n] != "", n == "Problem":
		case isObject(s):
			data.Objects = append(data.Objects, d.object(n, s))
		default:
			data.Values = append(data.Values, value{n, d.kind(s), cell(s.Description)})
		}
	}
	funcs := template.FuncMap{"code": func(all []string) string { return "`" + strings.Join(all, "`, `") + "`" }, "anchor": anchor}
	t, err := template.New("api.md").Funcs(funcs).Parse(page)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// section is an operation, with its examples.
func (d *document) section(op operation) (section, error) {
	s := section{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: strings.TrimSpace(op.Description)}
	var err error
	if s.Caller, err = caller(op); err != nil {
		return s, err
	}
	if s.Problems, _, err = d.problems(op); err != nil {
		return s, err
	}
	for _, p := range op.Parameters {
		s.Parameters = append(s.Parameters, field{p.Value.Name, p.Value.In, d.typeOf(p.Value.Schema), yes(p.Value.Required), meaning(p.Value)})
	}
	if op.RequestBody != nil {
		kib, ok := op.Extensions["x-max-body-kib"].(float64)
		if !ok {
			return s, fmt.Errorf("%s does not say how large a body may be (x-max-body-kib)", op.OperationID)
		}
		s.Limit = fmt.Sprintf("%.0f KiB", kib)
		s.Request = d.body(op.RequestBody.Value.Content, op.OperationID)
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses.Map())) {
		if status == "default" {
			continue
		}
		r := op.Responses.Value(status).Value
		a := answer{Status: status, Description: *r.Description, Body: d.body(r.Content, op.OperationID)}
		for _, h := range slices.Sorted(maps.Keys(r.Headers)) {
			v := r.Headers[h].Value
			a.Headers = append(a.Headers, field{Name: h, Type: d.typeOf(v.Schema), Meaning: cell(v.Description)})
		}
		if m := r.Content.Get("application/json"); m != nil && s.ExampleAnswer == "" {
			text, err := d.bodyExample(m, op.OperationID+" "+status)
			if err != nil {
				return s, err
			}
			s.ExampleAnswer = "HTTP/1.1 " + status + "\nContent-Type: application/json\n\n" + text
		}
		s.Answers = append(s.Answers, a)
	}
	s.ExampleRequest, err = d.exampleRequest(op)
	return s, err
}

// caller says who may call an operation; x-caller where it is not what the tag says.
func caller(op operation) (string, error) {
	who, _ := op.Extensions["x-caller"].(string)
	switch {
	case who == "anybody":
		return "anybody who reaches the stations' listener, without a client certificate", nil
	case who == "station-expired":
		return "a station, by mutual TLS, also with an expired certificate", nil
	case who != "":
		return "", fmt.Errorf("x-caller of %s is %q", op.OperationID, who)
	case slices.Contains(op.Tags, "admin"):
		return "the administration, by its bearer token", nil
	}
	return "a station, by mutual TLS", nil
}

// meaning is what a parameter says of itself, or its value does.
func meaning(p *openapi3.Parameter) string {
	if p.Description == "" {
		return cell(p.Schema.Value.Description)
	}
	return cell(p.Description)
}

// body is what a request or an answer has in it; nil when that is nothing.
func (d *document) body(content openapi3.Content, op string) *body {
	if len(content) == 0 {
		return nil
	}
	media := slices.Sorted(maps.Keys(content))[0] // the contract has one for each
	ref := content[media].Schema
	b := &body{Media: media, Type: d.typeOf(ref)}
	if d.shownAt[name(ref)] == op {
		o := d.object(name(ref), ref.Value)
		b.Type, b.Shown = name(ref), &o
	}
	return b
}

// object is a schema with its fields.
func (d *document) object(n string, s *openapi3.Schema) object {
	o := object{Name: n, Description: strings.TrimSpace(s.Description)}
	for _, f := range ordered(s.Properties) {
		p := s.Properties[f]
		meaning := cell(p.Value.Description)
		if p.Ref != "" && (isObject(p.Value) || len(meaning) > shortEnough) {
			meaning = "" // it stands where the link leads
		}
		o.Fields = append(o.Fields, field{Name: f, Type: d.typeOf(p), Required: yes(slices.Contains(s.Required, f)), Meaning: meaning})
	}
	return o
}

// typeOf is a type in a table: a link for what has a name.
func (d *document) typeOf(ref *openapi3.SchemaRef) string {
	n := name(ref)
	switch {
	case n == "":
		return d.kind(ref.Value)
	case d.shownAt[n] != "", n == "Problem":
		return "[" + n + "](#" + anchor(d.shownAt[n]) + ")"
	case isObject(ref.Value):
		return "[" + n + "](#" + anchor(n) + ")"
	}
	return "[" + n + "](#values)"
}

// kind is a schema in words: what it is, and its limits.
func (d *document) kind(s *openapi3.Schema) string {
	switch {
	case len(s.Enum) > 0:
		words := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			words[i] = fmt.Sprintf("`%v`", v)
		}
		return strings.Join(words, ", ")
	case s.Type.Is("array"):
		return "list of " + d.typeOf(s.Items) + span(", ", float64(s.MinItems), number(s.MaxItems), "items")
	case s.AdditionalProperties.Schema != nil:
		return "object, any name → " + d.typeOf(s.AdditionalProperties.Schema)
	case isObject(s):
		return "object"
	case s.Type.Is("boolean"):
		return "boolean"
	case s.Type.Is("integer"), s.Type.Is("number"):
		low, high := number(s.Min), number(s.Max)
		out := s.Type.Slice()[0]
		switch {
		case low != nil && high != nil:
			out += fmt.Sprintf(", %.0f to %.0f", *low, *high)
		case low != nil:
			out += fmt.Sprintf(", at least %.0f", *low)
		}
		if s.Default != nil {
			out += fmt.Sprintf(", %v where it is left out", s.Default)
		}
		return out
	}
	out := "text"
	switch s.Format {
	case "byte":
		out = "base64"
	case "date-time":
		return "time (RFC 3339)"
	case "binary":
		return "bytes"
	}
	out += span(", ", float64(s.MinLength), number(s.MaxLength), "characters")
	if s.Pattern != "" {
		out += ", `" + strings.ReplaceAll(s.Pattern, "|", `\|`) + "`"
	}
	return out
}

// span is a range of a count.
func span(before string, low float64, high *float64, of string) string {
	switch {
	case high == nil && low == 0:
		return ""
	case high == nil:
		return fmt.Sprintf("%sat least %.0f %s", before, low, of)
	case *high == low:
		return fmt.Sprintf("%s%.0f %s", before, low, of)
	case low == 0:
		return fmt.Sprintf("%sat most %.0f %s", before, *high, of)
	}
	return fmt.Sprintf("%s%.0f to %.0f %s", before, low, *high, of)
}

func number[N uint64 | float64](n *N) *float64 {
	if n == nil {
		return nil
	}
	f := float64(*n)
	return &f
}

// cell is text in a table: one line.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// anchor is where a heading is found on the page.
func anchor(heading string) string { return strings.ToLower(heading) }
