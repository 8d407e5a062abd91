package pivcard

import (
	"bytes"
	"crypto/des"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"testing"
)

// host is the other side of a card.
type host struct {
	*testing.T
	card *Card
}

func newHost(t *testing.T) (host, *Maker) {
	t.Helper()
	maker, err := NewMaker()
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(12345678, maker)
	if err != nil {
		t.Fatal(err)
	}
	h := host{t, c}
	h.selects()
	return h, maker
}

// send sends a command, in links of a chain if it is long, and fetches all of the answer.
func (h host) send(ins, p1, p2 byte, data ...byte) ([]byte, uint16) {
	h.Helper()
	for len(data) > 255 {
		if _, sw := h.raw(append([]byte{0x10, ins, p1, p2, 255}, data[:255]...)); sw != swOK {
			return nil, sw
		}
		data = data[255:]
	}
	out, sw := h.raw(append([]byte{0, ins, p1, p2, byte(len(data))}, data...))
	for sw&0xff00 == swMore {
		var more []byte
		more, sw = h.raw([]byte{0, insGetResponse, 0, 0, 0})
		out = append(out, more...)
	}
	return out, sw
}

func (h host) raw(apdu []byte) ([]byte, uint16) {
	h.Helper()
	r := h.card.Command(apdu)
	if len(r) < 2 || len(r) > 2+maxShortResponse {
		h.Fatalf("%x is answered with %d bytes", apdu, len(r))
	}
	n := len(r) - 2
	return r[:n], uint16(r[n])<<8 | uint16(r[n+1])
}

// wants sends a command and compares the status word.
func (h host) wants(sw uint16, ins, p1, p2 byte, data ...byte) []byte {
	h.Helper()
	out, got := h.send(ins, p1, p2, data...)
	if got != sw {
		h.Errorf("instruction %02X: %04X, want %04X", ins, got, sw)
	}
	return out
}

func (h host) selects() {
	h.Helper()
	h.wants(swOK, insSelect, 4, 0, applicationID()...)
}

// pins is one or two PINs as they go to the card.
func pins(values ...string) []byte {
	var out []byte
	for _, v := range values {
		out = append(append(out, v...), bytes.Repeat([]byte{0xff}, padded-len(v))...)
	}
	return out
}

func (h host) verifies(sw uint16, pin string) {
	h.Helper()
	h.wants(sw, insVerify, 0, refPIN, pins(pin)...)
}

// authenticates is the host's half of mutual authentication.
func (h host) authenticates(sw uint16, keyHex string) {
	h.Helper()
	key, err := hex.DecodeString(keyHex)
	if err != nil {
		h.Fatal(err)
	}
	block, err := des.NewTripleDESCipher(key)
	if err != nil {
		h.Fatal(err)
	}
	encrypted := h.wants(swOK, insAuthenticate, algTripleDES, refManagement, 0x7c, 2, 0x80, 0)
	witness, challenge, want := make([]byte, 8), []byte("01234567"), make([]byte, 8)
	block.Decrypt(witness, encrypted[4:])
	block.Encrypt(want, challenge)
	answer := h.wants(sw, insAuthenticate, algTripleDES, refManagement,
		tlv("\x7c", join(tlv(tagWitness, witness...), tlv(tagChallenge, challenge...))...)...)
	if sw == swOK && !bytes.Equal(answer[4:], want) {
		h.Error("the card did not prove that it has the key")
	}
}

func (h host) generates(ref, algorithm byte) {
	h.Helper()
	h.wants(swOK, insGenerate, 0, ref, 0xac, 3, 0x80, 1, algorithm)
}

// useOf is the command that uses a key.
func useOf(input ...byte) []byte {
	return tlv("\x7c", join(tlv(tagResponse), tlv(tagChallenge, input...))...)
}

// attestationOf is the card's statement of a key.
func (h host) attestationOf(ref byte) *x509.Certificate {
	h.Helper()
	c, err := x509.ParseCertificate(h.wants(swOK, insAttest, ref, 0))
	if err != nil {
		h.Fatal(err)
	}
	return c
}

