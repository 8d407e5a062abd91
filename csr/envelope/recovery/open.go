// Package recovery opens envelopes.
//
// It is for the machine of a recovery officer, who holds a recipient's private key; no
// station and no server uses it. It must not know what is in an envelope.
package recovery

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

// Errors.
var (
	// ErrKey: the file is no RSA private key that can be used as it is.
	ErrKey = errors.New("no usable RSA private key")
	// ErrNotForKey: the envelope is encrypted to others, or was changed.
	ErrNotForKey = errors.New("this key does not open the envelope")
)

// ParseKey reads an RSA private key in PEM, in the form of PKCS#8 (RFC 5958) or PKCS#1
// (RFC 8017, A.1.2). An encrypted one is ErrKey, with what to do.
func ParseKey(text []byte) (*rsa.PrivateKey, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("%w: there is no PEM block in it", ErrKey)
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, fmt.Errorf("%w: it is encrypted; open the envelope with 'openssl cms -decrypt -inform DER -in FILE -inkey KEY', which asks for the passphrase", ErrKey)
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, fmt.Errorf("%w: there is more than one PEM block in it", ErrKey)
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w: it is a PEM block %q", ErrKey, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	k, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: it is a key of type %T", ErrKey, key)
	}
	return k, nil
}

// Open decrypts an envelope with the private key of one of those it is encrypted to;
// which of them is found out by trying. CBC does not authenticate: compare the
// envelope's SHA-256 with the escrow's first. Errors: envelope.ErrNotSealed, ErrNotForKey.
func Open(der []byte, key *rsa.PrivateKey) ([]byte, error) {
	sealed, err := envelope.Read(der)
	if err != nil {
		return nil, err
	}
	for _, k := range sealed.Keys {
		// PKCS#1 v1.5 is what envelopes are made with. Its weakness is an oracle that says
		// again and again whether it failed; there is none at an officer's desk.
		contentKey, err := key.Decrypt(nil, k, nil)
		if err != nil || len(contentKey) != keyLen {
			continue
		}
		block, err := aes.NewCipher(contentKey)
		if err != nil {
			return nil, err
		}
		content := make([]byte, len(sealed.Content))
		cipher.NewCBCDecrypter(block, sealed.IV).CryptBlocks(content, sealed.Content)
		if content, ok := unpad(content); ok {
			return content, nil
		}
	}
	return nil, fmt.Errorf("%w: it is encrypted to %d others, or was changed", ErrNotForKey, len(sealed.Keys))
}

// keyLen is AES-256's, in bytes.
const keyLen = 32

// unpad takes off what RFC 5652, 6.3, adds: n bytes of value n, 1 to 16. Who opens has
// the file at hand, so that nothing is told by how long this takes.
func unpad(padded []byte) ([]byte, bool) {
	n := int(padded[len(padded)-1])
	if n < 1 || n > aes.BlockSize {
		return nil, false
	}
	content, padding := padded[:len(padded)-n], padded[len(padded)-n:]
	return content, len(content) > 0 && bytes.Count(padding, padding[:1]) == n
}
