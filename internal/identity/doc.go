// Package identity is the station's TPM 2.0: the identity key that never leaves it,
// what it proves of that key, and secrets that it alone opens.
//
// It owns how a TPM is reached and what is asked of it. It must not know files,
// configuration, the network or what the secrets are: callers keep what it gives them,
// and nothing of that is worth anything without the TPM. What a proof has to be like
// is package proof's. Only this package uses a TPM's device.
package identity
