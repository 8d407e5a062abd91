package csr

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.mozilla.org/pkcs7"
)

func sampleBundle() ([]*x509.Certificate, []byte) {
	certs := []*x509.Certificate{theCA().intermediate, theCA().root, otherCA().root}
	return certs, must(EncodeBundle(certs))
}

func TestBundleThereAndBack(t *testing.T) {
	certs, der := sampleBundle()
	got, err := ParseBundle(der)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(certs, got, (*x509.Certificate).Equal) {
		t.Error("other certificates came back")
	}
	if out := openssl(t, der, "pkcs7", "-inform", "DER", "-print_certs", "-noout"); strings.Count(out, "subject=") != 3 {
		t.Errorf("openssl pkcs7 sees:\n%s", out)
	}
	if out := openssl(t, der, "cms", "-cmsout", "-print", "-noout", "-inform", "DER"); strings.Count(out, "d.certificate:") != 3 || !strings.Contains(out, "<EMPTY>") {
		t.Errorf("openssl cms sees:\n%s", out)
	}
	// Repeats are dropped.
	if got := must(ParseBundle(must(EncodeBundle(append(certs, certs...))))); len(got) != 3 {
		t.Errorf("%d certificates", len(got))
	}
}

func TestBundleFromOpenSSL(t *testing.T) {
	file := filepath.Join(t.TempDir(), "certs.pem")
	var all []byte
	for _, c := range []*x509.Certificate{theCA().root, theCA().intermediate} {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if err := os.WriteFile(file, all, 0o600); err != nil {
		t.Fatal(err)
	}
	der := []byte(openssl(t, nil, "crl2pkcs7", "-nocrl", "-certfile", file, "-outform", "DER"))
	if certs, err := ParseBundle(der); err != nil || len(certs) != 2 {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
	text := base64.StdEncoding.EncodeToString(der)
	var lines strings.Builder
	for i := 0; i < len(text); i += 64 {
		lines.WriteString(text[i:min(i+64, len(text))] + "\r\n")
	}
	if certs, err := DecodeBundleBase64([]byte(lines.String())); err != nil || len(certs) != 2 {
		t.Errorf("base64: %d certificates, %v", len(certs), err)
	}
}

func TestParseBundleRefuses(t *testing.T) {
	certs, good := sampleBundle()
	ca := theCA()
	signed := func(content []byte, detach bool) []byte {
		sd := must(pkcs7.NewSignedData(content))
		sd.SetDigestAlgorithm(pkcs7.OIDDigestAlgorithmSHA256)
		if err := sd.AddSigner(ca.intermediate, ca.intermediateKey, pkcs7.SignerInfoConfig{}); err != nil {
			t.Fatal(err)
		}
		if detach {
			sd.Detach()
		}
		return must(sd.Finish())
	}
	content := must(pkcs7.NewSignedData([]byte("content")))
	content.AddCertificate(ca.root)
	broken := bytes.Replace(good, ca.root.RawTBSCertificate[:12], append([]byte{0x02}, ca.root.RawTBSCertificate[1:12]...), 1)

	for _, row := range []struct {
		name string
		data []byte
		says string
	}{
		{"nothing", nil, "nothing"},
		{"HTML", []byte("\n<!DOCTYPE html><html></html>"), "HTML"},
		{"JSON", []byte(`{"error":"busy"}`), "JSON"},
		{"PEM", pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: good}), "PEM"},
		{"base64", []byte(base64.StdEncoding.EncodeToString(good)), "base64"},
		{"garbage", []byte{1, 2, 3}, "not ASN.1"},
		{"cut short", good[:len(good)-1], "ContentInfo"},
		{"bytes after it", append(slices.Clone(good), 0), "1 bytes after"},
		{"indefinite length", append([]byte{0x30, 0x80}, good[4:]...), "BER"},
		{"bare certificate", ca.root.Raw, "bare certificate"},
		{"too large", make([]byte, MaxBundle+1), "at most"},
		{"no certificates", noCertificates(), "no certificates"},
		{"too many certificates", manyCertificates(MaxBundleCertificates + 1), "more than 20"},
		{"signed", signed(nil, true), "signed"},
		{"signed with content", signed([]byte("content"), false), "signed"},
		{"content without signer", must(content.Finish()), "content"},
		{"another content type", must(asn1.Marshal(struct {
			Type    asn1.ObjectIdentifier
			Content []byte `asn1:"explicit,tag:0"`
		}{pkcs7.OIDData, []byte("x")})), "not SignedData"},
		{"broken certificate", broken, "certificate 2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := ParseBundle(row.data)
			if !errors.Is(err, ErrBadBundle) || got != nil {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), row.says) {
				t.Errorf("%q does not say %q", err, row.says)
			}
		})
	}
	for name, body := range map[string]string{"HTML": "<html>", "URL alphabet": "MI__", "padding missing": "MIIB", "rest of a line": "MIIB=x", "empty": ""} {
		if _, err := DecodeBundleBase64([]byte(body)); !errors.Is(err, ErrBadBundle) {
			t.Errorf("base64 %s: %v", name, err)
		}
	}
	for n, certs := range map[string][]*x509.Certificate{"none": nil, "too many": slices.Repeat(certs, 7)} {
		if _, err := EncodeBundle(certs); !errors.Is(err, ErrBadBundle) {
			t.Errorf("encoding %s: %v", n, err)
		}
	}
}

// rawBundle wraps any [0] CertificateSet, RFC 5652, 5.1.
func rawBundle(set []byte) []byte {
	type encap struct{ Type asn1.ObjectIdentifier }
	inner := must(asn1.Marshal(struct {
		Version int
		Digests asn1.RawValue
		Content encap
		Certs   asn1.RawValue
		Signers asn1.RawValue
	}{1, asn1.RawValue{FullBytes: []byte{0x31, 0}}, encap{pkcs7.OIDData},
		asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: set}, asn1.RawValue{FullBytes: []byte{0x31, 0}}}))
	return must(asn1.Marshal(struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue
	}{pkcs7.OIDSignedData, asn1.RawValue{Class: 2, Tag: 0, IsCompound: true, Bytes: inner}}))
}

func noCertificates() []byte { return rawBundle(nil) }

func manyCertificates(n int) []byte { return rawBundle(bytes.Repeat(theCA().root.Raw, n)) }

func TestParseBundleTwenty(t *testing.T) {
	if certs, err := ParseBundle(manyCertificates(MaxBundleCertificates)); err != nil || len(certs) != 1 {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
}

func FuzzParseBundle(f *testing.F) {
	_, der := sampleBundle()
	f.Add(der)
	f.Add(noCertificates())
	f.Add([]byte("<html>"))
	f.Add(theCA().root.Raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := ParseBundle(data)
		if err != nil {
			if !errors.Is(err, ErrBadBundle) {
				t.Errorf("not a typed error: %v", err)
			}
			return
		}
		again, err := ParseBundle(must(EncodeBundle(certs)))
		if err != nil || !slices.EqualFunc(certs, again, (*x509.Certificate).Equal) {
			t.Errorf("does not come back: %v", err)
		}
	})
}

func FuzzDecodeBundleBase64(f *testing.F) {
	_, der := sampleBundle()
	f.Add([]byte(base64.StdEncoding.EncodeToString(der)))
	f.Add([]byte("MII=\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := DecodeBundleBase64(body); err != nil && !errors.Is(err, ErrBadBundle) {
			t.Errorf("not a typed error: %v", err)
		}
	})
}
