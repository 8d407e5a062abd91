package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// document is openapi.yaml, with its parts in the order in which they stand there.
type document struct {
	*openapi3.T
	// shownAt has the operation that shows a schema, where one operation alone has it.
	shownAt map[string]string
}

// operation is a method of a path.
type operation struct {
	*openapi3.Operation
	Method, Path string
}

// load reads the document. Its own validation compares every example with its schema.
func load(text string) (*document, error) {
	loader := openapi3.NewLoader()
	loader.IncludeOrigin = true
	t, err := loader.LoadFromData([]byte(text))
	if err != nil {
		return nil, err
	}
	if err := t.Validate(context.Background()); err != nil {
		return nil, err
	}
	d := &document{T: t, shownAt: map[string]string{}}
	return d, nil
}

// line is where something begins in the document.
func line(o *openapi3.Origin) int {
	if o == nil || o.Key == nil {
		return 0
	}
	return o.Key.Line
}

// operations are those of a tag, as they stand in the document.
func (d *document) operations(tag string) []operation {
	var all []operation
	for path, item := range d.Paths.Map() {
		for method, op := range item.Operations() {
			if slices.Contains(op.Tags, tag) {
				all = append(all, operation{op, method, path})
			}
		}
	}
	slices.SortFunc(all, func(a, b operation) int { return cmp.Compare(line(a.Origin), line(b.Origin)) })
	return all
}

// schemas are the names of the document's schemas, in its order.
func (d *document) schemas() []string { return ordered(d.Components.Schemas) }

// ordered are the names of schemas, as they stand in the document.
func ordered(all openapi3.Schemas) []string {
	place := func(ref *openapi3.SchemaRef) int {
		if ref.Ref != "" || ref.Value.Origin == nil {
			return line(ref.Origin)
		}
		return line(ref.Value.Origin)
	}
	return slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(all[a]), place(all[b])), cmp.Compare(a, b))
	})
}

// problems are the short types of what an operation may refuse: its own, and what any may.
func (d *document) problems(op operation) (own, common []string, err error) {
	if own, err = list(op.Extensions["x-problems"]); err != nil {
		return nil, nil, fmt.Errorf("x-problems of %s: %w", op.OperationID, err)
	}
	if common, err = list(d.Components.Responses["Problem"].Value.Extensions["x-problems"]); err != nil {
		return nil, nil, fmt.Errorf("x-problems of what every operation may answer: %w", err)
	}
	return own, common, nil
}

// list is a list of texts in an extension; none when there is no such extension.
func list(v any) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	items, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%v is no list", v)
	}
	var all []string
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("%v is no text", item)
		}
		all = append(all, s)
	}
	return all, nil
}

// problemKind is a row of the table of problem types.
type problemKind struct {
	Name, When string
	Status     int
	Retryable  bool
}

// problemKinds are all problem types, in the order of the enumeration.
func (d *document) problemKinds() ([]problemKind, error) {
	schema := d.Components.Schemas["ProblemType"].Value
	rows, ok := schema.Extensions["x-problems"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("ProblemType has no x-problems")
	}
	var all []problemKind
	for _, v := range schema.Enum {
		name := strings.TrimPrefix(fmt.Sprint(v), "urn:usbkeyd:problem:")
		row, ok := rows[name].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("x-problems of ProblemType does not say what %s is", name)
		}
		status, err := strconv.Atoi(fmt.Sprint(row["status"]))
		if err != nil {
			return nil, fmt.Errorf("status of %s: %w", name, err)
		}
		retryable, _ := row["retryable"].(bool)
		when, _ := row["when"].(string)
		if when == "" {
			return nil, fmt.Errorf("x-problems of ProblemType does not say when %s is answered", name)
		}
		all = append(all, problemKind{name, when, status, retryable})
	}
	if len(rows) != len(all) {
		return nil, fmt.Errorf("x-problems of ProblemType has %d types, the enumeration %d", len(rows), len(all))
	}
	return all, nil
}

// name is the name of a schema that is referred to, "" for one in place.
func name(ref *openapi3.SchemaRef) string {
	return strings.TrimPrefix(ref.Ref, "#/components/schemas/")
}

// isObject says whether a schema has fields of its own.
func isObject(s *openapi3.Schema) bool { return len(s.Properties) > 0 }

// uses counts how often operations and other schemas refer to each schema.
func (d *document) uses() map[string][]string {
	by := map[string][]string{}
	var walk func(who string, ref *openapi3.SchemaRef)
	walk = func(who string, ref *openapi3.SchemaRef) {
		if ref == nil {
			return
		}
		if ref.Ref != "" {
			if !slices.Contains(by[name(ref)], who) {
				by[name(ref)] = append(by[name(ref)], who)
			}
			return
		}
		walk(who, ref.Value.Items)
		walk(who, ref.Value.AdditionalProperties.Schema)
		for _, p := range ref.Value.Properties {
			walk(who, p)
		}
	}
	for n, s := range d.Components.Schemas {
		walk(n, &openapi3.SchemaRef{Value: s.Value})
	}
	for _, tag := range d.Tags {
		for _, op := range d.operations(tag.Name) {
			for _, media := range bodies(op) {
				walk("operation "+op.OperationID, media.Schema)
			}
		}
	}
	return by
}

// bodies are what an operation takes and gives, save problems.
func bodies(op operation) []*openapi3.MediaType {
	var all []*openapi3.MediaType
	if op.RequestBody != nil {
		for _, m := range op.RequestBody.Value.Content {
			all = append(all, m)
		}
	}
	for status, r := range op.Responses.Map() {
		if status == "default" {
			continue
		}
		for _, m := range r.Value.Content {
			all = append(all, m)
		}
	}
	return all
}
