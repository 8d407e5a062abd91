//go:build !linux

package cups

import "errors"

// Supported says why mailers are not printed on this system; nil where they are.
func Supported() error {
	return errors.New("PIN mailers are printed on Linux only, through CUPS: deliver the PINs of this station sealed")
}

func inMemory(string) error { return Supported() }

func userName() string { return "anonymous" }
