package keycheck

import (
	"bytes"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
	"testing"
)

// OpenSSL as a witness: what it makes is read as it is meant, and the weak keys made
// here are public keys to others.

func openssl(t *testing.T, in []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	var out, complaint bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &complaint
	if err := cmd.Run(); err != nil {
		t.Fatalf("openssl %s: %v: %s", strings.Join(args, " "), err, complaint.String())
	}
	return out.Bytes()
}

func TestKeysOfOpenSSL(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		make []string
		want Want
		is   error
	}{
		{"RSA-2048", []string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, Want{ModulusBits: 2048}, nil},
		{"RSA-2048, e = 3", []string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3"}, Want{ModulusBits: 2048}, ErrExponent},
		{"RSA-1024", []string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"}, Want{ModulusBits: 2048}, ErrModulusSize},
		{"RSA-PSS", []string{"-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:1024"}, Want{ModulusBits: 2048}, ErrKeyType},
		{"P-256", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, p256(), nil},
		{"P-384", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, p384(), nil},
		{"P-384 for P-256", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"}, p256(), ErrCurve},
		{"secp256k1", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"}, p256(), ErrCurve},
		{"P-256 in explicit parameters", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-pkeyopt", "ec_param_enc:explicit"}, p256(), ErrCurve},
		{"Ed25519", []string{"-algorithm", "ED25519"}, p256(), ErrKeyType},
	} {
		t.Run(row.name, func(t *testing.T) {
			key := openssl(t, nil, append([]string{"genpkey"}, row.make...)...)
			spki := openssl(t, key, "pkey", "-pubout", "-outform", "DER")
			wantError(t, gate().Check(spki, row.want), row.is)
		})
	}
	t.Run("P-256 compressed", func(t *testing.T) {
		key := openssl(t, nil, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
		spki := openssl(t, key, "pkey", "-pubout", "-outform", "DER", "-ec_conv_form", "compressed")
		wantError(t, gate().Check(spki, p256()), ErrPoint)
	})
}

// TestOpenSSLReadsTheWeakKey: it has nothing against primes that are next to each other.
func TestOpenSSLReadsTheWeakKey(t *testing.T) {
	t.Parallel()
	p := prime(t, 1024)
	n := mul(p, nextPrime(new(big.Int).Add(p, big.NewInt(2))))
	spki := rsaSPKI(t, n, f4())
	if got := string(openssl(t, spki, "rsa", "-pubin", "-inform", "DER", "-noout", "-modulus")); strings.TrimSpace(got) != fmt.Sprintf("Modulus=%X", n) {
		t.Errorf("OpenSSL reads %s", got)
	}
	openssl(t, spki, "pkey", "-pubin", "-inform", "DER", "-noout", "-pubcheck")
	wantError(t, gate().Check(spki, Want{ModulusBits: 2048}), ErrClosePrimes)
}
