package csr

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
)

// scene is one answer of a CA, good until a row changes it.
type scene struct {
	key     crypto.Signer // the one on the token
	profile Profile
	request Request
	leaf    *x509.Certificate                         // what the CA signs
	subject []Attribute                               // its subject
	after   func(*x509.Certificate) *x509.Certificate // done to the leaf once it is signed
	bundle  func(leaf *x509.Certificate, ca *testCA) []*x509.Certificate
	expect  func(*Expectation)
}

func goodScene(t *testing.T) *scene {
	request := sampleRequest(t)
	return &scene{
		key:     keyP256(),
		profile: sampleProfile(),
		request: request,
		subject: slices.Clone(request.Subject),
		leaf: &x509.Certificate{
			SerialNumber: new(big.Int).Lsh(big.NewInt(5), 140),
			NotBefore:    issued(), NotAfter: issued().AddDate(1, 0, 0).Add(-time.Second),
			KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
			ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageEmailProtection},
			BasicConstraintsValid: true,
			EmailAddresses:        request.Emails,
		},
		after: func(c *x509.Certificate) *x509.Certificate { return c },
		bundle: func(leaf *x509.Certificate, ca *testCA) []*x509.Certificate {
			return []*x509.Certificate{leaf, ca.intermediate, ca.root}
		},
		expect: func(*Expectation) {},
	}
}

func (s *scene) check(t *testing.T) (*Chain, error) {
	t.Helper()
	ca := theCA()
	s.leaf.RawSubject = rawSubject(s.subject)
	leaf := s.after(sign(s.leaf, ca.intermediate, s.key.Public(), ca.intermediateKey))
	e := Expectation{
		Certificates: s.bundle(leaf, ca), Anchors: []*x509.Certificate{ca.root},
		SPKI: must(x509.MarshalPKIXPublicKey(s.key.Public())), Request: s.request, Profile: compile(t, s.profile),
		Validity: Validity{Years: 1}, Now: issued().Add(time.Minute),
	}
	s.expect(&e)
	return Check(e)
}

// rawSubject writes any subject, also one that Build would refuse.
func rawSubject(subject []Attribute) []byte {
	var rdns pkix.RDNSequence
	for _, a := range subject {
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: must(parseOID(string(a.Type))), Value: a.Value}})
	}
	return must(asn1.Marshal(rdns))
}

const (
	typeC  AttributeType = "2.5.4.6"
	typeO  AttributeType = "2.5.4.10"
	typeOU AttributeType = "2.5.4.11"
	typeCN AttributeType = "2.5.4.3"
)

func (s *scene) setSubject(kind AttributeType, value string) {
	for i := range s.subject {
		if s.subject[i].Type == kind {
			s.subject[i].Value = value
		}
	}
}

