package proof_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/internal/identity/proof"
	"github.com/usbkeyd/usbkeyd/internal/identity/tpmtest"
)

// station is a TPM with a key, and what it shows of both.
type station struct {
	soft    *tpmtest.TPM
	key     *identity.Key
	request proof.Request
}

func newStation(t *testing.T, soft *tpmtest.TPM) station {
	t.Helper()
	tpm := identity.New(soft.Device, 0)
	t.Cleanup(func() {
		if err := tpm.Close(); err != nil {
			t.Error(err)
		}
	})
	kept, err := tpm.MakeKeys()
	if err != nil {
		t.Fatal(err)
	}
	s := station{soft: soft}
	if s.key, err = tpm.LoadKey(kept); err != nil {
		t.Fatal(err)
	}
	if s.request, err = s.key.Request(); err != nil {
		t.Fatal(err)
	}
	return s
}

func nonce(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, proof.SecretLen)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestProof goes the whole way with two TPMs: each proves its own key, and neither the other's.
func TestProof(t *testing.T) {
	one, other := newStation(t, tpmtest.NewCertified(t)), newStation(t, tpmtest.New(t))
	applicant, err := proof.Parse(one.request)
	if err != nil {
		t.Fatal(err)
	}
	if !applicant.Key.Equal(one.key.Public()) {
		t.Error("another identity key")
	}
	secret := nonce(t)
	credential, encrypted, err := applicant.Challenge(secret)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := one.key.Answer(credential, encrypted); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("answered %x, %v; want %x", got, err, secret)
	}
	if got, err := other.key.Answer(credential, encrypted); err == nil {
		t.Errorf("another TPM answered %x", got)
	}
	// The same TPM with another attestation key does not answer either.
	again := station{soft: one.soft, key: one.key}
	mixed := one.request
	mixed.AK = other.request.AK
	foreign, err := proof.Parse(mixed)
	if err != nil {
		t.Fatal(err)
	}
	if credential, encrypted, err = foreign.Challenge(secret); err != nil {
		t.Fatal(err)
	}
	if got, err := again.key.Answer(credential, encrypted); err == nil {
		t.Errorf("answered %x for an attestation key that it does not have", got)
	}

	n := nonce(t)
	certified, err := one.key.Certify(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := proof.CheckCertified(one.request.AK, one.request.Key, n, certified); err != nil {
		t.Error(err)
	}
	theirs, err := other.key.Certify(n)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ak, key, nonce []byte
		proof.Certified
	}{
		"another nonce":         {one.request.AK, one.request.Key, nonce(t), certified},
		"no nonce":              {one.request.AK, one.request.Key, nil, certified},
		"another key":           {one.request.AK, other.request.Key, n, certified},
		"another TPM signs":     {one.request.AK, one.request.Key, n, theirs},
		"another TPM's, ours":   {other.request.AK, one.request.Key, n, theirs},
		"signature of another":  {one.request.AK, one.request.Key, n, proof.Certified{Attestation: certified.Attestation, Signature: theirs.Signature}},
		"signed by itself":      {one.request.Key, one.request.Key, n, certified},
		"a byte less":           {one.request.AK, one.request.Key, n, proof.Certified{Attestation: certified.Attestation[:len(certified.Attestation)-1], Signature: certified.Signature}},
		"nothing":               {one.request.AK, one.request.Key, n, proof.Certified{}},
		"the AK certified only": {one.request.AK, one.request.AK, n, certified},
	} {
		if err := proof.CheckCertified(c.ak, c.key, c.nonce, c.Certified); !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
}

