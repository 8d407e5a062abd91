package provision

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Files of the journal's key in the state folder.
const (
	plainKeyFile    = "journal.key"
	sealedKeyFile   = "journal.sealed"
	recoveryKeyFile = "journal.recovery.p7m"
)

// ErrKeySealed says that the journal's key is sealed, and was wanted plain.
const ErrKeySealed = Sentinel("the journal's key is sealed to the TPM")

// Sealing keeps the journal's key so that this machine alone can use it.
type Sealing struct {
	// Seal wraps the key, Unseal opens what Seal made.
	Seal   func(key []byte) ([]byte, error)
	Unseal func(box []byte) ([]byte, error)
	// Envelope makes the copy that the recovery officers open; nil for none.
	Envelope func(key []byte) ([]byte, error)
	// As tells in one line what the key is sealed to and who may recover it. Where that
	// has changed, both are made anew.
	As string
}

// sealedKey is the content of sealedKeyFile.
type sealedKey struct {
	Version int    `json:"version"`
	As      string `json:"as"`
	// KeySHA256 tells the right recovered key from a wrong one. The key is random, so
	// that its hash tells nothing.
	KeySHA256 []byte `json:"keySha256"`
	Box       []byte `json:"box"`
}

const sealedKeyVersion = 1

// KeyLen is the length of the journal's key in bytes.
const KeyLen = vaultKeyLen

// OpenKey opens the vault of the state folder dir, or makes its key when journalIsNew.
// With a nil sealing the key is in a file, see OpenVault; a sealed one is then
// ErrKeySealed. With a sealing a key that is still in a file is sealed first, and the
// file removed.
func OpenKey(dir string, journalIsNew bool, sealing *Sealing) (*Vault, error) {
	plain, box := filepath.Join(dir, plainKeyFile), filepath.Join(dir, sealedKeyFile)
	_, err := os.Stat(box)
	sealed := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("journal key: %w", err)
	}
	if sealing == nil {
		if sealed {
			return nil, fmt.Errorf("%w (%s)", ErrKeySealed, box)
		}
		return OpenVault(plain, journalIsNew)
	}
	if sealed {
		return openSealed(dir, sealing)
	}
	key, err := keyToSeal(plain, journalIsNew)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	if err := writeSealed(dir, key, sealing); err != nil {
		return nil, err
	}
	return openSealed(dir, sealing)
}

// keyToSeal is the key in the file, or, for a new journal, one that is never on the disk.
func keyToSeal(plain string, journalIsNew bool) ([]byte, error) {
	key, err := os.ReadFile(plain)
	if journalIsNew && (errors.Is(err, fs.ErrNotExist) || err == nil && len(key) == 0) {
		key = make([]byte, vaultKeyLen)
		_, err = rand.Read(key)
		return key, err
	}
	if _, err := OpenVault(plain, false); err != nil {
		return nil, err
	}
	return key, err
}

// openSealed unseals the key. A plain file beside it is what a crash has left of sealing.
func openSealed(dir string, sealing *Sealing) (*Vault, error) {
	in, err := readSealed(dir)
	if err != nil {
		return nil, err
	}
	key, err := in.open(sealing)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	plain := filepath.Join(dir, plainKeyFile)
	left, err := os.ReadFile(plain)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("journal key: %w", err)
	case len(left) > 0 && !bytes.Equal(left, key):
		return nil, fmt.Errorf("%s is another key than the one that is sealed beside it: find out which the journal was written with, and take the other away", plain)
	default:
		if err := errors.Join(os.Remove(plain), syncDir(dir)); err != nil {
			return nil, fmt.Errorf("journal key, which is sealed now: %w", err)
		}
	}
	if in.As != sealing.As {
		if err := writeSealed(dir, key, sealing); err != nil {
			return nil, err
		}
	}
	return NewVault(key)
}

// UseKey is OpenKey for whoever works beside the process that owns the state folder: it
// makes and seals nothing. Where that would be needed it is an error.
func UseKey(dir string, sealing *Sealing) (*Vault, error) {
	if sealing == nil {
		return OpenKey(dir, false, nil)
	}
	in, err := readSealed(dir)
	if err != nil {
		return nil, err
	}
	_, err = os.Stat(filepath.Join(dir, plainKeyFile))
	if in.As != sealing.As || !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the journal's key is to be sealed anew: start usbkeyd once, which does that (%w)", errors.Join(ErrKeySealed, err))
	}
	key, err := in.open(sealing)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return NewVault(key)
}

// Reseal seals a key that the recovery officers have opened. It must be the journal's.
func Reseal(dir string, key []byte, sealing *Sealing) error {
	in, err := readSealed(dir)
	if err != nil {
		return err
	}
	if err := in.check(key); err != nil {
		return err
	}
	return writeSealed(dir, key, sealing)
}

// open unseals the key, which must be the journal's.
func (s sealedKey) open(sealing *Sealing) ([]byte, error) {
	key, err := sealing.Unseal(s.Box)
	if err != nil {
		return nil, fmt.Errorf("journal key: %w", err)
	}
	if err := s.check(key); err != nil {
		clear(key)
		return nil, err
	}
	return key, nil
}

func (s sealedKey) check(key []byte) error {
	sum := sha256.Sum256(key)
	if len(key) != vaultKeyLen || subtle.ConstantTimeCompare(sum[:], s.KeySHA256) != 1 {
		return errors.New("this is not the journal's key")
	}
	return nil
}

func readSealed(dir string) (sealedKey, error) {
	path := filepath.Join(dir, sealedKeyFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return sealedKey{}, fmt.Errorf("journal key: %w", err)
	}
	var in sealedKey
	if err := json.Unmarshal(data, &in); err != nil || in.Version != sealedKeyVersion {
		return sealedKey{}, fmt.Errorf("journal key: %s is damaged, or of another version: put its copy back", path)
	}
	return in, nil
}

// writeSealed makes the recovery copy durable before the sealed key takes effect.
func writeSealed(dir string, key []byte, sealing *Sealing) error {
	if sealing.Envelope == nil {
		if err := os.Remove(filepath.Join(dir, recoveryKeyFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("recovery copy of the journal's key, which is not wanted any more: %w", err)
		}
	} else {
		envelope, err := sealing.Envelope(key)
		if err != nil {
			return fmt.Errorf("recovery copy of the journal's key: %w", err)
		}
		if err := WriteDurably(filepath.Join(dir, recoveryKeyFile), envelope); err != nil {
			return fmt.Errorf("recovery copy of the journal's key: %w", err)
		}
	}
	box, err := sealing.Seal(key)
	if err != nil {
		return fmt.Errorf("journal key: %w", err)
	}
	// What cannot be opened again must not take the place of what can.
	again, err := sealing.Unseal(box)
	if err != nil {
		return fmt.Errorf("journal key, sealed just now: %w", err)
	}
	defer clear(again)
	if !bytes.Equal(again, key) {
		return errors.New("journal key: the TPM opens something else than it sealed")
	}
	sum := sha256.Sum256(key)
	data, err := json.MarshalIndent(sealedKey{Version: sealedKeyVersion, As: sealing.As, KeySHA256: sum[:], Box: box}, "", "  ")
	if err != nil {
		return err
	}
	if err := WriteDurably(filepath.Join(dir, sealedKeyFile), data); err != nil {
		return fmt.Errorf("journal key: %w", err)
	}
	return nil
}
