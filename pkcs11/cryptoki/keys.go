package cryptoki

import (
	"context"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// publicExponent is F4, 65537, big-endian.
func publicExponent() []byte { return []byte{0x01, 0x00, 0x01} }

// named is an attribute with its name, by which a template can leave it out.
type named struct {
	name string
	*p11.Attribute
}

func attribute(name string, typ uint, value any) named {
	return named{name, p11.NewAttribute(typ, value)}
}

// keyPairTemplates are the smallest templates that say what the vocabulary
// promises; what the mechanism implies (class, key type) is left out, because
// modules refuse templates over attributes they did not expect.
func keyPairTemplates(t pkcs11.KeyPairTemplate) (public, private []named) {
	public = []named{
		attribute("CKA_TOKEN", p11.CKA_TOKEN, true),
		attribute("CKA_VERIFY", p11.CKA_VERIFY, true),
	}
	private = []named{
		attribute("CKA_TOKEN", p11.CKA_TOKEN, true),
		attribute("CKA_PRIVATE", p11.CKA_PRIVATE, true),
		attribute("CKA_SENSITIVE", p11.CKA_SENSITIVE, true),
		attribute("CKA_EXTRACTABLE", p11.CKA_EXTRACTABLE, false),
		attribute("CKA_SIGN", p11.CKA_SIGN, true),
	}
	if t.Algorithm.ModulusBits > 0 {
		public = append(public,
			attribute("CKA_MODULUS_BITS", p11.CKA_MODULUS_BITS, t.Algorithm.ModulusBits),
			attribute("CKA_PUBLIC_EXPONENT", p11.CKA_PUBLIC_EXPONENT, publicExponent()))
	}
	if len(t.Algorithm.ECParams) > 0 {
		public = append(public, attribute("CKA_EC_PARAMS", p11.CKA_EC_PARAMS, t.Algorithm.ECParams))
	}
	if len(t.ID) > 0 {
		id := attribute("CKA_ID", p11.CKA_ID, []byte(t.ID))
		public, private = append(public, id), append(private, id)
	}
	if t.Label != "" {
		label := attribute("CKA_LABEL", p11.CKA_LABEL, t.Label)
		public, private = append(public, label), append(private, label)
	}
	return public, private
}

// without leaves out the named attributes.
func without(template []named, omit []string) []*p11.Attribute {
	kept := make([]*p11.Attribute, 0, len(template))
	for _, a := range template {
		if !slices.Contains(omit, a.name) {
			kept = append(kept, a.Attribute)
		}
	}
	return kept
}

// unknownOmission finds a name in omit that no template has: a misspelt one
// would silently keep the attribute that the token refuses.
func unknownOmission(omit []string, templates ...[]named) (string, bool) {
	for _, name := range omit {
		known := slices.ContainsFunc(slices.Concat(templates...), func(a named) bool { return a.name == name })
		if !known {
			return name, true
		}
	}
	return "", false
}

// GenerateKeyPair implements pkcs11.Token.
func (t *token) GenerateKeyPair(ctx context.Context, k pkcs11.KeyPairTemplate) (pkcs11.Object, error) {
	const op = "C_GenerateKeyPair"
	public, private := keyPairTemplates(k)
	if name, unknown := unknownOmission(k.Omit, public, private); unknown {
		return pkcs11.Object{}, &pkcs11.Error{
			Op: op, Kind: pkcs11.ErrTemplateRefused,
			Detail: "the template has no attribute " + name + " to leave out",
		}
	}
	if err := t.enter(ctx, op); err != nil {
		return pkcs11.Object{}, err
	}
	defer t.leave()
	sess, err := t.verified(op)
	if err != nil {
		return pkcs11.Object{}, err
	}
	mechanism := []*p11.Mechanism{p11.NewMechanism(uint(k.Algorithm.Generate), nil)}
	half, secret, err := t.m.ctx.GenerateKeyPair(sess, mechanism, without(public, k.Omit), without(private, k.Omit))
	if err := t.call(op, err); err != nil {
		return pkcs11.Object{}, err
	}
	o, err := t.readGenerated(sess, half, k.Algorithm.KeyType)
	if err != nil {
		return pkcs11.Object{}, err
	}
	t.keep(half, secret, o)
	a, err := t.attributes(sess, secret, append(claimTypes(), p11.CKA_CLASS, p11.CKA_ID, p11.CKA_LABEL)...)
	if err != nil {
		return o, err
	}
	o.Claims = a.claims()
	if class, ok := a.number(p11.CKA_CLASS); ok {
		t.keepSecret(pkcs11.Object{Class: pkcs11.ObjectClass(class), ID: a[p11.CKA_ID], Label: string(a[p11.CKA_LABEL])})
	}
	return o, nil
}

// readGenerated reads the public half in one call, its key type being known. The
// id is read back because some modules choose their own.
func (t *token) readGenerated(sess p11.SessionHandle, h p11.ObjectHandle, keyType pkcs11.KeyType) (pkcs11.Object, error) {
	types := append([]uint{p11.CKA_ID, p11.CKA_LABEL}, publicKeyTypes(keyType)...)
	a, err := t.attributes(sess, h, types...)
	if err != nil {
		return pkcs11.Object{}, err
	}
	o := pkcs11.Object{Class: pkcs11.ClassPublicKey, ID: a[p11.CKA_ID], Label: string(a[p11.CKA_LABEL])}
	if len(types) > 2 {
		o.PublicKey, err = publicKeyInfo(keyType, a)
	}
	return o, err
}

// Sign implements pkcs11.Token. A key that this session did not make itself is looked up
// each time: a handle kept since the last call may mean another key.
func (t *token) Sign(ctx context.Context, id pkcs11.KeyID, m pkcs11.Mechanism, input []byte) ([]byte, error) {
	const op = "C_Sign"
	if err := t.enter(ctx, op); err != nil {
		return nil, err
	}
	defer t.leave()
	sess, err := t.session(op)
	if err != nil {
		return nil, err
	}
	mechanism := []*p11.Mechanism{p11.NewMechanism(uint(m), nil)}
	key, known := t.madeKey(id)
	if known {
		err = t.m.ctx.SignInit(sess, mechanism, key)
	}
	if !known || lostHandle(err) {
		if key, err = t.findOne(op, sess, pkcs11.ClassPrivateKey, id); err != nil {
			return nil, err
		}
		err = t.m.ctx.SignInit(sess, mechanism, key)
	}
	if err := t.call("C_SignInit", err); err != nil {
		return nil, err
	}
	signature, err := t.m.ctx.Sign(sess, input)
	return signature, t.call(op, err)
}