func TestCheck(t *testing.T) {
	stranger := func() *x509.Certificate {
		ca := theCA()
		other := authority("另一张示例证书", 77)
		other.IsCA, other.KeyUsage = false, x509.KeyUsageDigitalSignature
		return sign(other, ca.intermediate, keyOther().Public(), ca.intermediateKey)
	}
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}
	upn := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: []byte{ // otherName beside an e-mail address
		0x30, 0x1a, 0xa0, 0x04, 0x06, 0x02, 0x2a, 0x03, 0x81, 0x12, 's', 'a', 'm', 'p', 'l', 'e', '@', 'e', 'x', 'a', 'm', 'p', 'l', 'e', '.', 'c', 'o', 'm'}}

	for _, row := range []struct {
		name   string
		change func(*scene)
		want   []error // nil: accepted
	}{
		{"as ordered", func(*scene) {}, nil},
		{"leaf last", func(s *scene) {
			s.bundle = func(l *x509.Certificate, ca *testCA) []*x509.Certificate {
				return []*x509.Certificate{ca.root, ca.intermediate, l}
			}
		}, nil},
		{"root not sent", func(s *scene) {
			s.bundle = func(l *x509.Certificate, ca *testCA) []*x509.Certificate {
				return []*x509.Certificate{ca.intermediate, l}
			}
		}, nil},
		{"unrelated certificate first", func(s *scene) {
			s.bundle = func(l *x509.Certificate, ca *testCA) []*x509.Certificate {
				return []*x509.Certificate{stranger(), l, ca.intermediate}
			}
		}, nil},
		{"unrelated certificates between and last", func(s *scene) {
			s.bundle = func(l *x509.Certificate, ca *testCA) []*x509.Certificate {
				return []*x509.Certificate{l, otherCA().root, ca.intermediate, otherCA().intermediate, stranger()}
			}
		}, nil},
		{"leaf sent twice", func(s *scene) {
			s.bundle = func(l *x509.Certificate, ca *testCA) []*x509.Certificate {
				return []*x509.Certificate{l, ca.intermediate, l}
			}
		}, nil},

		{"another unit's certificate", func(s *scene) {
			s.bundle = func(_ *x509.Certificate, ca *testCA) []*x509.Certificate {
				return []*x509.Certificate{stranger(), ca.intermediate}
			}
		}, []error{ErrWrongKey}},
		{"nothing sent", func(s *scene) {
			s.bundle = func(*x509.Certificate, *testCA) []*x509.Certificate { return nil }
		}, []error{ErrWrongKey}},
		{"two different certificates for the key", func(s *scene) {
			s.bundle = func(l *x509.Certificate, ca *testCA) []*x509.Certificate {
				second := *s.leaf
				second.SerialNumber = big.NewInt(99)
				return []*x509.Certificate{l, sign(&second, ca.intermediate, keyP256().Public(), ca.intermediateKey), ca.intermediate}
			}
		}, []error{ErrAmbiguousLeaf}},

		{"subject in another order", func(s *scene) { slices.Reverse(s.subject) }, nil},
		{"another company", func(s *scene) { s.setSubject(typeO, "另一示例有限公司") }, []error{ErrWrongSubject}},
		{"attribute missing", func(s *scene) { s.subject = s.subject[1:] }, []error{ErrWrongSubject}},
		{"attribute added", func(s *scene) { s.subject = append(s.subject, Attribute{typeOU, "示例部门"}) }, []error{ErrWrongSubject}},
		{"attribute added that may be", func(s *scene) {
			s.profile.MayAdd = []string{"OU"}
			s.subject = append(s.subject, Attribute{typeOU, "示例部门"}, Attribute{typeOU, "第二部门"})
		}, nil},
		{"forbidden attribute", func(s *scene) {
			s.profile.Forbidden = []string{"OU"}
			s.subject = append(s.subject, Attribute{typeOU, "示例部门"})
		}, []error{ErrWrongSubject}},
		{"attribute repeated", func(s *scene) { s.subject = append(s.subject, Attribute{typeC, "CN"}) }, []error{ErrWrongSubject}},
		{"second common name", func(s *scene) { s.subject = append(s.subject, Attribute{typeCN, "示例"}) }, []error{ErrWrongSubject}},
		{"full-width brackets folded by the CA", func(s *scene) {
			s.request.Subject[1].Value = "示例客车配件（厦门）有限公司"
			s.setSubject(typeO, "示例客车配件(厦门)有限公司")
		}, []error{ErrWrongSubject}},
		{"full-width brackets kept", func(s *scene) {
			s.request.Subject[1].Value = "示例客车配件（厦门）有限公司"
			s.setSubject(typeO, "示例客车配件（厦门）有限公司")
		}, nil},
		{"another unit in the common name", func(s *scene) { s.setSubject(typeCN, "示例客车配件有限公司@SAMPLE-0001-002") }, []error{ErrWrongSubject}},

		{"e-mail address missing", func(s *scene) { s.leaf.EmailAddresses = nil }, []error{ErrWrongNames}},
		{"another e-mail address", func(s *scene) { s.leaf.EmailAddresses = []string{"other@example.com"} }, []error{ErrWrongNames}},
		{"e-mail address added", func(s *scene) {
			s.leaf.EmailAddresses = []string{"sample@example.com", "other@example.com"}
		}, []error{ErrWrongNames}},
		{"host name added", func(s *scene) { s.leaf.DNSNames = []string{"host.example.com"} }, []error{ErrWrongNames}},
		{"other name added", func(s *scene) { s.leaf.EmailAddresses, s.leaf.ExtraExtensions = nil, []pkix.Extension{upn} }, []error{ErrWrongNames}},

		{"key usage bit missing", func(s *scene) { s.leaf.KeyUsage = x509.KeyUsageDigitalSignature }, []error{ErrWrongUsage}},
		{"key usage bit added", func(s *scene) { s.leaf.KeyUsage |= x509.KeyUsageKeyEncipherment }, []error{ErrWrongUsage}},
		{"key usage absent", func(s *scene) { s.leaf.KeyUsage = 0 }, []error{ErrWrongUsage}},
		{"extended key usage missing", func(s *scene) { s.leaf.ExtKeyUsage = s.leaf.ExtKeyUsage[:1] }, []error{ErrWrongUsage}},
		{"extended key usage added", func(s *scene) {
			s.leaf.ExtKeyUsage = append(s.leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		}, []error{ErrWrongUsage}},
		{"unnamed extended key usage added", func(s *scene) {
			s.leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 99999, 2}}
		}, []error{ErrWrongUsage}},
		{"unnamed extended key usage expected", func(s *scene) {
			s.profile.ExtKeyUsage = append(s.profile.ExtKeyUsage, "1.3.6.1.4.1.99999.2")
			s.leaf.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 4, 1, 99999, 2}}
		}, nil},
		{"leaf is a CA", func(s *scene) { s.leaf.IsCA = true }, []error{ErrWrongUsage}},
		{"leaf without basic constraints", func(s *scene) { s.leaf.BasicConstraintsValid = false }, nil},

		{"validity at the end of the tolerance", func(s *scene) { s.leaf.NotAfter = issued().AddDate(1, 0, 1) }, nil},
		{"validity too long", func(s *scene) { s.leaf.NotAfter = issued().AddDate(1, 0, 1).Add(time.Second) }, []error{ErrWrongValidity}},
		{"validity too short", func(s *scene) { s.leaf.NotAfter = issued().AddDate(1, 0, -2) }, []error{ErrWrongValidity}},
		{"two years instead of one", func(s *scene) { s.leaf.NotAfter = issued().AddDate(2, 0, 0) }, []error{ErrWrongValidity}},
		{"begins within the clock tolerance", func(s *scene) { s.leaf.NotBefore = issued().Add(9 * time.Minute) }, nil},
		{"begins in the future", func(s *scene) { s.leaf.NotBefore = issued().Add(12 * time.Minute) }, []error{ErrWrongValidity}},
		{"begins long before the request", func(s *scene) {
			s.leaf.NotBefore, s.leaf.NotAfter = issued().AddDate(0, 0, -2), issued().AddDate(1, 0, -2)
		}, []error{ErrWrongValidity}},
		{"collected three days after the request", func(s *scene) {
			s.expect = func(e *Expectation) { e.Requested, e.Now = issued(), issued().AddDate(0, 0, 3) }
		}, nil},
		{"expired", func(s *scene) {
			s.expect = func(e *Expectation) { e.Requested, e.Now = issued(), issued().AddDate(1, 0, 2) }
		}, []error{ErrExpired}},

		{"another root configured", func(s *scene) {
			s.expect = func(e *Expectation) { e.Anchors = []*x509.Certificate{otherCA().root} }
		}, []error{ErrUntrusted}},
		{"intermediate missing", func(s *scene) {
			s.bundle = func(l *x509.Certificate, ca *testCA) []*x509.Certificate { return []*x509.Certificate{l, ca.root} }
		}, []error{ErrUntrusted}},
		{"leaf configured as anchor", func(s *scene) {
			s.expect = func(e *Expectation) { e.Anchors = e.Certificates[:1] }
		}, []error{ErrUntrusted}},
		{"issuers expired", func(s *scene) {
			s.leaf.NotBefore, s.leaf.NotAfter = issued().AddDate(11, 0, 0), issued().AddDate(12, 0, 0)
			s.expect = func(e *Expectation) { e.Now = issued().AddDate(11, 0, 0) }
		}, []error{ErrExpired}},
		{"issuer allows other usages only", func(s *scene) {
			var inter *x509.Certificate
			s.after = func(*x509.Certificate) *x509.Certificate {
				ca := theCA()
				template := authority("受限示例下级", 3)
				template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
				inter = sign(template, ca.root, ca.intermediateKey.Public(), ca.rootKey)
				return sign(s.leaf, inter, keyP256().Public(), ca.intermediateKey)
			}
			s.bundle = func(l *x509.Certificate, _ *testCA) []*x509.Certificate { return []*x509.Certificate{l, inter} }
		}, []error{ErrWrongUsage}},
		{"signature of another CA's key", func(s *scene) {
			s.after = func(c *x509.Certificate) *x509.Certificate {
				return resign(c, otherCA().intermediateKey, func(*tbsCertificate) {})
			}
		}, []error{ErrUntrusted}},

		{"serial number of 21 octets", func(s *scene) {
			s.after = func(c *x509.Certificate) *x509.Certificate {
				return resign(c, theCA().intermediateKey, func(t *tbsCertificate) { t.Serial = new(big.Int).Lsh(big.NewInt(1), 159) })
			}
		}, []error{ErrWrongSerial}},
		{"serial number zero", func(s *scene) {
			s.after = func(c *x509.Certificate) *x509.Certificate {
				return resign(c, theCA().intermediateKey, func(t *tbsCertificate) { t.Serial = new(big.Int) })
			}
		}, []error{ErrWrongSerial}},
		{"signed with SHA-1", func(s *scene) {
			s.after = func(c *x509.Certificate) *x509.Certificate {
				return resign(c, theCA().intermediateKey, func(t *tbsCertificate) {
					t.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1} // ecdsa-with-SHA1, RFC 3279
				})
			}
		}, []error{ErrWeakSignature, ErrUntrusted}},
		{"unknown critical extension", func(s *scene) { s.leaf.ExtraExtensions = []pkix.Extension{critical} }, []error{ErrCriticalExtension}},

		{"everything at once", func(s *scene) {
			s.setSubject(typeO, "另一示例有限公司")
			s.leaf.EmailAddresses = nil
			s.leaf.KeyUsage = x509.KeyUsageKeyAgreement
			s.leaf.NotAfter = issued().AddDate(3, 0, 0)
			s.leaf.ExtraExtensions = []pkix.Extension{critical}
			s.expect = func(e *Expectation) { e.Anchors = []*x509.Certificate{otherCA().root} }
		}, []error{ErrCriticalExtension, ErrWrongSubject, ErrWrongNames, ErrWrongUsage, ErrWrongValidity, ErrUntrusted}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := goodScene(t)
			row.change(s)
			chain, err := s.check(t)
			if len(row.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if !samePublicKey(chain.Leaf.PublicKey, keyP256().Public()) || len(chain.Intermediates) != 1 || !chain.Root.Equal(theCA().root) {
					t.Errorf("chain is %v", chain)
				}
				return
			}
			var mismatch *MismatchError
			if !errors.As(err, &mismatch) || chain != nil {
				t.Fatalf("got %v and chain %v, want a MismatchError", err, chain)
			}
			for _, want := range row.want {
				if !errors.Is(err, want) {
					t.Errorf("%q is missing in: %v", want, err)
				}
			}
			for _, p := range mismatch.Problems {
				if !slices.Contains(row.want, error(p.Reason)) {
					t.Errorf("not expected: %v", p)
				}
			}
		})
	}
}

