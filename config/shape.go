package config

import (
	"errors"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// checkShape compares the document with the Go types before it is decoded,
// because the decoder is generous: it takes 1.50 for the text "1.5", 5.5 for the
// number 5, and null for anything. Anchors, aliases, merges and tags are refused
// as well: the file then says in one place what it says, and cannot unfold into
// something huge. Unknown keys are left to the decoder. All faults are joined.
func checkShape(root ast.Node) error {
	var s shaper
	s.node(root, reflect.TypeFor[Station]())
	return errors.Join(s.errs...)
}

type shaper struct{ errs []error }

func (s *shaper) fault(n ast.Node, format string, args ...any) {
	s.errs = append(s.errs, at(n, format, args...))
}

func (s *shaper) node(n ast.Node, t reflect.Type) {
	switch n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		s.fault(n, "anchors, aliases, merges and tags (&, *, <<, !) are not supported: write out what is meant")
		return
	case *ast.NullNode:
		s.fault(n, "no value is given: give one, or leave the key out")
		return
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		s.duration(n)
	case t.Kind() == reflect.String:
		if !isString(n) {
			s.fault(n, "text is wanted here; put it in quotes")
		}
	case t.Kind() == reflect.Int:
		if i, ok := n.(*ast.IntegerNode); !ok || !isDecimal(i.GetToken().Value) {
			s.fault(n, "a whole number is wanted here, without quotes")
		}
	case t.Kind() == reflect.Bool:
		if n.Type() != ast.BoolType {
			s.fault(n, "true or false is wanted here")
		}
	case t.Kind() == reflect.Slice:
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			s.fault(n, "a list is wanted here: [a, b], or lines that begin with -")
			return
		}
		for _, v := range list.Values {
			s.node(v, t.Elem())
		}
	default:
		s.mapping(n, t)
	}
}

func (s *shaper) mapping(n ast.Node, t reflect.Type) {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{m}
	default:
		s.fault(n, "keys with values are wanted here, such as key: value")
		return
	}
	for _, pair := range pairs {
		key, ok := pair.Key.(*ast.StringNode)
		if !ok {
			s.fault(pair.Key, "a plain key is wanted here")
			continue
		}
		if t.Kind() == reflect.Map {
			s.node(pair.Value, t.Elem())
		} else if field, ok := fieldByKey(t, key.Value); ok {
			s.node(pair.Value, field.Type)
		} else {
			s.fault(pair.Key, "unknown key %q; these are known here: %s", key.Value, strings.Join(keysOf(t), ", "))
		}
	}
}

func (s *shaper) duration(n ast.Node) {
	text, ok := n.(*ast.StringNode)
	if ok {
		_, err := time.ParseDuration(text.Value)
		ok = err == nil
	}
	if !ok {
		s.fault(n, "a length of time such as 20s, 10m or 24h is wanted here")
	}
}

func isString(n ast.Node) bool {
	return n.Type() == ast.StringType || n.Type() == ast.LiteralType
}

// isDecimal refuses 0x10, 0o17, 017, 1_000 and +1.
func isDecimal(s string) bool {
	i, err := strconv.Atoi(s)
	return err == nil && strconv.Itoa(i) == strings.TrimSpace(s)
}

// keysOf are those that a mapping may have.
func keysOf(t reflect.Type) (out []string) {
	for f := range t.Fields() {
		if key := f.Tag.Get("yaml"); key != "-" {
			out = append(out, key)
		}
	}
	return out
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if key != "-" && f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}