// leadsTo checks an attestation's chain and what it says of the card.
func (h host) leadsTo(leaf *x509.Certificate, maker *Maker) {
	h.Helper()
	inner, _ := nested(h.wants(swOK, insGetData, 0x3f, 0xff, tlv("\x5c", []byte(objectAttestation)...)...), "\x53")
	der, _ := find(inner, "\x70")
	attester, err := x509.ParseCertificate(der)
	if err != nil {
		h.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(maker.Root)
	between.AddCert(attester)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		h.Error(err)
	}
	says := map[string][]byte{}
	for _, e := range leaf.Extensions {
		says[e.Id.String()] = e.Value
	}
	const yubico = "1.3.6.1.4.1.41482.3."
	var serial int
	if _, err := asn1.Unmarshal(says[yubico+"7"], &serial); err != nil || serial != 12345678 {
		h.Errorf("serial number %d, %v", serial, err)
	}
	if !bytes.Equal(says[yubico+"3"], version()) || len(says[yubico+"8"]) != 2 || len(says[yubico+"9"]) != 1 {
		h.Errorf("extensions are %v", says)
	}
}

func TestPUK(t *testing.T) {
	h, _ := newHost(t)
	h.wants(swOK, insChange, 0, refPIN, pins(FactoryPIN, "aB-9ef")...)
	h.wants(swBadData, insChange, 0, refPIN, pins("aB-9ef", "short")...)
	for range tries {
		h.send(insChange, 0, refPIN, pins("999999", "000000")...)
	}
	h.verifies(swBlocked, "aB-9ef")
	h.wants(0x63c2, insUnblock, 0, refPIN, pins("00000000", "654321")...)
	h.wants(swOK, insUnblock, 0, refPIN, pins(FactoryPUK, "654321")...)
	h.verifies(swOK, "654321")
	h.wants(swOK, insChange, 0, refPUK, pins(FactoryPUK, "11112222")...)
	h.wants(0x63c2, insUnblock, 0, refPIN, pins(FactoryPUK, "246810")...)
	h.wants(0x63c1, insChange, 0, refPUK, pins(FactoryPUK, "33334444")...)
	h.wants(swBlocked, insUnblock, 0, refPIN, pins(FactoryPUK, "246810")...)
	h.wants(swBlocked, insUnblock, 0, refPIN, pins("11112222", "246810")...)
	h.verifies(swOK, "654321")
}

func TestManagementKey(t *testing.T) {
	const other = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf1011121314151617"
	h, _ := newHost(t)
	h.authenticates(swNotAuthorised, other)
	h.wants(swNotAuthorised, insGenerate, 0, 0x9a, 0xac, 3, 0x80, 1, algP256)
	h.authenticates(swOK, FactoryManagementKey)
	key, err := hex.DecodeString(other)
	if err != nil {
		t.Fatal(err)
	}
	h.wants(swOK, insSetKey, 0xff, 0xff, append([]byte{algTripleDES, refManagement, 24}, key...)...)
	h.selects()
	h.authenticates(swNotAuthorised, FactoryManagementKey)
	h.authenticates(swOK, other)
}

// TestSignAndAttest signs with every kind of key and has the attestation say which it was.
func TestSignAndAttest(t *testing.T) {
	digest := sha256.Sum256([]byte("sample text"))
	block := append([]byte{0, 1}, bytes.Repeat([]byte{0xaa}, 254)...)
	for _, row := range []struct {
		name           string
		ref, algorithm byte
		pin            bool
		input          []byte
	}{
		{"P-256 in 9A", 0x9a, algP256, true, digest[:]},
		{"P-384 in 9C", 0x9c, algP384, true, digest[:]},
		{"RSA 2048 in 9D", 0x9d, algRSA2048, true, block},
		{"P-256 in 9E, which asks for no PIN", 0x9e, algP256, false, digest[:]},
		{"P-256 in a retired slot", 0x95, algP256, true, digest[:]},
	} {
		t.Run(row.name, func(t *testing.T) {
			h, maker := newHost(t)
			h.authenticates(swOK, FactoryManagementKey)
			h.generates(row.ref, row.algorithm)
			if row.pin {
				h.wants(swNotAuthorised, insAuthenticate, row.algorithm, row.ref, useOf(row.input...)...)
				h.verifies(swOK, FactoryPIN)
			}
			inner, _ := nested(h.wants(swOK, insAuthenticate, row.algorithm, row.ref, useOf(row.input...)...), "\x7c")
			signature, _ := find(inner, tagResponse)
			leaf := h.attestationOf(row.ref)
			if !signed(leaf, row.input, signature) {
				t.Error("the signature is not by the attested key")
			}
			h.leadsTo(leaf, maker)
		})
	}
}

// signed checks what the card made of an input, without any padding.
func signed(c *x509.Certificate, input, signature []byte) bool {
	switch k := c.PublicKey.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, input, signature)
	case *rsa.PublicKey:
		m := new(big.Int).Exp(new(big.Int).SetBytes(signature), big.NewInt(int64(k.E)), k.N)
		return m.Cmp(new(big.Int).SetBytes(input)) == 0
	}
	return false
}

