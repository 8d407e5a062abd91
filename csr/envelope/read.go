package envelope

import (
	"crypto/aes"
	"fmt"

	"go.mozilla.org/pkcs7"
)

// Sealed is what stands in an envelope, for those who open it: there is no code here
// that does.
type Sealed struct {
	// Keys are the content's AES-256 key, encrypted to each recipient by RSA with PKCS#1
	// v1.5 padding (RFC 8017, 7.2).
	Keys [][]byte
	// IV is the initialisation vector, Content the ciphertext in CBC with the padding of
	// RFC 5652, 6.3: a multiple of 16 bytes, at least one block.
	IV, Content []byte
}

// Read takes an envelope apart. It takes what Seal makes and its like: DER, RSA key
// transports, AES-256-CBC; openssl cms makes the same. Anything else is ErrNotSealed.
func Read(der []byte) (Sealed, error) {
	fail := func(err error) (Sealed, error) {
		return Sealed{}, fmt.Errorf("%w: no CMS EnvelopedData in DER with RSA and AES-256-CBC: %w", ErrNotSealed, err)
	}
	var outer contentInfo
	if err := unmarshalAll(der, &outer); err != nil {
		return fail(err)
	}
	if !outer.ContentType.Equal(pkcs7.OIDEnvelopedData) {
		return fail(fmt.Errorf("content type is %s", outer.ContentType))
	}
	var data envelopedData
	if err := unmarshalAll(outer.Content.Bytes, &data); err != nil {
		return fail(err)
	}
	var out Sealed
	for _, info := range data.RecipientInfos {
		if !info.KeyEncryptionAlgorithm.Algorithm.Equal(pkcs7.OIDEncryptionAlgorithmRSA) {
			return fail(fmt.Errorf("a key is encrypted with %s", info.KeyEncryptionAlgorithm.Algorithm))
		}
		out.Keys = append(out.Keys, info.EncryptedKey)
	}
	var err error
	if out.IV, out.Content, err = readContent(data.EncryptedContentInfo); err != nil {
		return fail(err)
	}
	if n := len(out.Content); n == 0 || n%aes.BlockSize != 0 {
		return fail(fmt.Errorf("%d bytes of ciphertext", n))
	}
	return out, nil
}