func TestCheckExplainsWhatEyesPassOver(t *testing.T) {
	for _, row := range []struct{ want, got, note string }{
		{"示例（厦门）", "示例(厦门)", "full-width"},
		{"Sample Co", "SAMPLE CO", "case"},
		{"示例 有限公司", "示例有限公司", "blanks"},
		{"示例甲", "示例乙", ""},
	} {
		s := goodScene(t)
		s.request.Subject[1].Value = row.want
		s.setSubject(typeO, row.got)
		_, err := s.check(t)
		var mismatch *MismatchError
		if !errors.As(err, &mismatch) || len(mismatch.Problems) != 1 {
			t.Fatalf("%q and %q: %v", row.want, row.got, err)
		}
		if p := mismatch.Problems[0]; p.Field != "subject.O" || !strings.Contains(p.Note, row.note) || (row.note == "") != (p.Note == "") {
			t.Errorf("%q and %q: %+v", row.want, row.got, p)
		}
	}
}

// A CA writes text in its own encoding; BMPString is met in practice.
func TestCheckSubjectIgnoresEncoding(t *testing.T) {
	s := goodScene(t)
	s.after = func(c *x509.Certificate) *x509.Certificate {
		return resign(c, theCA().intermediateKey, func(tbs *tbsCertificate) {
			var rdns pkix.RDNSequence
			for _, a := range s.subject {
				var bmp []byte
				for _, c := range a.Value {
					bmp = append(bmp, byte(c>>8), byte(c))
				}
				rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: must(parseOID(string(a.Type))), Value: asn1.RawValue{Tag: asn1.TagBMPString, Bytes: bmp}}})
			}
			tbs.Subject = asn1.RawValue{FullBytes: must(asn1.Marshal(rdns))}
		})
	}
	if _, err := s.check(t); err != nil {
		t.Fatal(err)
	}
}

