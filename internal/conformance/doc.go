// Package conformance drives a central server through the dispatch contract from
// outside, as stations and an order system would: every operation, race and failure
// that can be brought about so, and says which rules hold.
//
// It owns the rules in words and what proves each. It must not know any server's code,
// and it opens no PIN: the tokens that it plays are keys in its memory.
package conformance
