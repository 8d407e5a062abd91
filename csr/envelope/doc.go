// Package envelope seals PINs to the certificates of those who may read them.
//
// It owns the CMS EnvelopedData (RFC 5652, section 6) in which a PIN leaves the
// station, and what a certificate must be like to receive one. It must not know
// which recipients a station trusts (configuration lists them by SHA256), what a
// PIN is, or how an envelope is opened: there is no code here that decrypts.
//
// The content is encrypted with AES-256-CBC (RFC 3565) under a fresh key, which
// is encrypted to each recipient's RSA key (RFC 3370, section 4.2.1). CBC does not
// authenticate: an envelope is kept by its SHA-256 in a record that is.
//
// The library underneath takes its algorithm from a variable of its own that
// starts as DES. A program calls ChooseAES256 once in main; Seal refuses to work
// without it and looks at what was made.
package envelope
