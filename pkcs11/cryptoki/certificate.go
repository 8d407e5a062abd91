package cryptoki

import (
	"context"
	"encoding/asn1"

	p11 "github.com/miekg/pkcs11"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// certificateNames are the parts of a certificate that PKCS#11 wants repeated as
// attributes (v2.40, section 4.6.3), each as its DER.
type certificateNames struct {
	serial, issuer, subject []byte
}

// parseCertificateNames reads just those, by the outline of RFC 5280, section
// 4.1, so that keys and signatures of any algorithm pass.
func parseCertificateNames(der []byte) (certificateNames, bool) {
	var certificate struct {
		TBS struct {
			Version   asn1.RawValue `asn1:"optional,explicit,tag:0"`
			Serial    asn1.RawValue
			Algorithm asn1.RawValue
			Issuer    asn1.RawValue
			Validity  asn1.RawValue
			Subject   asn1.RawValue
			PublicKey asn1.RawValue
			// Unique identifiers and extensions follow; a sequence may be longer than its struct.
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	rest, err := asn1.Unmarshal(der, &certificate)
	tbs := &certificate.TBS
	if err != nil || len(rest) > 0 || tbs.Serial.Tag != asn1.TagInteger ||
		tbs.Issuer.Tag != asn1.TagSequence || tbs.Subject.Tag != asn1.TagSequence {
		return certificateNames{}, false
	}
	return certificateNames{tbs.Serial.FullBytes, tbs.Issuer.FullBytes, tbs.Subject.FullBytes}, true
}

// WriteCertificate implements pkcs11.Token.
func (t *token) WriteCertificate(ctx context.Context, c pkcs11.CertificateObject) error {
	const op = "C_CreateObject"
	names, ok := parseCertificateNames(c.DER)
	if !ok {
		return &pkcs11.Error{Op: op, Kind: pkcs11.ErrTemplateRefused, Detail: "what is to be stored is no DER certificate"}
	}
	template := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_CERTIFICATE),
		p11.NewAttribute(p11.CKA_CERTIFICATE_TYPE, p11.CKC_X_509),
		p11.NewAttribute(p11.CKA_TOKEN, true),
		p11.NewAttribute(p11.CKA_SUBJECT, names.subject),
		p11.NewAttribute(p11.CKA_ISSUER, names.issuer),
		p11.NewAttribute(p11.CKA_SERIAL_NUMBER, names.serial),
		p11.NewAttribute(p11.CKA_VALUE, c.DER),
	}
	if len(c.ID) > 0 {
		template = append(template, p11.NewAttribute(p11.CKA_ID, []byte(c.ID)))
	}
	if c.Label != "" {
		template = append(template, p11.NewAttribute(p11.CKA_LABEL, c.Label))
	}
	if err := t.enter(ctx, op); err != nil {
		return err
	}
	defer t.leave()
	sess, err := t.verified(op)
	if err != nil {
		return err
	}
	_, err = t.m.ctx.CreateObject(sess, template)
	return t.call(op, err)
}
