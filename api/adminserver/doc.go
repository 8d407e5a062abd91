// Package adminserver is the strict server of the contract's admin operations,
// generated from ../openapi.yaml.
package adminserver
