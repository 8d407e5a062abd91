package envelope

import (
	"bytes"
	"crypto/aes"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"

	"go.mozilla.org/pkcs7"
)

// MaxPlaintext is the largest content in bytes. PINs are short; anything long here is a mistake.
const MaxPlaintext = 4096

// ChooseAES256 sets the library's content encryption for the whole program. Call
// it once in main, before any goroutine that seals.
func ChooseAES256() { pkcs7.ContentEncryptionAlgorithm = pkcs7.EncryptionAlgorithmAES256CBC }

// Seal encrypts plaintext to every recipient and returns the EnvelopedData in
// DER. It works only after ChooseAES256, and returns nothing whose content
// encryption is not AES-256-CBC with one key transport for each recipient.
// Callers whose recipients were parsed long ago ask UsableAt first. Errors:
// ErrRecipients, ErrNotSealed.
func Seal(recipients []Recipient, plaintext []byte) ([]byte, error) {
	if err := Distinct(recipients, 1); err != nil {
		return nil, err
	}
	if len(plaintext) == 0 || len(plaintext) > MaxPlaintext {
		return nil, fmt.Errorf("%w: content of %d bytes, 1 to %d are possible", ErrNotSealed, len(plaintext), MaxPlaintext)
	}
	if pkcs7.ContentEncryptionAlgorithm != pkcs7.EncryptionAlgorithmAES256CBC {
		return nil, fmt.Errorf("%w: the program has not chosen AES-256-CBC", ErrNotSealed)
	}
	certs := make([]*x509.Certificate, len(recipients))
	for i, r := range recipients {
		certs[i] = r.cert
	}
	// The library pads by append: room for it here keeps the padded copy in a
	// buffer that is wiped, and never writes behind the caller's slice.
	padded := make([]byte, len(plaintext), len(plaintext)+aes.BlockSize)
	copy(padded, plaintext)
	defer clear(padded[:cap(padded)])
	sealed, err := pkcs7.Encrypt(padded, certs)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSealed, err)
	}
	der, err := normalize(sealed, certs, len(plaintext))
	if err != nil {
		return nil, fmt.Errorf("%w: the library made something else than was asked for: %w", ErrNotSealed, err)
	}
	return der, nil
}

// The structures of RFC 5652, sections 3, 6.1 and 6.2.1. encryptedContent is
// written in the primitive form that DER wants.
type contentInfo struct {
	ContentType asn1.ObjectIdentifier
	Content     asn1.RawValue `asn1:"explicit,tag:0"`
}

type envelopedData struct {
	Version              int
	RecipientInfos       []keyTransRecipientInfo `asn1:"set"`
	EncryptedContentInfo encryptedContentInfo
}

type keyTransRecipientInfo struct {
	Version                int
	Issuer                 issuerAndSerialNumber
	KeyEncryptionAlgorithm pkix.AlgorithmIdentifier
	EncryptedKey           []byte
}

type issuerAndSerialNumber struct {
	Issuer asn1.RawValue
	Serial *big.Int
}

type encryptedContentInfo struct {
	ContentType                asn1.ObjectIdentifier
	ContentEncryptionAlgorithm pkix.AlgorithmIdentifier
	EncryptedContent           asn1.RawValue `asn1:"optional"`
}

// normalize reads an envelope back, checks that it is what Seal promises, and
// writes it as DER: the library wraps the content in a constructed string, which
// is BER, and leaves out the NULL that RFC 3370, section 4.2.1, demands.
func normalize(sealed []byte, certs []*x509.Certificate, plaintextLen int) ([]byte, error) {
	var outer contentInfo
	if err := unmarshalAll(sealed, &outer); err != nil {
		return nil, err
	}
	if !outer.ContentType.Equal(pkcs7.OIDEnvelopedData) {
		return nil, fmt.Errorf("content type is %s", outer.ContentType)
	}
	var data envelopedData
	if err := unmarshalAll(outer.Content.Bytes, &data); err != nil {
		return nil, err
	}
	if err := checkTransports(data, certs); err != nil {
		return nil, err
	}
	content, err := checkContent(data.EncryptedContentInfo, plaintextLen)
	if err != nil {
		return nil, err
	}
	data.EncryptedContentInfo.EncryptedContent = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: content}
	for i := range data.RecipientInfos {
		data.RecipientInfos[i].KeyEncryptionAlgorithm.Parameters = asn1.NullRawValue
	}
	inner, err := asn1.Marshal(data)
	if err != nil {
		return nil, err
	}
	// By hand, because encoding/asn1 takes a RawValue as it is and would not tag it again.
	explicit := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner}
	return asn1.Marshal(struct {
		ContentType asn1.ObjectIdentifier
		Content     asn1.RawValue
	}{pkcs7.OIDEnvelopedData, explicit})
}

// checkTransports wants one RSA key transport for each recipient and no other.
func checkTransports(data envelopedData, certs []*x509.Certificate) error {
	if data.Version != 0 || len(data.RecipientInfos) != len(certs) {
		return fmt.Errorf("version %d with %d recipients", data.Version, len(data.RecipientInfos))
	}
	for _, cert := range certs {
		found := 0
		for _, info := range data.RecipientInfos {
			if bytes.Equal(info.Issuer.Issuer.FullBytes, cert.RawIssuer) && info.Issuer.Serial.Cmp(cert.SerialNumber) == 0 &&
				info.Version == 0 && info.KeyEncryptionAlgorithm.Algorithm.Equal(pkcs7.OIDEncryptionAlgorithmRSA) &&
				len(info.EncryptedKey) == cert.PublicKey.(*rsa.PublicKey).Size() {
				found++
			}
		}
		if found != 1 {
			return fmt.Errorf("%d key transports for recipient %s", found, Recipient{cert})
		}
	}
	return nil
}

// checkContent returns the ciphertext after looking at its algorithm and length.
func checkContent(info encryptedContentInfo, plaintextLen int) ([]byte, error) {
	_, content, err := readContent(info)
	if err != nil {
		return nil, err
	}
	if want := plaintextLen + aes.BlockSize - plaintextLen%aes.BlockSize; len(content) != want {
		return nil, fmt.Errorf("%d bytes of ciphertext, want %d", len(content), want)
	}
	return content, nil
}

// readContent returns initialisation vector and ciphertext of what is encrypted with
// AES-256-CBC.
func readContent(info encryptedContentInfo) (iv, content []byte, err error) {
	algorithm := info.ContentEncryptionAlgorithm
	if !algorithm.Algorithm.Equal(pkcs7.OIDEncryptionAlgorithmAES256CBC) {
		return nil, nil, fmt.Errorf("content is encrypted with %s", algorithm.Algorithm)
	}
	// RFC 3565, 4.1: AES-IV ::= OCTET STRING (SIZE(16))
	if err := unmarshalAll(algorithm.Parameters.FullBytes, &iv); err != nil || len(iv) != aes.BlockSize {
		return nil, nil, fmt.Errorf("initialisation vector of %d bytes", len(iv))
	}
	if !info.ContentType.Equal(pkcs7.OIDData) {
		return nil, nil, fmt.Errorf("inner content type is %s", info.ContentType)
	}
	content = info.EncryptedContent.Bytes
	if info.EncryptedContent.IsCompound {
		var inner []byte
		if err := unmarshalAll(content, &inner); err != nil {
			return nil, nil, err
		}
		content = inner
	}
	return iv, content, nil
}

func unmarshalAll(der []byte, into any) error {
	rest, err := asn1.Unmarshal(der, into)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes after the end", len(rest))
	}
	return err
}
