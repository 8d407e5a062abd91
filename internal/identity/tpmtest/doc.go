// Package tpmtest runs software TPMs (Debian: swtpm, swtpm-tools) for tests. A missing
// program fails the test.
//
// It owns how a software TPM is made, started and ill-treated. It must not know what
// anybody asks of it.
package tpmtest
