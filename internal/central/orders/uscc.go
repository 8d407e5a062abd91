package orders

import (
	"errors"
	"fmt"
	"strings"
)

// usccAlphabet is the 31 characters of GB 32100-2015, 5.2: digits and capital
// letters without I, O, S, V and Z, which are mistaken for digits. A character's
// value is its place here.
const usccAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// usccLength counts registration authority (1), kind (1), place (6), body (9) and check character (1).
const usccLength = 18

// CheckUSCC says whether a unified social credit code (统一社会信用代码) is one: 18
// characters of the alphabet, of which the last checks the others (GB 32100-2015, 5.3).
func CheckUSCC(code string) error {
	if len(code) != usccLength {
		return fmt.Errorf("must have %d characters (GB 32100-2015)", usccLength)
	}
	want, err := usccCheck(code[:usccLength-1])
	if err != nil {
		return err
	}
	if code[usccLength-1] != want {
		return errors.New("its check character is wrong (GB 32100-2015); compare it with the business licence")
	}
	return nil
}

// usccCheck computes the check character: weights are 3^i modulo 31 (GB 32100-2015, 5.3).
func usccCheck(body string) (byte, error) {
	sum, weight := 0, 1
	for i := range len(body) {
		value := strings.IndexByte(usccAlphabet, body[i])
		if value < 0 {
			return 0, errors.New("has a character that is neither a digit nor a capital letter other than I, O, S, V and Z (GB 32100-2015)")
		}
		sum += value * weight
		weight = weight * 3 % 31
	}
	return usccAlphabet[(31-sum%31)%31], nil
}
