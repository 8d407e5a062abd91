// Package canary looks for secrets where none may be.
//
// It owns in which forms a secret could be written down (Forms), and looking through
// files and through what running processes show of themselves. Tests only. It must not
// know what the secrets are secrets of, or how they were made.
package canary
