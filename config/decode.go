package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxFile is the size limit of a configuration file in bytes.
const MaxFile = 1 << 20

// Load reads, parses and validates a configuration file. The errors are those of
// Read and Validate.
func Load(path string) (*Station, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	s, err := Read(path)
	if err != nil {
		return nil, err
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Read reads and parses a configuration file, for who may not read the files that it names. It does
// not look at values; Validate does. The errors are those of os.Open and Parse.
func Read(path string) (*Station, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, err
	}
	s, err := Parse(data, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Parse decodes a configuration strictly, over the defaults, and takes relative
// paths from the folder dir. It does not look at values; Validate does. Errors
// are *SyntaxError, joined when there are several.
func Parse(data []byte, dir string) (*Station, error) {
	if len(data) > MaxFile {
		return nil, &SyntaxError{Message: fmt.Sprintf("the file has more than %d bytes", MaxFile)}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as some editors on Windows write it
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, &SyntaxError{Message: "the file is not UTF-8 text: save it as UTF-8"}
	}
	root, err := oneDocument(data)
	if err != nil {
		return nil, err
	}
	s := defaultStation()
	if err := checkShape(root); err != nil {
		return nil, err
	}
	if err := yaml.NodeToValue(root, &s, yaml.Strict()); err != nil {
		return nil, syntaxError(err)
	}
	s.resolve(dir)
	return &s, nil
}

// oneDocument wants exactly one document, a mapping.
func oneDocument(data []byte) (ast.Node, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, syntaxError(err)
	}
	var root ast.Node
	for i, doc := range file.Docs {
		if i > 0 {
			e := &SyntaxError{Message: "a second document begins here (---): one file holds one configuration"}
			if doc.Start != nil && doc.Start.Position != nil { // an empty document has no other token
				e.Line, e.Column = doc.Start.Position.Line, doc.Start.Position.Column
			}
			return nil, e
		}
		root = doc.Body
	}
	if root == nil || root.Type() == ast.CommentType || root.Type() == ast.CommentGroupType {
		return nil, &SyntaxError{Message: "the file is empty"}
	}
	return root, nil
}

func at(n ast.Node, format string, args ...any) *SyntaxError {
	e := &SyntaxError{Message: fmt.Sprintf(format, args...)}
	if t := n.GetToken(); t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	return e
}

// syntaxError keeps the library's place and message and drops its drawing.
func syntaxError(err error) error {
	var placed yaml.Error
	if !errors.As(err, &placed) {
		return &SyntaxError{Message: fmt.Sprintf("not valid YAML: %s", err)}
	}
	e := &SyntaxError{Message: fmt.Sprintf("not valid YAML: %s", placed.GetMessage())}
	if t := placed.GetToken(); t != nil && t.Position != nil {
		e.Line, e.Column = t.Position.Line, t.Position.Column
	}
	return e
}

// resolve makes paths absolute and fingerprints plain, and adds the built-in profiles.
func (s *Station) resolve(dir string) {
	paths := []*string{&s.Central.Trust, &s.Central.Certificate, &s.Central.Key, &s.CertificateTrust, &s.Mailer.Font, &s.Labels.Font}
	for i := range s.TokenProfiles {
		t := &s.TokenProfiles[i]
		paths = append(paths, &t.FactorySOPINFile, &t.FactoryUserPINFile, &t.AttestationTrust)
	}
	for i := range s.Identity.Recovery {
		paths = append(paths, &s.Identity.Recovery[i])
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	for _, prints := range [][]string{s.Recipients.UserPIN, s.Recipients.SOPIN} {
		for i, p := range prints {
			// As openssl x509 -fingerprint writes it: capitals with colons between.
			prints[i] = strings.ToLower(strings.ReplaceAll(p, ":", ""))
		}
	}
	for _, builtin := range BuiltinTokenProfiles() {
		if !slices.ContainsFunc(s.TokenProfiles, func(t TokenProfile) bool { return t.Name == builtin.Name }) {
			s.TokenProfiles = append(s.TokenProfiles, builtin)
		}
	}
}