func TestCheckEveryKindOfKey(t *testing.T) {
	for name, key := range map[string]crypto.Signer{"RSA": keyRSA(), "P-256": keyP256(), "P-384": keyP384()} {
		s := goodScene(t)
		s.key = key
		if chain, err := s.check(t); err != nil || !samePublicKey(chain.Leaf.PublicKey, key.Public()) {
			t.Errorf("%s: %v", name, err)
		}
		s.expect = func(e *Expectation) { e.SPKI = must(x509.MarshalPKIXPublicKey(keyOther().Public())) }
		if _, err := s.check(t); !errors.Is(err, ErrWrongKey) {
			t.Errorf("%s for another key: %v", name, err)
		}
	}
}

func TestCheckLeapDay(t *testing.T) {
	day := time.Date(2028, 2, 29, 8, 0, 0, 0, time.UTC)
	s := goodScene(t)
	s.leaf.NotBefore, s.leaf.NotAfter = day, time.Date(2029, 3, 1, 8, 0, 0, 0, time.UTC)
	s.expect = func(e *Expectation) { e.Now = day }
	if _, err := s.check(t); err != nil {
		t.Fatal(err)
	}
}

func TestCheckIncompleteExpectation(t *testing.T) {
	for name, change := range map[string]func(*Expectation){
		"profile":  func(e *Expectation) { e.Profile = nil },
		"anchors":  func(e *Expectation) { e.Anchors = nil },
		"subject":  func(e *Expectation) { e.Request.Subject = nil },
		"time":     func(e *Expectation) { e.Now = time.Time{} },
		"validity": func(e *Expectation) { e.Validity = Validity{} },
		"key":      func(e *Expectation) { e.SPKI = []byte{0x30, 0} },
	} {
		s := goodScene(t)
		s.expect = change
		_, err := s.check(t)
		var mismatch *MismatchError
		if err == nil || errors.As(err, &mismatch) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}
