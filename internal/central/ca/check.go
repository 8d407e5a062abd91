package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// CheckDevelopment reads the keys of the CA in dir without changing anything, and
// says what it found. An error means that issuing would not work.
func CheckDevelopment(dir string, now time.Time) ([]string, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return []string{fmt.Sprintf("The folder %s is new; keys are made in it when the server starts.", dir)}, nil
	}
	var found []string
	for _, kind := range []string{"ecdsa", "rsa"} {
		h, err := openHierarchy(dir, kind)
		if err != nil {
			return found, fmt.Errorf("open the development CA: %w", err)
		}
		found = append(found, fmt.Sprintf("%s signs, until %s.", NameText(h.issuer.Subject), h.issuer.NotAfter.UTC().Format(time.DateOnly)))
		if now.After(h.issuer.NotAfter) {
			return found, fmt.Errorf("%s has expired", NameText(h.issuer.Subject))
		}
	}
	return found, nil
}
