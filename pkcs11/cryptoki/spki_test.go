package cryptoki

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"testing"
)

func wrap(t testing.TB, point []byte) []byte {
	t.Helper()
	der, err := asn1.Marshal(point)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestECPoint(t *testing.T) {
	for _, octets := range []int{24, 28, 32, 48, 66} { // P-192 to P-521
		point := make([]byte, 1+2*octets)
		if _, err := rand.Read(point); err != nil {
			t.Fatal(err)
		}
		point[0] = 0x04
		trap := bytes.Clone(point) // its first coordinate begins like the rest of an OCTET STRING that fits
		trap[1], trap[2] = byte(len(trap)-2), 0x04
		narrow := bytes.Clone(trap)
		narrow[2] = 0x02
		short := append([]byte{0x02}, point[1:1+octets]...)
		for name, p := range map[string][]byte{"point": point, "trap": trap, "narrow trap": narrow, "compressed": short} {
			for form, value := range map[string][]byte{"raw": p, "wrapped": wrap(t, p)} {
				if name == "compressed" && form == "wrapped" && octets == 66 {
					continue // 69 bytes: cannot be told from an uncompressed point of 34 octets
				}
				got, err := ecPoint(value)
				if err != nil || !bytes.Equal(got, p) {
					t.Errorf("%s of %d octets, %s: %x, %v, want %x", name, octets, form, got, err, p)
				}
			}
		}
	}
	for _, bad := range [][]byte{nil, {}, {0x04}, {0x00}, {0x04, 0x00}, {0x05, 1, 2, 3, 4}, make([]byte, 1000)} {
		if got, err := ecPoint(bad); err == nil {
			t.Errorf("%x gives the point %x", bad, got)
		}
	}
}

func TestPublicKeyInfoIsGos(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	exponent := big.NewInt(int64(rsaKey.E)).Bytes()
	for _, modulus := range [][]byte{rsaKey.N.Bytes(), append([]byte{0}, rsaKey.N.Bytes()...)} {
		got, err := rsaPublicKeyInfo(modulus, exponent)
		check(t, got, err, &rsaKey.PublicKey)
	}
	for curve, params := range map[elliptic.Curve]asn1.ObjectIdentifier{
		elliptic.P224(): {1, 3, 132, 0, 33},
		elliptic.P256(): {1, 2, 840, 10045, 3, 1, 7},
		elliptic.P384(): {1, 3, 132, 0, 34},
		elliptic.P521(): {1, 3, 132, 0, 35},
	} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		oid, err := asn1.Marshal(params)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		for _, value := range [][]byte{point, wrap(t, point)} {
			got, err := ecPublicKeyInfo(oid, value)
			check(t, got, err, &key.PublicKey)
		}
	}
}

func check(t *testing.T, got []byte, err error, key any) {
	t.Helper()
	want, wantErr := x509.MarshalPKIXPublicKey(key)
	if err != nil || wantErr != nil || !bytes.Equal(got, want) {
		t.Errorf("key is %x, %v, want %x, %v", got, err, want, wantErr)
	}
}

func TestPublicKeyInfoRefuses(t *testing.T) {
	for name, c := range map[string][2][]byte{
		"nothing":       {nil, nil},
		"zero modulus":  {{0, 0}, {1, 0, 1}},
		"zero exponent": {{0xff}, {0}},
		"huge modulus":  {bytes.Repeat([]byte{0xff}, maxRSAModulus+1), {1, 0, 1}},
	} {
		if got, err := rsaPublicKeyInfo(c[0], c[1]); err == nil {
			t.Errorf("RSA of %s: %x", name, got)
		}
	}
	point := append([]byte{4}, make([]byte, 64)...)
	for name, params := range map[string][]byte{"nothing": nil, "cut short": {0x06, 0x08, 0x2a}, "two": {0x05, 0x00, 0x05, 0x00}} {
		if got, err := ecPublicKeyInfo(params, point); err == nil {
			t.Errorf("EC with %s for parameters: %x", name, got)
		}
	}
}

func FuzzECPublicKeyInfo(f *testing.F) {
	p256 := []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p256, key.PublicKey().Bytes())
	f.Add(p256, wrap(f, key.PublicKey().Bytes()))
	f.Add([]byte{0x05, 0x00}, []byte{0x04, 0x02, 0x04, 0x04})
	f.Fuzz(func(t *testing.T, params, point []byte) {
		spki, err := ecPublicKeyInfo(params, point)
		if err != nil {
			return
		}
		var parsed subjectPublicKeyInfo
		if rest, err := asn1.Unmarshal(spki, &parsed); err != nil || len(rest) > 0 {
			t.Fatalf("%x is no SubjectPublicKeyInfo: %v", spki, err)
		}
		if !bytes.Equal(parsed.Algorithm.Parameters.FullBytes, params) || !bytes.HasSuffix(point, parsed.PublicKey.Bytes) {
			t.Errorf("%x holds neither parameters %x nor point %x", spki, params, point)
		}
	})
}

func FuzzRSAPublicKeyInfo(f *testing.F) {
	f.Add([]byte{0xc5, 0x01}, []byte{0x01, 0x00, 0x01})
	f.Fuzz(func(t *testing.T, modulus, exponent []byte) {
		spki, err := rsaPublicKeyInfo(modulus, exponent)
		if err != nil {
			return
		}
		key, err := x509.ParsePKIXPublicKey(spki)
		if err != nil {
			return // Go wants a positive exponent below 2^31
		}
		public, ok := key.(*rsa.PublicKey)
		if !ok || public.N.Cmp(new(big.Int).SetBytes(modulus)) != 0 {
			t.Errorf("%x is not the key of modulus %x", spki, modulus)
		}
	})
}
