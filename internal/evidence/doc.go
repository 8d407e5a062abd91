// Package evidence is the signed statement about a finished key, which a third party
// can check without the station, the central server or a network.
//
// It owns what the statement says (Statement), its signing as CMS SignedData (RFC 5652,
// section 5, with SHA-256), and what must hold for it to be believed. It must not know
// where its facts come from: no journal, no token, no PIN.
//
// Each fact says how good it is. Proved: whoever holds the statement can see for
// themselves that it is so. Claimed: a module said so, and may lie. Attested: the token's
// maker vouches for it.
package evidence
