package pivcard

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// kept is a card in a file, its byte strings in hexadecimal or, where JSON does that by
// itself, in base 64.
type kept struct {
	Serial  uint32              `json:"serial"`
	PIN     keptSecret          `json:"pin"`
	PUK     keptSecret          `json:"puk"`
	Key     string              `json:"managementKey"`
	Slots   map[string]keptSlot `json:"slots"`
	Objects map[string][]byte   `json:"objects"`
}

type keptSecret struct {
	Value string `json:"value"`
	Left  int    `json:"triesLeft"`
}

type keptSlot struct {
	Algorithm byte   `json:"algorithm"`
	Origin    byte   `json:"origin"`
	PIN       byte   `json:"pinPolicy"`
	Touch     byte   `json:"touchPolicy"`
	Key       []byte `json:"pkcs8"`
}

// Keep keeps the card in a file from now on: it is written now and after every command
// that may have changed something, with whatever secrets the card holds.
func (c *Card) Keep(file string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.file = file
	return c.write()
}

// keep writes the file after a command, if there is one.
func (c *Card) keep(ins byte) error {
	if c.file == "" || !writes(ins) {
		return nil
	}
	return c.write()
}

func (c *Card) write() error {
	k := kept{
		Serial: c.Serial, Key: hex.EncodeToString(c.key),
		PIN: keptSecret{c.pin.value, c.pin.left}, PUK: keptSecret{c.puk.value, c.puk.left},
		Slots: map[string]keptSlot{}, Objects: map[string][]byte{},
	}
	for ref, s := range c.slots {
		der, err := x509.MarshalPKCS8PrivateKey(s.key)
		if err != nil {
			return err
		}
		k.Slots[hex.EncodeToString([]byte{ref})] = keptSlot{s.algorithm, s.origin, s.pinPolicy, s.touchPolicy, der}
	}
	for tag, object := range c.objects {
		k.Objects[hex.EncodeToString([]byte(tag))] = object
	}
	text, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	return replace(c.file, text)
}

// replace writes a file as a whole or not at all.
func replace(file string, text []byte) error {
	const owner = 0o600
	if err := os.WriteFile(file+".new", text, owner); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// Open takes a card out of the file that it was kept in, and goes on keeping it there.
func Open(file string) (*Card, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var k kept
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c, err := k.card()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	c.file = file
	return c, nil
}

func (k kept) card() (*Card, error) {
	key, err := hex.DecodeString(k.Key)
	if err != nil {
		return nil, err
	}
	c := &Card{
		Serial: k.Serial, key: key, slots: map[byte]*slot{}, objects: map[string][]byte{},
		pin: secret{k.PIN.Value, k.PIN.Left}, puk: secret{k.PUK.Value, k.PUK.Left},
	}
	for name, s := range k.Slots {
		ref, err := hex.DecodeString(name)
		if err != nil || len(ref) != 1 {
			return nil, fmt.Errorf("slot %q", name)
		}
		private, err := parseKey(s.Key)
		if err != nil {
			return nil, fmt.Errorf("slot %s: %w", name, err)
		}
		c.slots[ref[0]] = &slot{s.Algorithm, s.Origin, s.PIN, s.Touch, private}
	}
	for name, object := range k.Objects {
		tag, err := hex.DecodeString(name)
		if err != nil {
			return nil, fmt.Errorf("object %q: %w", name, err)
		}
		c.objects[string(tag)] = object
	}
	return c, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a key that signs")
	}
	return signer, nil
}

// OpenMaker is the maker that is kept in a folder, or a new one that is kept there from
// now on: its root in attestation-root.pem, its key in attestation-root.key.
func OpenMaker(dir string) (*Maker, error) {
	root, key := filepath.Join(dir, "attestation-root.pem"), filepath.Join(dir, "attestation-root.key")
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return keepMaker(root, key)
	}
	certificate, err := readPEM(root)
	if err != nil {
		return nil, err
	}
	private, err := readPEM(key)
	if err != nil {
		return nil, err
	}
	m := &Maker{}
	if m.Root, err = x509.ParseCertificate(certificate); err != nil {
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	if m.key, err = parseKey(private); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return m, nil
}

func keepMaker(root, key string) (*Maker, error) {
	m, err := NewMaker()
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(m.key)
	if err != nil {
		return nil, err
	}
	if err := replace(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})); err != nil {
		return nil, err
	}
	return m, replace(root, m.RootPEM())
}

// RootPEM is the root for openssl and other programs.
func (m *Maker) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Root.Raw})
}

func readPEM(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM in it", file)
	}
	return block.Bytes, nil
}
