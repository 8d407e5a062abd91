package csr

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"text/template"
	"text/template/parse"
)

// SubjectData is what templates see of an order and one unit of it.
type SubjectData struct {
	OrderID string
	UnitID  string
	// Sequence is the unit's number within the order, from 1 to Of.
	Sequence, Of int
	Company      Company
	Handler      Handler
	ProductCode  string
}

// Company is the buyer, as on the business licence.
type Company struct {
	Name string
	// USCC is the unified social credit code (GB 32100-2015), 18 characters.
	USCC string
}

// Handler is the person who acts for the buyer (经办人). Email may be empty.
type Handler struct {
	Name  string
	Email string
}

// SampleData is plainly made up and has every field; profiles are tried on it.
func SampleData() SubjectData {
	return SubjectData{
		OrderID: "SAMPLE-0001", UnitID: "SAMPLE-0001-001", Sequence: 1, Of: 2,
		Company:     Company{Name: "示例客车配件有限公司", USCC: "91350200MA0000001W"},
		Handler:     Handler{Name: "经办人甲", Email: "sample@example.com"},
		ProductCode: "SAMPLE",
	}
}

const (
	maxTemplate = 512  // bytes of source
	maxRendered = 2048 // bytes; more than any attribute may hold
)

// Text is a compiled one-line template over SubjectData: text, fields, printf
// and the other plain functions of text/template, if and with, and
// `truncate n s`, which keeps the first n characters. Loops and nested templates
// are refused, so that rendering always ends and stays small.
type Text struct{ t *template.Template }

// CompileText parses a template and tries it on SampleData.
func CompileText(source string) (*Text, error) {
	if len(source) > maxTemplate {
		return nil, fmt.Errorf("template of %d bytes: at most %d are allowed", len(source), maxTemplate)
	}
	t, err := template.New("value").Option("missingkey=error").Funcs(template.FuncMap{"truncate": truncate}).Parse(source)
	if err != nil {
		return nil, templateError(err)
	}
	if len(t.Templates()) > 1 {
		return nil, errors.New("template defines other templates, which is not supported")
	}
	if t.Tree != nil {
		if err := plainNodes(t.Tree.Root); err != nil {
			return nil, err
		}
	}
	text := &Text{t}
	if _, err := text.Render(SampleData()); err != nil {
		return nil, err
	}
	return text, nil
}

// Render gives the text for one unit. It may be empty.
func (t *Text) Render(data SubjectData) (string, error) {
	var w limitedWriter
	if err := t.t.Execute(&w, data); err != nil {
		return "", templateError(err)
	}
	return w.b.String(), nil
}

func truncate(n int, s string) (string, error) {
	if n < 1 {
		return "", fmt.Errorf("truncate: %d characters", n)
	}
	if r := []rune(s); len(r) > n {
		return strings.TrimRight(string(r[:n]), " "), nil
	}
	return s, nil
}

// unknownField is how text/template, which has no type for it, says that there is no such field.
var unknownField = regexp.MustCompile(`can't evaluate field (\w+) in type `)

// templateError drops the prefix that names a file there is not, and names the fields that there are
// where another one was asked for.
func templateError(err error) error {
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("there is no field .%s; these are: %s", m[1], strings.Join(fields(reflect.TypeFor[SubjectData](), "."), ", "))
	}
	return fmt.Errorf("template: %s", strings.TrimPrefix(err.Error(), "template: value:"))
}

// fields are those of a struct and of the structs in it, as templates name them.
func fields(of reflect.Type, path string) (out []string) {
	for f := range of.NumField() {
		switch f := of.Field(f); f.Type.Kind() {
		case reflect.Struct:
			out = append(out, fields(f.Type, path+f.Name+".")...)
		default:
			out = append(out, path+f.Name)
		}
	}
	return out
}

type limitedWriter struct{ b strings.Builder }

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.b.Len()+len(p) > maxRendered {
		return 0, fmt.Errorf("more than %d bytes of text", maxRendered)
	}
	return w.b.Write(p)
}

// plainNodes refuses the control structures that can loop or call on.
func plainNodes(n parse.Node) error {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return nil
		}
		for _, child := range n.Nodes {
			if err := plainNodes(child); err != nil {
				return err
			}
		}
		return nil
	case *parse.IfNode:
		return errors.Join(plainNodes(n.List), plainNodes(n.ElseList))
	case *parse.WithNode:
		return errors.Join(plainNodes(n.List), plainNodes(n.ElseList))
	case *parse.TextNode, *parse.ActionNode, *parse.CommentNode:
		return nil
	default:
		return fmt.Errorf("template: %s is not supported here", strings.SplitN(n.String(), "\n", 2)[0])
	}
}
