// Package packing decides what may go into a parcel, and when one may be closed: what
// a scanned code is, what follows from it, and with which sentence it is refused.
//
// It owns rules alone: whatever it is told of orders, tokens and codes has been looked up
// by its caller, and whatever it decides is an Act that the caller writes down. It must
// not know the journal, tokens, the network, or how a sentence reaches a person.
package packing
