package main

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/evidence"
)

// TestStatementAboutAFinishedKey: every finished key has one at the end of a run, which
// a third party checks by usbkeyd and by openssl, beside the certificate that pkcs11-tool
// reads from the token.
func TestStatementAboutAFinishedKey(t *testing.T) {
	s := newStation(t, 2, "ec-p256")
	if code, _, errOut := s.command("evidence", "export", "X-001", "--out", filepath.Join(s.Dir, "x")); code != exitFailure || !strings.Contains(errOut, "no journal yet") {
		t.Errorf("before the first run: exit code %d: %s", code, errOut)
	}
	s.Central.Order(t, 2)
	if code, _, errOut := s.command("run", "--drain", "--log", filepath.Join(s.Dir, "log")); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	s.CheckBatch(2)
	roots := filepath.Join(s.Central.StationDir, "central-root.pem")
	for _, u := range s.Central.Units(t) {
		file := filepath.Join(s.Dir, u.UnitId+".p7s")
		if code, out, errOut := s.command("evidence", "export", u.UnitId, "--out", file); code != exitOK || !strings.Contains(out, file) {
			t.Fatalf("export: exit code %d: %s", code, errOut)
		}
		if code, _, errOut := s.command("evidence", "export", u.UnitId, "--out", file); code != exitFailure || !strings.Contains(errOut, "not overwritten") {
			t.Errorf("export again: exit code %d: %s", code, errOut)
		}
		certificate := s.certificateOf(*u.TokenSerial)
		code, out, errOut := s.command("evidence", "verify", file, "--trust", roots, "--certificate", certificate, "-o", "json")
		var v evidenceVerdict
		if err := json.Unmarshal([]byte(out), &v); code != exitOK || err != nil {
			t.Fatalf("verify: exit code %d: %s%s (%v)", code, out, errOut, err)
		}
		st := v.Statement
		if !v.Anchored || !v.Compared || v.SignedBy != "sample-station" || st.Unit.UnitID != u.UnitId || st.Token.Serial != *u.TokenSerial ||
			st.Certificate.SHA256 != *u.CertificateSha256 || st.Certificate.Serial != *u.CertificateSerial || st.Key.Algorithm != "ec-p256" ||
			len(st.Envelopes) != 2 || len(st.Envelopes[0].Recipients) != 2 || st.Token.ModulePathSHA256 == "" || st.Token.Model != "SoftHSM v2" {
			t.Errorf("the statement: %+v", v)
		}
		grades := map[evidence.Grade]int{}
		for _, f := range st.Facts {
			grades[f.Grade]++
		}
		if grades[evidence.Proved] != 2 || grades[evidence.Claimed] != 7 || grades[evidence.Attested] != 0 {
			t.Errorf("facts: %+v", st.Facts)
		}
		text, err := exec.Command("openssl", "cms", "-verify", "-inform", "DER", "-in", file, "-CAfile", roots, "-purpose", "any").Output()
		if err != nil || !strings.Contains(string(text), *u.CertificateSha256) {
			t.Errorf("openssl: %v: %s", err, text)
		}
		if code, out, _ := s.command("evidence", "verify", file, "--trust", roots); code != exitOK || !strings.Contains(out, "The statement holds.") || !strings.Contains(out, "claimed by the module") {
			t.Errorf("as a table: exit code %d: %s", code, out)
		}
		s.badStatements(file, roots)
	}
	if code, _, errOut := s.command("evidence", "export", "X-001", "--out", filepath.Join(s.Dir, "x")); code != exitFailure || !strings.Contains(errOut, "no key was finished here") {
		t.Errorf("an unknown unit: exit code %d: %s", code, errOut)
	}
}

// certificateOf reads the leaf from the token with a serial into a PEM file.
func (s *station) certificateOf(serial string) string {
	s.t.Helper()
	for i, bay := range s.Bays {
		label, have := s.Token(i)
		if have != serial {
			continue
		}
		var id string
		for _, r := range s.Records() {
			if string(r.Token.Identity.Serial) == serial {
				id = r.Facts.KeyID.String()
			}
		}
		der := bay.Tool(s.t, "pkcs11-tool", "--module", bay.Path, "--token-label", label, "--read-object", "--type", "cert", "--id", id)
		path := filepath.Join(s.Dir, serial+".pem")
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)}), 0o600); err != nil {
			s.t.Fatal(err)
		}
		return path
	}
	s.t.Fatalf("no token %s", serial)
	return ""
}

// badStatements: there is one clear error, and no verdict.
func (s *station) badStatements(file, roots string) {
	s.t.Helper()
	der, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	changed, short := filepath.Join(s.Dir, "changed.p7s"), filepath.Join(s.Dir, "short.p7s")
	der[len(der)/3] ^= 1
	if err := errors.Join(os.WriteFile(changed, der, 0o600), os.WriteFile(short, der[:100], 0o600)); err != nil {
		s.t.Fatal(err)
	}
	trust := filepath.Join(s.Central.StationDir, "trust.pem")
	for name, row := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no roots":            {[]string{file}, exitUsage, "--trust ROOTS"},
		"roots that are none": {[]string{file, "--trust", file}, exitFailure, "--trust"},
		"other roots":         {[]string{file, "--trust", trust}, exitFailure, "do not believe it"},
		"changed":             {[]string{changed, "--trust", roots}, exitFailure, "do not believe it"},
		"cut short":           {[]string{short, "--trust", roots}, exitFailure, "do not believe it"},
		"another certificate": {[]string{file, "--trust", roots, "--certificate", trust}, exitFailure, "it contradicts itself"},
		"not there":           {[]string{"/nowhere.p7s", "--trust", roots}, exitFailure, "/nowhere.p7s"},
	} {
		code, out, errOut := s.command(append([]string{"evidence", "verify"}, row.args...)...)
		if code != row.code || !strings.Contains(errOut, row.want) || out != "" {
			s.t.Errorf("%s: exit code %d, want %d; said %q, want %q in it", name, code, row.code, errOut, row.want)
		}
	}
}