func TestSlot9CWantsThePINEveryTime(t *testing.T) {
	h, _ := newHost(t)
	h.authenticates(swOK, FactoryManagementKey)
	h.generates(0x9a, algP256)
	h.generates(0x9c, algP256)
	use := useOf(make([]byte, 32)...)
	h.verifies(swOK, FactoryPIN)
	h.wants(swOK, insAuthenticate, algP256, 0x9c, use...)
	h.wants(swNotAuthorised, insAuthenticate, algP256, 0x9c, use...)
	h.wants(swOK, insAuthenticate, algP256, 0x9a, use...)
	h.verifies(swOK, FactoryPIN)
	h.wants(swOK, insAuthenticate, algP256, 0x9c, use...)
}

func TestObjects(t *testing.T) {
	h, _ := newHost(t)
	tag := tlv("\x5c", 0x5f, 0xc1, 5)
	h.wants(swNotFound, insGetData, 0x3f, 0xff, tag...)
	h.authenticates(swOK, FactoryManagementKey)
	object := tlv("\x53", bytes.Repeat([]byte("x"), maxObject)...)
	h.wants(swOK, insPutData, 0x3f, 0xff, join(tag, object)...)
	if got := h.wants(swOK, insGetData, 0x3f, 0xff, tag...); !bytes.Equal(got, object) {
		t.Errorf("%d bytes came back of %d", len(got), len(object))
	}
	h.wants(swNoMemory, insPutData, 0x3f, 0xff, join(tag, tlv("\x53", make([]byte, maxObject+1)...))...)
	h.wants(swOK, insPutData, 0x3f, 0xff, join(tag, tlv("\x53"))...)
	h.wants(swNotFound, insGetData, 0x3f, 0xff, tag...)
	printed := tlv("\x5c", 0x5f, 0xc1, 9)
	h.wants(swNotAuthorised, insGetData, 0x3f, 0xff, printed...)
	h.verifies(swOK, FactoryPIN)
	h.wants(swNotFound, insGetData, 0x3f, 0xff, printed...)
	if got := h.wants(swOK, insGetData, 0x3f, 0xff, tlv("\x5c", 0x7e)...); got[0] != 0x7e {
		t.Errorf("the discovery object is %x", got)
	}
}

func TestResetWhenBlocked(t *testing.T) {
	h, _ := newHost(t)
	h.authenticates(swOK, FactoryManagementKey)
	h.generates(0x9a, algP256)
	for range tries {
		h.wants(swConditions, insReset, 0, 0)
		h.send(insVerify, 0, refPIN, pins("000000")...)
	}
	for range tries {
		h.wants(swConditions, insReset, 0, 0)
		h.send(insUnblock, 0, refPIN, pins("00000000", "000000")...)
	}
	h.wants(swOK, insReset, 0, 0)
	h.verifies(swOK, FactoryPIN)
	h.wants(swNoReference, insAttest, 0x9a, 0)
	h.authenticates(swOK, FactoryManagementKey)
	h.generates(0x9a, algP256)
	h.attestationOf(0x9a) // slot F9 is still there
}

func TestMetadata(t *testing.T) {
	h, _ := newHost(t)
	h.verifies(0x63c2, "000000")
	if got := h.wants(swOK, insMetadata, 0, refPIN); !bytes.HasSuffix(got, []byte{5, 1, 1, 6, 2, 3, 2}) {
		t.Errorf("of the PIN: %x", got)
	}
	h.wants(swNoReference, insMetadata, 0, 0x9c)
	h.authenticates(swOK, FactoryManagementKey)
	h.wants(swOK, insGenerate, 0, 0x9c, 0xac, 9, 0x80, 1, algP256, 0xaa, 1, pinOnce, 0xab, 1, 2)
	if got := h.wants(swOK, insMetadata, 0, 0x9c); !bytes.HasPrefix(got, []byte{1, 1, algP256, 2, 2, pinOnce, 2, 3, 1, originGenerated, 4}) {
		t.Errorf("of 9C: %x", got)
	}
}

func TestRefuse(t *testing.T) {
	h, _ := newHost(t)
	h.card.Refuse = func(apdu []byte) uint16 {
		if apdu[1] == insVersion {
			return swMemoryFailure
		}
		return 0
	}
	h.wants(swMemoryFailure, insVersion, 0, 0)
	h.wants(swOK, insSerial, 0, 0)
}
