// Package audit is a station's record: an append-only Merkle log (RFC 6962, 2.1) of
// what was done, so that nobody can change, drop or reorder an entry afterwards
// without it being seen by whoever holds a later checkpoint.
//
// It owns what an entry looks like, how the hashes of the log follow from the
// entries, the form of checkpoints and of the signatures under them, and what a
// record must be like to be believed. It must not know SQL, HTTP, jobs or where keys
// are kept: rows come through Storage, keys as crypto.Signer.
//
// An entry holds ids, serial numbers and hashes. There is no field for a PIN, a name
// or an address, and what has not the form of an id is refused.
package audit
