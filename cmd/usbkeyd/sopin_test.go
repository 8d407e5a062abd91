package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

// TestSOPINOfAFinishedToken: what a recovery officer gets out of escrow is what openssl
// reads there, and opens the token; with the other files there is one clear error.
func TestSOPINOfAFinishedToken(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	s.Central.Order(t, 1)
	if code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.Dir, "log")); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	label, serial := s.Token(0)
	escrows, err := s.Central.Admin.Escrows(t.Context(), serial, "")
	if err != nil || len(escrows) != 1 || len(escrows[0].Recipients) != 2 {
		t.Fatalf("escrows of token %s: %+v (%v)", serial, escrows, err)
	}
	sealed, err := s.Central.Admin.SealedSOPIN(t.Context(), escrows[0].EscrowId)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, mode os.FileMode, content []byte) string {
		path := filepath.Join(s.Dir, name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(s.Central.RecipientKey)})
	officer, sealedFile := file("officer.key", 0o600, key), file("token.p7m", 0o600, sealed)

	code, out, errOut := s.command("sopin", "open", "--p7m", sealedFile, "--key", officer, "--sha256", strings.ToUpper(escrows[0].Sha256))
	pin := strings.TrimSuffix(out, "\n")
	if code != exitOK || errOut != "" || pin != s.Central.OpenPIN(t, sealed) {
		t.Fatalf("exit code %d, %d bytes of PIN: %s", code, len(pin), errOut)
	}
	if !s.OpensAsSO(0, label, pin) {
		t.Error("the PIN from escrow does not open the token")
	}

	for name, row := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no files":                {nil, exitUsage, "--p7m FILE and --key KEY"},
		"no envelope":             {[]string{"--p7m", "/nowhere.p7m", "--key", officer}, exitFailure, "/nowhere.p7m"},
		"no key":                  {[]string{"--p7m", sealedFile, "--key", "/nowhere.key"}, exitFailure, "/nowhere.key"},
		"key that others read":    {[]string{"--p7m", sealedFile, "--key", file("open.key", 0o644, key)}, exitFailure, "open.key"},
		"envelope for key":        {[]string{"--p7m", sealedFile, "--key", sealedFile}, exitFailure, "no PEM block"},
		"key for envelope":        {[]string{"--p7m", officer, "--key", officer}, exitFailure, "no CMS EnvelopedData"},
		"another envelope":        {[]string{"--p7m", sealedFile, "--key", officer, "--sha256", strings.Repeat("0", 64)}, exitFailure, "not the envelope that was asked for"},
		"an envelope of no PIN":   {[]string{"--p7m", file("letter.p7m", 0o600, s.sealed("two\nlines")), "--key", officer}, exitFailure, "is no PIN"},
		"much too large a file":   {[]string{"--p7m", file("large.p7m", 0o600, make([]byte, maxEnvelope+1)), "--key", officer}, exitFailure, "more than"},
		"something behind a flag": {[]string{"--p7m", sealedFile, "--key", officer, "extra"}, exitUsage, "extra"},
	} {
		code, out, errOut := s.command(append([]string{"sopin", "open"}, row.args...)...)
		if code != row.code || !strings.Contains(errOut, row.want) || out != "" || strings.Contains(errOut, pin) {
			t.Errorf("%s: exit code %d, want %d; said %q, want %q in it", name, code, row.code, errOut, row.want)
		}
	}
}

// sealed is an envelope to the officer.
func (s *station) sealed(content string) []byte {
	s.t.Helper()
	officer, err := envelope.ParseRecipient(s.Central.Recipient.Raw, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := envelope.Seal([]envelope.Recipient{officer}, []byte(content))
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}
