package config

import "fmt"

// Sentinel is a constant error, compared with errors.Is.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

const (
	// ErrSyntax: the text is not the YAML that is wanted; see SyntaxError.
	ErrSyntax Sentinel = "configuration cannot be read"
	// ErrInvalid: a value is not allowed; see FieldError.
	ErrInvalid Sentinel = "invalid configuration"
	// ErrSecretFile: a secret file that must not be used.
	ErrSecretFile Sentinel = "unusable secret file"
)

// SyntaxError is where the text is not what is wanted: not YAML, an unknown or
// repeated key, a value of another type, a second document.
type SyntaxError struct {
	// Line and Column count from 1; 0 when there is no place to name.
	Line, Column int
	Message      string
}

// Error implements error.
func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Unwrap gives ErrSyntax.
func (e *SyntaxError) Unwrap() error { return ErrSyntax }

// FieldError is what is wrong with one value.
type FieldError struct {
	// Field is the path of the value, such as "products[0].key.algorithm".
	Field string
	Err   error
}

// Error implements error.
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap gives ErrInvalid and the cause.
func (e *FieldError) Unwrap() []error { return []error{ErrInvalid, e.Err} }
