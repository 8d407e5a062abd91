// Package provision turns a leased unit into a finished token: a job runs through
// an ordered, named list of steps, each of which is journalled before it changes
// anything, so that after a crash at any moment the job goes on, is safely retried
// or is quarantined.
//
// It owns the step list, the state machine, the journal, PIN generation and the
// journal's secrets. It must not know HTTP, YAML, the command line or cgo: the
// central server is the small interface Central, tokens are pkcs11.Module, and
// settings arrive as plain values.
package provision
