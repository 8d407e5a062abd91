package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/qualify"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// qualifyBay runs module qualify on a bay.
func qualifyBay(bay pkcs11test.Bay, args ...string) (code int, out, errOut string) {
	return execute3(append([]string{"module", "qualify", "--module", bay.Path, "--env", "SOFTHSM2_CONF=" + bay.Env["SOFTHSM2_CONF"]}, args...)...)
}

func decodeReport(t *testing.T, out string) qualify.Report {
	t.Helper()
	var r qualify.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return r
}

// privateFile makes a file that only its owner can read.
func privateFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestQualifyReads: the report names what was found, and writes nothing.
func TestQualifyReads(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "样品", "12345678", "123456")
	code, out, errOut := qualifyBay(bay)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, want := range []string{
		"SoftHSM, Implementation of PKCS11", "样品", "QUESTION", "rsa4096", "SECONDS", "MEDIAN",
		"Verdict: fit with quirks, as far as reading shows", "\ntokenProfiles:\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the report does not say %q:\n%s", want, out)
		}
	}
	if !strings.Contains(errOut, "starting the module") || strings.Contains(out, "starting the module") {
		t.Errorf("progress belongs on standard error: %q", errOut)
	}
	if strings.Contains(bay.Tool(t, "softhsm2-util", "--show-slots"), "usbkeyd") {
		t.Error("a token was initialised")
	}
}

// TestQualifyWritesABlankToken: the profile loads as part of a configuration, and the
// SO PIN in the file, which only its owner can read, opens the token.
func TestQualifyWritesABlankToken(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	bay := s.Bays[0]
	code, out, errOut := qualifyBay(bay, "-o", "json")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	slot := decodeReport(t, out).Tokens[0].Slot

	dir := t.TempDir()
	pins, profile := filepath.Join(dir, "so.pin"), filepath.Join(dir, "profile.yaml")
	code, out, errOut = qualifyBay(bay, "-o", "json", "--write-token", slot, "--yes", "--so-pin-out", pins,
		"--profile-out", profile, "--algorithm", "ec-p256", "--algorithm", "ec-p384", "--key-generations", "2", "--pin-try")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	r := decodeReport(t, out)
	works := 0
	for _, a := range r.Algorithms {
		if a.Works {
			works++
		}
	}
	if !r.Fit || works != 2 || !strings.Contains(r.State, pins) || !strings.Contains(r.Destroyed, slot) {
		t.Errorf("report %+v", r)
	}
	pin, err := config.ReadSecretFile(pins) // refuses what others can read
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out+errOut, string(pin)) {
		t.Error("the SO PIN was printed")
	}
	bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--token-label", "usbkeyd qualified", "--login", "--login-type", "so",
		"--so-pin", string(pin), "--init-pin", "--new-pin", "123456")

	yaml, err := os.ReadFile(profile)
	if err != nil {
		t.Fatal(err)
	}
	s.rewrite(func(y string) string { return y + string(yaml) })
	station, err := config.Load(s.Config)
	if err != nil {
		t.Fatalf("the profile does not load: %v\n%s", err, yaml)
	}
	p, ok := station.TokenProfileFor("SoftHSM project", "SoftHSM v2")
	if !ok || p.Name != "softhsm-v2" || p.SOPIN.Length != 16 || !p.Initialise || p.UserPIN != "init" {
		t.Errorf("profile %+v", p)
	}
}

