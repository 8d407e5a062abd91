// Package pkcs11test is what tests of tokens need: SoftHSM bays of their own to
// write to, and the conformance suite that every implementation of pkcs11.Module
// passes.
//
// It owns fixtures and must know no implementation. It runs SoftHSM's and
// OpenSC's own tools where a second opinion is wanted. What is not installed
// fails a test and never skips it.
package pkcs11test
