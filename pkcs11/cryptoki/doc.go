// Package cryptoki loads a PKCS#11 module into this process and speaks
// Cryptoki to it. It is the only package that imports a cgo binding.
//
// It owns how modules really behave: slots that move, tokens that are swapped
// between two calls, attributes that come in two shapes. It must not know in
// which process it runs (pkcs11/worker puts it into a child) nor what a token is
// written for. A call into a module cannot be interrupted from here; deadlines
// are the worker's business, and a context is only looked at between two calls.
//
// A slot id is never kept for itself. It lives as long as one operation, or as
// long as the session that was opened with it, and before every call that
// writes the token in that slot must still show the serial and label expected.
package cryptoki