// TestMadeUpAttestation: an attestation that some program has signed, with a key that is
// called an attestation key, holds no longer than its public area is believed; and what
// is no certification is none, whoever signs it.
func TestMadeUpAttestation(t *testing.T) {
	s := newStation(t, tpmtest.New(t))
	software, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ak := withKey(t, s.request.AK, &software.PublicKey)
	key, err := tpm2.Unmarshal[tpm2.TPMTPublic](s.request.Key)
	if err != nil {
		t.Fatal(err)
	}
	name, err := tpm2.ObjectName(key)
	if err != nil {
		t.Fatal(err)
	}
	n := nonce(t)
	whole := tpm2.TPMSAttest{
		Magic: tpm2.TPMGeneratedValue, Type: tpm2.TPMSTAttestCertify, ExtraData: tpm2.TPM2BData{Buffer: n},
		Attested: tpm2.NewTPMUAttest(tpm2.TPMSTAttestCertify, &tpm2.TPMSCertifyInfo{Name: *name}),
	}
	check := func(a tpm2.TPMSAttest) error {
		attestation := tpm2.Marshal(a)
		digest := sha256.Sum256(attestation)
		r, sig, err := ecdsa.Sign(rand.Reader, software, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		signature := tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash: tpm2.TPMAlgSHA256, SignatureR: parameter(r), SignatureS: parameter(sig),
		})}
		return proof.CheckCertified(ak, s.request.Key, n, proof.Certified{Attestation: attestation, Signature: tpm2.Marshal(signature)})
	}
	if err := check(whole); err != nil {
		t.Fatalf("the rows below show nothing: %v", err)
	}
	magic, kind := whole, whole
	magic.Magic++
	kind.Type = tpm2.TPMSTAttestQuote
	kind.Attested = tpm2.NewTPMUAttest(tpm2.TPMSTAttestQuote, &tpm2.TPMSQuoteInfo{})
	for name, a := range map[string]tpm2.TPMSAttest{"another magic": magic, "a quote": kind} {
		if err := check(a); !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	// And it is not that key to which a TPM answers.
	r := s.request
	r.AK = ak
	applicant, err := proof.Parse(r)
	if err != nil {
		t.Fatal(err)
	}
	credential, encrypted, err := applicant.Challenge(nonce(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.key.Answer(credential, encrypted); err == nil {
		t.Error("a TPM answered for a key of a program")
	}
}

func parameter(n *big.Int) tpm2.TPM2BECCParameter {
	return tpm2.TPM2BECCParameter{Buffer: n.FillBytes(make([]byte, 32))}
}

func withKey(t *testing.T, area []byte, key *ecdsa.PublicKey) []byte {
	t.Helper()
	return changed(t, area, func(p *tpm2.TPMTPublic) {
		point, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: point[1:33]}, Y: tpm2.TPM2BECCParameter{Buffer: point[33:]},
		})
	})
}

func changed(t *testing.T, area []byte, change func(*tpm2.TPMTPublic)) []byte {
	t.Helper()
	p, err := tpm2.Unmarshal[tpm2.TPMTPublic](area)
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	return tpm2.Marshal(*p)
}

// TestParse changes one thing of a good request a row.
func TestParse(t *testing.T) {
	good, other := newStation(t, tpmtest.NewCertified(t)).request, newStation(t, tpmtest.NewCertified(t)).request
	attributes := func(change func(*tpm2.TPMAObject)) func(*tpm2.TPMTPublic) {
		return func(p *tpm2.TPMTPublic) { change(&p.ObjectAttributes) }
	}
	key := func(change func(*tpm2.TPMTPublic)) func(*proof.Request) {
		return func(r *proof.Request) { r.Key = changed(t, r.Key, change) }
	}
	for _, row := range []struct {
		name   string
		change func(*proof.Request)
		want   string // in the error; "" for none
	}{
		{"nothing", func(*proof.Request) {}, ""},
		{"no certificate", func(r *proof.Request) { r.EKCertificate = nil }, ""},
		{"padding after the certificate", func(r *proof.Request) { r.EKCertificate = append(slices.Clone(r.EKCertificate), 0xff, 0xff) }, ""},
		{"no endorsement key", func(r *proof.Request) { r.EK = nil }, "endorsement key"},
		{"a byte after the endorsement key", func(r *proof.Request) { r.EK = append(slices.Clone(r.EK), 0) }, "endorsement key"},
		{"endorsement key by another template", func(r *proof.Request) {
			r.EK = changed(t, r.EK, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false })
		}, "template"},
		{"endorsement key without its policy", func(r *proof.Request) {
			r.EK = changed(t, r.EK, func(p *tpm2.TPMTPublic) { p.AuthPolicy = tpm2.TPM2BDigest{} })
		}, "template"},
		{"signing key for an endorsement key", func(r *proof.Request) { r.EK = r.AK }, "template"},
		{"certificate of another TPM", func(r *proof.Request) { r.EKCertificate = other.EKCertificate }, "another endorsement key"},
		{"certificate of nonsense", func(r *proof.Request) { r.EKCertificate = []byte("x") }, "endorsement certificate"},
		{"attestation key not restricted", func(r *proof.Request) { r.AK = r.Key }, "not restricted"},
		{"identity key restricted", func(r *proof.Request) { r.Key = r.AK }, "restricted"},
		{"not fixed to the TPM", key(attributes(func(a *tpm2.TPMAObject) { a.FixedTPM = false })), "not fixed"},
		{"not fixed to its parent", key(attributes(func(a *tpm2.TPMAObject) { a.FixedParent = false })), "not fixed"},
		{"brought into the TPM", key(attributes(func(a *tpm2.TPMAObject) { a.SensitiveDataOrigin = false })), "not made in the TPM"},
		{"decrypts", key(attributes(func(a *tpm2.TPMAObject) { a.Decrypt = true })), "signing alone"},
		{"does not sign", key(attributes(func(a *tpm2.TPMAObject) { a.SignEncrypt = false })), "signing alone"},
		{"another name", key(func(p *tpm2.TPMTPublic) { p.NameAlg = tpm2.TPMAlgSHA1 }), "name"},
		{"not on the curve", key(func(p *tpm2.TPMTPublic) {
			p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: parameter(big.NewInt(1)), Y: parameter(big.NewInt(1))})
		}), "identity key"},
		{"an RSA key", func(r *proof.Request) { r.Key = r.EK }, "signing alone"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := good
			row.change(&r)
			_, err := proof.Parse(r)
			switch {
			case row.want == "" && err != nil:
				t.Error(err)
			case row.want != "" && (!errors.Is(err, proof.ErrInvalid) || !strings.Contains(err.Error(), row.want)):
				t.Errorf("%v, want ErrInvalid that speaks of %q", err, row.want)
			}
		})
	}
}

