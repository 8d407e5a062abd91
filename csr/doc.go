// Package csr makes certificate requests and judges what comes back for them.
//
// It owns X.509: what a product's certificate must look like (Profile), the
// PKCS#10 request made from an order (Build, ParseRequest), the certs-only
// PKCS#7 in which a CA answers (ParseBundle, EncodeBundle), whether that answer
// is the certificate that was ordered (Check), and the proof that a key is where
// it should be (NewChallenge, VerifyPossession).
//
// It must not know where the private key lives (it takes a crypto.Signer), how a
// request reaches the CA, nor what is done with a certificate that passed. It
// reads no files and no clock: time and trust anchors come from the caller.
//
// A certificate's subject is never compared as DER: a CA re-encodes strings,
// reorders and adds. It is compared as a set of (type, decoded string).
package csr
