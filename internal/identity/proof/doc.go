// Package proof says what a station shows of its TPM 2.0, and judges it: that an
// identity key was made in a TPM and cannot leave it, and that this TPM is the one
// with a certain endorsement key.
//
// It owns the rules that a proof has to keep. It must not know how a TPM is reached:
// a server judges without having one. Section numbers are those of the TPM 2.0
// Library specification, part 1 (architecture) and part 2 (structures).
package proof