// TestMaker: the endorsement certificate counts under its maker's root, and at its time.
func TestMaker(t *testing.T) {
	soft, other, none := tpmtest.NewCertified(t), tpmtest.NewCertified(t), tpmtest.New(t)
	request := newStation(t, soft).request
	applicant, err := proof.Parse(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := applicant.CheckMaker(soft.Makers, time.Now()); err != nil {
		t.Error(err)
	}
	cert, err := x509.ParseCertificate(request.EKCertificate)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo); applicant.EKSHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("the endorsement key is said to be %s", applicant.EKSHA256)
	}
	bare, err := proof.Parse(newStation(t, none).request)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"another maker":       applicant.CheckMaker(other.Makers, time.Now()),
		"no makers":           applicant.CheckMaker(nil, time.Now()),
		"issuer without root": applicant.CheckMaker(soft.Makers[1:], time.Now()),
		"clock set back":      applicant.CheckMaker(soft.Makers, time.Now().AddDate(-1, 0, 0)),
		"without certificate": bare.CheckMaker(soft.Makers, time.Now()),
	} {
		if !errors.Is(err, proof.ErrUnknownMaker) {
			t.Errorf("%s: %v, want ErrUnknownMaker", name, err)
		}
	}
}

// TestWhatAMakerSigns: under a maker's root, only a certificate for an endorsement key is one.
func TestWhatAMakerSigns(t *testing.T) {
	request := newStation(t, tpmtest.NewCertified(t)).request
	endorsement, err := x509.ParseCertificate(request.EKCertificate)
	if err != nil {
		t.Fatal(err)
	}
	makerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample maker"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	ekUsage, other := asn1.ObjectIdentifier{2, 23, 133, 8, 1}, asn1.ObjectIdentifier{2, 23, 133, 8, 3}
	for _, row := range []struct {
		name   string
		change func(*x509.Certificate)
		want   error
	}{
		{"for an endorsement key", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{ekUsage} }, nil},
		{"for that and more", func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = []asn1.ObjectIdentifier{other, ekUsage}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}, nil},
		{"for nothing that it names", func(*x509.Certificate) {}, nil},
		{"for a client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, proof.ErrNotEndorsement},
		{"for anything", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, proof.ErrNotEndorsement},
		{"for an attestation key", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{other} }, proof.ErrNotEndorsement},
		{"for a CA", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, proof.ErrNotEndorsement},
	} {
		t.Run(row.name, func(t *testing.T) {
			leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: root.NotBefore, NotAfter: root.NotAfter}
			row.change(leaf)
			sign := func(template *x509.Certificate, public any) []byte {
				der, err := x509.CreateCertificate(rand.Reader, template, root, public, makerKey)
				if err != nil {
					t.Fatal(err)
				}
				return der
			}
			maker, err := x509.ParseCertificate(sign(root, makerKey.Public()))
			if err != nil {
				t.Fatal(err)
			}
			r := request
			r.EKCertificate = sign(leaf, endorsement.PublicKey)
			a, err := proof.Parse(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.CheckMaker([]*x509.Certificate{maker}, time.Now()); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

// FuzzParse: whatever a station sends, the answer is an applicant or ErrInvalid.
func FuzzParse(f *testing.F) {
	f.Add([]byte{}, []byte{}, []byte{}, []byte{})
	f.Add(tpm2.Marshal(tpm2.RSAEKTemplate), []byte{0x30, 0}, tpm2.Marshal(tpm2.ECCSRKTemplate), tpm2.Marshal(tpm2.ECCEKTemplate))
	f.Fuzz(func(t *testing.T, ek, certificate, ak, key []byte) {
		a, err := proof.Parse(proof.Request{EK: ek, EKCertificate: certificate, AK: ak, Key: key})
		if (a == nil) != (err != nil) || err != nil && !errors.Is(err, proof.ErrInvalid) {
			t.Errorf("%v, %v", a, err)
		}
		if err := proof.CheckCertified(ak, key, make([]byte, proof.SecretLen), proof.Certified{Attestation: ek, Signature: certificate}); err == nil {
			t.Error("a proof out of nothing")
		}
	})
}
