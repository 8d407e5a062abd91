package provision

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Vault encrypts the secrets in the journal with AES-256-GCM. Each box is bound to
// the job and field that it belongs to, so that boxes cannot be exchanged.
type Vault struct{ aead cipher.AEAD }

const vaultKeyLen = 32

// OpenVault reads the key file, or makes it (0600) when journalIsNew and there is
// none, or an empty one. A missing key beside an existing journal, a key of another length and a key that others
// may read are errors: with the wrong key every PIN in the journal would be lost.
func OpenVault(path string, journalIsNew bool) (*Vault, error) {
	key, err := os.ReadFile(path)
	// A file without a byte is what a crash leaves of a key that was never written.
	unmade := errors.Is(err, fs.ErrNotExist) || err == nil && len(key) == 0
	switch {
	case unmade && journalIsNew:
		if key, err = makeVaultKey(path); err != nil {
			return nil, fmt.Errorf("journal key %s: %w", path, err)
		}
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("journal key %s is missing, but there is a journal: put the key back from where it was moved; without it the PINs of unfinished tokens cannot be read", path)
	case err != nil:
		return nil, fmt.Errorf("journal key: %w", err)
	}
	if len(key) != vaultKeyLen {
		return nil, fmt.Errorf("journal key %s is %d bytes, want %d: it is damaged", path, len(key), vaultKeyLen)
	}
	if err := onlyOwnerReads(path); err != nil {
		return nil, err
	}
	return NewVault(key)
}

// NewVault makes a vault of a 32-byte key.
func NewVault(key []byte) (*Vault, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Vault{aead}, nil
}

func makeVaultKey(path string) ([]byte, error) {
	key := make([]byte, vaultKeyLen)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, WriteDurably(path, key)
}

// seal encrypts value for one field of one job.
func (v *Vault) seal(jobID, field, value string) []byte {
	return v.aead.Seal(nil, nil, []byte(value), boxContext(jobID, field)) // #nosec G407 -- the cipher draws its nonce itself
}

// open decrypts what seal made for the same field of the same job; else ErrSecretLost.
func (v *Vault) open(jobID, field string, box []byte) (string, error) {
	value, err := v.aead.Open(nil, nil, box, boxContext(jobID, field))
	if err != nil {
		return "", fmt.Errorf("%w: %s of job %s", ErrSecretLost, field, jobID)
	}
	return string(value), nil
}

// boxContext is the associated data; job ids hold no NUL, so no two pairs give the same bytes.
func boxContext(jobID, field string) []byte {
	return []byte("usbkeyd journal\x00" + jobID + "\x00" + field)
}
