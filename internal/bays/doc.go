// Package bays says which number, as it is stuck on the hub, belongs to which slot: PKCS#11
// gives no USB path, so somebody has to show it, by one token after another.
//
// It owns what was taught, and how it is taught. It knows no module, no token and no page:
// slots are names here, of which each stays the same.
package bays
