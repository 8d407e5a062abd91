package cryptoki

import (
	"encoding/binary"
	"errors"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// attributes are values by type; what the object lacks or does not show is absent.
type attributes map[uint][]byte

// attributes reads several in one call. Some modules fail the whole call for one
// attribute that the object lacks, and the binding then drops the others, so
// that they are read one by one.
func (t *token) attributes(sess p11.SessionHandle, h p11.ObjectHandle, types ...uint) (attributes, error) {
	const op = "C_GetAttributeValue"
	got := make(attributes, len(types))
	err := t.readAttributes(sess, h, got, types...)
	switch {
	case err == nil:
		return got, nil
	case !absent(err):
		return nil, t.call(op, err)
	case len(types) == 1:
		return got, nil
	}
	for _, typ := range types {
		if err := t.readAttributes(sess, h, got, typ); err != nil && !absent(err) {
			return nil, t.call(op, err)
		}
	}
	return got, nil
}

func (t *token) readAttributes(sess p11.SessionHandle, h p11.ObjectHandle, into attributes, types ...uint) error {
	template := make([]*p11.Attribute, len(types))
	for i, typ := range types {
		template[i] = &p11.Attribute{Type: typ}
	}
	values, err := t.m.ctx.GetAttributeValue(sess, h, template)
	if err != nil {
		return err
	}
	for _, v := range values {
		if v.Value != nil {
			into[v.Type] = v.Value
		}
	}
	return nil
}

// absent tells whether reading failed only for an attribute that is not there or not shown.
func absent(err error) bool {
	return errors.Is(err, p11.Error(p11.CKR_ATTRIBUTE_TYPE_INVALID)) ||
		errors.Is(err, p11.Error(p11.CKR_ATTRIBUTE_SENSITIVE))
}

func (a attributes) claim(typ uint) pkcs11.Claim {
	v, ok := a[typ]
	switch {
	case !ok || len(v) != 1: // a CK_BBOOL is one byte
		return pkcs11.ClaimAbsent
	case v[0] == 0:
		return pkcs11.ClaimNo
	default:
		return pkcs11.ClaimYes
	}
}

// claimTypes are the attributes that a module's claims of a private key are.
func claimTypes() []uint {
	return []uint{
		p11.CKA_PRIVATE, p11.CKA_SENSITIVE, p11.CKA_EXTRACTABLE,
		p11.CKA_ALWAYS_SENSITIVE, p11.CKA_NEVER_EXTRACTABLE, p11.CKA_LOCAL, p11.CKA_SIGN,
	}
}

func (a attributes) claims() pkcs11.KeyClaims {
	return pkcs11.KeyClaims{
		Private:          a.claim(p11.CKA_PRIVATE),
		Sensitive:        a.claim(p11.CKA_SENSITIVE),
		Extractable:      a.claim(p11.CKA_EXTRACTABLE),
		AlwaysSensitive:  a.claim(p11.CKA_ALWAYS_SENSITIVE),
		NeverExtractable: a.claim(p11.CKA_NEVER_EXTRACTABLE),
		Local:            a.claim(p11.CKA_LOCAL),
		Sign:             a.claim(p11.CKA_SIGN),
	}
}

// number decodes a CK_ULONG: in the machine's byte order, of 4 bytes on Windows and 8 elsewhere.
func (a attributes) number(typ uint) (uint, bool) {
	switch v := a[typ]; len(v) {
	case 4:
		return uint(binary.NativeEndian.Uint32(v)), true
	case 8:
		return uint(binary.NativeEndian.Uint64(v)), true
	default:
		return 0, false
	}
}

// attributeTypes are what readObject asks of each class.
func attributeTypes(class pkcs11.ObjectClass) []uint {
	switch class {
	case pkcs11.ClassPublicKey:
		return []uint{p11.CKA_ID, p11.CKA_LABEL, p11.CKA_KEY_TYPE}
	case pkcs11.ClassPrivateKey:
		return append([]uint{p11.CKA_ID, p11.CKA_LABEL}, claimTypes()...)
	case pkcs11.ClassCertificate:
		return []uint{p11.CKA_ID, p11.CKA_LABEL, p11.CKA_VALUE}
	case pkcs11.ClassData: // has no CKA_ID
		return []uint{p11.CKA_LABEL}
	default:
		return []uint{p11.CKA_ID, p11.CKA_LABEL}
	}
}

// readObject reads an object; class is known when the search asked for it.
func (t *token) readObject(sess p11.SessionHandle, h p11.ObjectHandle, class *pkcs11.ObjectClass) (pkcs11.Object, error) {
	if class == nil {
		c, err := t.readClass(sess, h)
		if err != nil {
			return pkcs11.Object{}, err
		}
		class = &c
	}
	a, err := t.attributes(sess, h, attributeTypes(*class)...)
	if err != nil {
		return pkcs11.Object{}, err
	}
	o := pkcs11.Object{Class: *class, ID: a[p11.CKA_ID], Label: string(a[p11.CKA_LABEL])}
	switch *class {
	case pkcs11.ClassPublicKey:
		if keyType, ok := a.number(p11.CKA_KEY_TYPE); ok {
			o.PublicKey, err = t.readPublicKey(sess, h, pkcs11.KeyType(keyType))
		}
	case pkcs11.ClassPrivateKey:
		o.Claims = a.claims()
	case pkcs11.ClassCertificate:
		o.Certificate = a[p11.CKA_VALUE]
	}
	return o, err
}

// glance reads an object's class, id and label, and a certificate's value, in one call
// where no key is asked for its value.
func (t *token) glance(sess p11.SessionHandle, h p11.ObjectHandle, _ *pkcs11.ObjectClass) (pkcs11.Object, error) {
	if o, ok := t.madeHere(h); ok {
		return o, nil
	}
	a := make(attributes)
	types := []uint{p11.CKA_CLASS, p11.CKA_ID, p11.CKA_LABEL, p11.CKA_VALUE}
	if !t.noKey(h) || t.readAttributes(sess, h, a, types...) != nil {
		var err error
		if a, err = t.attributes(sess, h, types[:3]...); err != nil {
			return pkcs11.Object{}, err
		}
	}
	class, err := a.class()
	o := pkcs11.Object{Class: class, ID: a[p11.CKA_ID], Label: string(a[p11.CKA_LABEL])}
	if err != nil || class != pkcs11.ClassCertificate {
		return o, err
	}
	if a[p11.CKA_VALUE] == nil {
		a, err = t.attributes(sess, h, p11.CKA_VALUE)
	}
	o.Certificate = a[p11.CKA_VALUE]
	return o, err
}

func (t *token) readClass(sess p11.SessionHandle, h p11.ObjectHandle) (pkcs11.ObjectClass, error) {
	a, err := t.attributes(sess, h, p11.CKA_CLASS)
	if err != nil {
		return 0, err
	}
	return a.class()
}

func (a attributes) class() (pkcs11.ObjectClass, error) {
	class, ok := a.number(p11.CKA_CLASS)
	if !ok {
		return 0, &pkcs11.Error{Op: "C_GetAttributeValue", Kind: pkcs11.ErrGeneral, Detail: "an object shows no CKA_CLASS"}
	}
	return pkcs11.ObjectClass(class), nil
}

// publicKeyTypes are the attributes that make up a public key, nil for a key
// type that has no SubjectPublicKeyInfo here.
func publicKeyTypes(keyType pkcs11.KeyType) []uint {
	switch keyType {
	case pkcs11.KeyTypeRSA:
		return []uint{p11.CKA_MODULUS, p11.CKA_PUBLIC_EXPONENT}
	case pkcs11.KeyTypeEC:
		return []uint{p11.CKA_EC_PARAMS, p11.CKA_EC_POINT}
	default:
		return nil
	}
}

func (t *token) readPublicKey(sess p11.SessionHandle, h p11.ObjectHandle, keyType pkcs11.KeyType) ([]byte, error) {
	types := publicKeyTypes(keyType)
	if types == nil {
		return nil, nil
	}
	a, err := t.attributes(sess, h, types...)
	if err != nil {
		return nil, err
	}
	return publicKeyInfo(keyType, a)
}

// publicKeyInfo builds the DER SubjectPublicKeyInfo from attributes.
func publicKeyInfo(keyType pkcs11.KeyType, a attributes) ([]byte, error) {
	var spki []byte
	var err error
	if keyType == pkcs11.KeyTypeRSA {
		spki, err = rsaPublicKeyInfo(a[p11.CKA_MODULUS], a[p11.CKA_PUBLIC_EXPONENT])
	} else {
		spki, err = ecPublicKeyInfo(a[p11.CKA_EC_PARAMS], a[p11.CKA_EC_POINT])
	}
	if err != nil {
		return nil, &pkcs11.Error{Op: "read public key", Kind: pkcs11.ErrGeneral, Detail: err.Error()}
	}
	return spki, nil
}
