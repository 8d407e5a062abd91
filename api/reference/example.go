package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// pair is a member of a JSON object, in the order in which it is shown.
type pair struct {
	name  string
	value any
}

// members is a JSON object that keeps its order.
type members []pair

// MarshalJSON implements json.Marshaler.
func (m members) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for i, p := range m {
		if i > 0 {
			out.WriteByte(',')
		}
		value, err := plain(p.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%q:%s", p.name, value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// plain is JSON with <, > and & as they are.
func plain(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(out.Bytes()), err
}

// example is a value that a schema allows: the one that it names, or one made of its
// fields: those that are required, and those that name one. where is for errors.
func (d *document) example(ref *openapi3.SchemaRef, where string) (any, error) {
	s := ref.Value
	if isObject(s) {
		given, whole := s.Example.(map[string]any)
		var all members
		for _, field := range ordered(s.Properties) {
			p := s.Properties[field]
			v, named := given[field]
			switch {
			case whole && !named:
				continue
			case whole:
			case slices.Contains(s.Required, field) || p.Ref == "" && p.Value.Example != nil:
				var err error
				if v, err = d.example(p, where+"."+field); err != nil {
					return nil, err
				}
			default:
				continue
			}
			all = append(all, pair{field, inOrder(v, p.Value)})
		}
		return all, nil
	}
	if s.Example != nil {
		return s.Example, nil
	}
	switch {
	case len(s.Enum) > 0:
		return s.Enum[0], nil
	case s.Default != nil:
		return s.Default, nil
	case s.Type.Is("array"):
		item, err := d.example(s.Items, where)
		return []any{item}, err
	case s.Type.Is("boolean"):
		return false, nil
	case s.Format == "date-time":
		return "2026-11-20T09:30:00+08:00", nil
	case s.Format == "byte":
		return "MIIBIjANBgkqhkiG", nil
	case s.Type.Is("integer") && s.Min != nil:
		return int64(*s.Min), nil
	}
	return nil, fmt.Errorf("%s has no example", where)
}

// inOrder puts the members of a given example into the order of the schema.
func inOrder(v any, s *openapi3.Schema) any {
	switch v := v.(type) {
	case []any:
		if s.Items == nil {
			return v
		}
		all := make([]any, len(v))
		for i, item := range v {
			all[i] = inOrder(item, s.Items.Value)
		}
		return all
	case map[string]any:
		var all members
		for _, field := range ordered(s.Properties) {
			if value, ok := v[field]; ok {
				all = append(all, pair{field, inOrder(value, s.Properties[field].Value)})
			}
		}
		if len(all) < len(v) {
			return v // a map of what the schema does not name
		}
		return all
	}
	return v
}

// bodyExample is the JSON of a body, and that the schema allows it.
func (d *document) bodyExample(m *openapi3.MediaType, where string) (string, error) {
	v := inOrder(m.Example, m.Schema.Value)
	if m.Example == nil {
		var err error
		if v, err = d.example(m.Schema, where); err != nil {
			return "", err
		}
	}
	text, err := plain(v)
	if err != nil {
		return "", err
	}
	var back any
	if err := json.Unmarshal(text, &back); err != nil {
		return "", err
	}
	if err := m.Schema.Value.VisitJSON(back, openapi3.EnableFormatValidation()); err != nil {
		return "", fmt.Errorf("the example of %s: %w", where, err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return "", err
	}
	out.WriteByte('\n')
	return out.String(), nil
}

// exampleRequest is a request as it goes over the wire, without what every one has.
func (d *document) exampleRequest(op operation) (string, error) {
	path, query, head := "/v1"+op.Path, []string(nil), ""
	for _, p := range op.Parameters {
		v, err := d.example(p.Value.Schema, op.OperationID+" "+p.Value.Name)
		if p.Value.Example != nil {
			v, err = p.Value.Example, nil
		}
		switch {
		case err != nil && p.Value.In == openapi3.ParameterInQuery:
			continue
		case err != nil:
			return "", err
		case p.Value.In == openapi3.ParameterInPath:
			path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", fmt.Sprint(v))
		case p.Value.In == openapi3.ParameterInHeader:
			head += fmt.Sprintf("%s: %v\n", p.Value.Name, v)
		default:
			query = append(query, fmt.Sprintf("%s=%v", p.Value.Name, v))
		}
	}
	if len(query) > 0 {
		path += "?" + strings.Join(query, "&")
	}
	out := op.Method + " " + path + " HTTP/1.1\n" + head
	if op.RequestBody == nil {
		return out, nil
	}
	media := op.RequestBody.Value.Content.Get("application/json")
	body, err := d.bodyExample(media, op.OperationID)
	return out + "Content-Type: application/json\n\n" + body, err
}
