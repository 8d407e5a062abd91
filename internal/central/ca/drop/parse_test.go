package drop

import (
	"errors"
	"strings"
	"testing"
)

// FuzzAnswerFile: no file crashes the reader, and only certificates are an answer.
func FuzzAnswerFile(f *testing.F) {
	for _, seed := range []string{
		"", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "\ufeff-----BEGIN PKCS7-----\n-----END PKCS7-----",
		"-----BEGIN CMS-----\nMCMGCSqGSIb3DQEHAqAWMBQCAQExADALBgkqhkiG9w0BBwExAA==\n-----END CMS-----\n", "0#\x06\x09*\x86H\x86\xf7\x0d\x01\x07\x02", "0\x82\xff\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		certs, err := parseAnswer(data)
		if (err == nil) != (len(certs) > 0) || err != nil && !errors.Is(err, errNotAnswer) {
			t.Errorf("%d certificates, %v", len(certs), err)
		}
		for _, c := range certs {
			if c == nil {
				t.Fatal("a certificate that is none")
			}
			keySum(c)
		}
		if reason := parseRefusal(data); reason == "" || strings.ContainsAny(reason, "\r\n\x00\x1b") || len([]rune(reason)) > maxReason+1 {
			t.Errorf("a refusal for %q", reason)
		}
	})
}
