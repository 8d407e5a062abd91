package qualify

import (
	"errors"
	"slices"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// omittable are the attributes of a key template that a token may do without, first
// those whose default is harmless. Without CKA_TOKEN the key would be gone with the
// session, without its size or curve there is none.
func omittable(a pkcs11.Algorithm) []string {
	names := []string{"CKA_LABEL", "CKA_VERIFY", "CKA_EXTRACTABLE", "CKA_SIGN", "CKA_SENSITIVE", "CKA_PRIVATE"}
	if a.ModulusBits > 0 {
		names = append(names, "CKA_PUBLIC_EXPONENT")
	}
	return append(names, "CKA_ID")
}

// minimalOmission finds out which attributes a template must do without: none is
// tried, those of first, each one, each two, and then as few of all as can be. Only
// pkcs11.ErrTemplateRefused lets it go on; with every attempt refused it is the error.
func minimalOmission(first, names []string, try func(omit []string) error) ([]string, error) {
	refusal := try(nil)
	if !refused(refusal) {
		return nil, refusal
	}
	sets := [][]string{}
	if len(first) > 0 {
		sets = append(sets, first)
	}
	for _, n := range names {
		sets = append(sets, []string{n})
	}
	for i, n := range names {
		for _, m := range names[i+1:] {
			sets = append(sets, []string{n, m})
		}
	}
	for _, omit := range append(sets, names) {
		err := try(omit)
		switch {
		case refused(err):
		case err != nil || len(omit) <= 2:
			return omit, err
		default:
			return fewer(omit, try)
		}
	}
	return nil, refusal
}

func refused(err error) bool { return errors.Is(err, pkcs11.ErrTemplateRefused) }

// fewer puts attributes back one by one as long as the template is taken.
func fewer(omit []string, try func([]string) error) ([]string, error) {
	for _, n := range slices.Clone(omit) {
		less := slices.DeleteFunc(slices.Clone(omit), func(m string) bool { return m == n })
		err := try(less)
		switch {
		case err == nil:
			omit = less
		case !refused(err):
			return omit, err
		}
	}
	// The last attempt may have been refused: the key that counts is made now.
	return omit, try(omit)
}
