// Package pkcs11 is the vocabulary of PKCS#11 tokens in pure Go: what a module,
// a slot, a token, a PIN, a key and a certificate on a token are, which errors
// they give, and the Module and Token interfaces through which everything else
// in this project touches them.
//
// It owns names and meanings only. It must not know how a module is loaded
// (pkcs11/cryptoki), in which process it lives (pkcs11/worker), or what a token
// is being written for (provision).
//
// Words follow PKCS#11 v2.40 and v3.0: a slot is a place where a token may be, a
// token is the thing in it, a session is a conversation with it. Slot ids move
// when tokens come and go, so they never leave an implementation; a token is
// named by its Identity.
package pkcs11