// TestProfilesLoad: the configuration takes every key that a profile can have, and
// understands it as it was meant, whatever text a token shows.
func TestProfilesLoad(t *testing.T) {
	so, user := privateFile(t, "so.pin", "12345678\n"), privateFile(t, "user.pin", "123456\n")
	usual := qualify.Profile{
		Name: "card", Manufacturer: `Maker "示例": #1 \`, Model: "3*", SOPINLength: 8, KeyGeneration: 200 * time.Second, Init: time.Minute, Call: 20 * time.Second,
		Identity: "serial", UserPIN: "init", KeyLogin: "user",
	}
	reader, single := usual, usual
	reader.Identity, reader.FactorySOPINFile = "reader", so
	single.Identity, single.KeepAsMade, single.UserPIN, single.KeyLogin, single.KeyID = "single", true, "change", "so", "02"
	single.FactorySOPINFile, single.FactoryUserPINFile, single.OmitAttributes = so, user, []string{"CKA_LABEL", "CKA_EXTRACTABLE"}
	for _, p := range []qualify.Profile{usual, reader, single} {
		s := newStation(t, 1, "ec-p256")
		s.rewrite(func(y string) string { return y + p.YAML() })
		station, err := config.Load(s.Config)
		if err != nil {
			t.Errorf("%v\n%s", err, p.YAML())
			continue
		}
		got, ok := station.TokenProfileFor(p.Manufacturer, "3a")
		if !ok || got.Name != p.Name || got.SOPIN.Length != p.SOPINLength || got.FactorySOPINFile != p.FactorySOPINFile || got.FactoryUserPINFile != p.FactoryUserPINFile ||
			got.Deadlines != (config.Deadlines{KeyGeneration: p.KeyGeneration, Init: p.Init, Call: p.Call}) || got.Identity != p.Identity ||
			got.Initialise == p.KeepAsMade || got.UserPIN != p.UserPIN || got.KeyLogin != p.KeyLogin || got.KeyID != p.KeyID || !slices.Equal(got.OmitAttributes, p.OmitAttributes) {
			t.Errorf("%+v was written, %+v read", p, got)
		}
	}
}

// TestQualifyFactoryToken: a token that comes with an SO PIN has it again afterwards,
// and no other file is left.
func TestQualifyFactoryToken(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "sample", "12345678", "123456")
	factory := privateFile(t, "factory.pin", "12345678\n")
	_, out, _ := qualifyBay(bay, "-o", "json")
	tokens := decodeReport(t, out).Tokens
	serial := tokens[slices.IndexFunc(tokens, func(k qualify.Token) bool { return k.Initialised })].Serial

	code, out, errOut := qualifyBay(bay, "--write-token", serial, "--yes", "--factory-so-pin-file", factory, "--algorithm", "ec-p256")
	if code != exitOK || !strings.Contains(out, "factorySoPinFile: \""+factory+"\"") || !strings.Contains(out, "its SO PIN is the one that was given") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if files, err := os.ReadDir(filepath.Dir(factory)); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
	bay.Tool(t, "pkcs11-tool", "--module", bay.Path, "--token-label", "usbkeyd qualified", "--login", "--login-type", "so",
		"--so-pin", "12345678", "--init-pin", "--new-pin", "123456")
}

// TestQualifyRefuses: each ends in one clear error, and the token is as it was.
func TestQualifyRefuses(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.InitToken(t, "sample", "12345678", "123456")
	_, out, _ := qualifyBay(bay, "-o", "json")
	tokens := decodeReport(t, out).Tokens
	serial := tokens[slices.IndexFunc(tokens, func(k qualify.Token) bool { return k.Initialised })].Serial
	new := filepath.Join(t.TempDir(), "so.pin")
	used := privateFile(t, "used.pin", "87654321\n")
	readable := privateFile(t, "readable.pin", "12345678\n")
	if err := os.Chmod(readable, 0o644); err != nil {
		t.Fatal(err)
	}
	none := privateFile(t, "module.so", "#!/bin/sh\n")
	for _, row := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no --yes", []string{"--write-token", serial, "--so-pin-out", new}, exitUsage, "add --yes"},
		{"nowhere to keep the SO PIN", []string{"--write-token", serial, "--yes"}, exitUsage, "--so-pin-out"},
		{"not blank", []string{"--write-token", serial, "--yes", "--so-pin-out", new}, exitFailure, "is initialised"},
		{"no such token", []string{"--write-token", "none", "--yes", "--so-pin-out", new}, exitFailure, "without --write-token"},
		{"another SO PIN", []string{"--write-token", serial, "--yes", "--factory-so-pin-file", used}, exitFailure, "has spent a try"},
		{"file with another SO PIN", []string{"--write-token", serial, "--yes", "--so-pin-out", used}, exitFailure, "another token"},
		{"readable SO PIN", []string{"--write-token", serial, "--yes", "--factory-so-pin-file", readable}, exitFailure, readable},
		{"flags for writing alone", []string{"--pin-try"}, exitUsage, "--write-token"},
		{"unknown algorithm", []string{"--write-token", serial, "--yes", "--so-pin-out", new, "--algorithm", "dsa"}, exitUsage, "dsa"},
		{"variable that loads code", []string{"--env", "LD_PRELOAD=/x.so"}, exitUsage, "LD_PRELOAD"},
		{"unknown trust", []string{"--trust", "all"}, exitUsage, "root or owner"},
		{"negative time", []string{"--hot-plug", "-1"}, exitUsage, "--hot-plug"},
		{"no module", []string{"--module", ""}, exitUsage, "--module"},
		{"not a module", []string{"--trust", "owner", "--module", none}, exitFailure, none},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, out, errOut := qualifyBay(bay, row.args...)
			if code != row.code || !strings.Contains(errOut, row.want) || strings.Count(errOut, "usbkeyd:") != 1 || out != "" {
				t.Errorf("exit code %d, said %q, printed %q", code, errOut, out)
			}
			if _, err := os.Stat(new); err == nil {
				t.Error("a file for an SO PIN is left")
			}
		})
	}
	if shown := bay.Tool(t, "softhsm2-util", "--show-slots"); !strings.Contains(shown, "sample") || strings.Contains(shown, "usbkeyd") {
		t.Errorf("the token is now: %s", shown)
	}
}

// TestQualifyNotFit: what is not fit is in the report, in the error and in the exit
// code, and no profile is made.
func TestQualifyNotFit(t *testing.T) {
	bay := pkcs11test.NewBay(t)
	bay.Env["SOFTHSM2_CONF"] = privateFile(t, "softhsm2.conf", "directories.tokendir = /nowhere\n")
	profile := filepath.Join(t.TempDir(), "profile.yaml")
	code, out, errOut := qualifyBay(bay, "--profile-out", profile)
	if code != exitFailure || !strings.Contains(out, "Verdict: not fit: start: the module does not start") || !strings.Contains(errOut, "usbkeyd: not fit: start") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	if _, err := os.Stat(profile); err == nil || strings.Contains(out, "tokenProfiles") {
		t.Error("a profile was made")
	}
}

// TestPINFile: what it holds outlives the process, and only an empty one is removed.
func TestPINFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "so.pin")
	f, err := reservePINFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reservePINFile(path); err == nil {
		t.Error("a file that is there is used again")
	}
	if err := f.keep(pkcs11.NewSOPIN("one"), pkcs11.NewSOPIN("two")); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != "one\ntwo\n" || info.Mode().Perm() != 0o600 {
		t.Errorf("file %q of mode %s, %v", data, info.Mode(), err)
	}
	if err := f.forget(); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file without use is left")
	}
}
