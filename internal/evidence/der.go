package evidence

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"go.mozilla.org/pkcs7"
)

// deepest is how many values may be in each other: a CMS message with certificates has some ten.
const deepest = 32

// parse reads a CMS message that is DER (X.690, 10) in its lengths and in how its values are in each
// other. The library takes BER as well, and on some of that which is damaged it does not come to an end.
func parse(der []byte) (*pkcs7.PKCS7, error) {
	if err := checkDER(der); err != nil {
		return nil, err
	}
	return pkcs7.Parse(der)
}

func checkDER(der []byte) error { return checkValues(der, 1, deepest) }

// checkValues checks so many values, or with 0 any number.
func checkValues(der []byte, want, depth int) error {
	if depth == 0 {
		return errors.New("its values are too deep in each other")
	}
	found := 0
	for ; len(der) > 0; found++ {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(der, &v)
		if err != nil {
			return fmt.Errorf("it is not DER: %w", err)
		}
		if v.IsCompound {
			if err := checkValues(v.Bytes, 0, depth-1); err != nil {
				return err
			}
		}
		der = rest
	}
	if want > 0 && found != want {
		return fmt.Errorf("it has %d values, wanted %d", found, want)
	}
	return nil
}
