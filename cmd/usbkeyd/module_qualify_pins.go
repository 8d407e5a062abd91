package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// pinFile keeps the SO PIN of a token that is being qualified, for as long as the
// token may have it.
type pinFile struct {
	path string
	held bool // a PIN is in it
}

// reservePINFile makes the file before the token is touched. It must not be there
// yet: it may hold the only copy of another token's SO PIN.
func reservePINFile(path string) (*pinFile, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already and may hold the SO PIN of another token; move it away or name another file by --so-pin-out", path)
	}
	if err != nil {
		return nil, fmt.Errorf("the file for the SO PIN: %w", err)
	}
	return &pinFile{path: path}, f.Close()
}

// keep replaces what is in the file by one PIN a line, and returns once that would
// outlive a power cut.
func (p *pinFile) keep(pins ...pkcs11.SOPIN) (err error) {
	text := ""
	for _, pin := range pins {
		text += pin.Reveal() + "\n"
	}
	f, err := os.CreateTemp(filepath.Dir(p.path), filepath.Base(p.path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, writeErr := f.WriteString(text)
	err = errors.Join(writeErr, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), p.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	p.held = true
	return syncFolder(filepath.Dir(p.path))
}

// syncFolder makes a rename in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// forget says that the token has none of these PINs.
func (p *pinFile) forget() error {
	p.held = false
	return nil
}

// close removes the file unless it holds a PIN that the token may have.
func (p *pinFile) close() error {
	if p.held {
		return nil
	}
	return os.Remove(p.path)
}
