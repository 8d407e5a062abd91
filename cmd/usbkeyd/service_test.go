package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/kardianos/service"
)

// unit writes the unit file as the service library does. The program is one that is
// there, so that systemd has nothing to say about that.
func unit(t *testing.T, user string, usb bool) string {
	t.Helper()
	quote := func(s string) string { return strconv.Quote(s) }
	text, err := template.New("unit").Funcs(template.FuncMap{"cmd": quote, "cmdEscape": func(s string) string { return s }}).Parse(systemdUnit)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "usbkeyd.service")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = text.Execute(f, struct {
		*service.Config
		Path string
	}{&service.Config{
		Description: "sample", UserName: user, Arguments: []string{"run", "--config", "/etc/usbkeyd/station.yaml"}, Option: service.KeyValue{"USB": usb},
	}, "/bin/true"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnitIsSandboxed: systemd takes both variants of the unit without a word, and
// rates what is left exposed, from 0 to 10, no higher than is written here.
func TestUnitIsSandboxed(t *testing.T) {
	for name, row := range map[string]struct {
		user string
		usb  bool
		most float64
	}{
		"through pcscd, its own user": {"daemon", false, 1.5},
		"USB by itself, its own user": {"daemon", true, 1.6},
		"through pcscd, as root":      {"", false, 1.9},
	} {
		t.Run(name, func(t *testing.T) {
			path := unit(t, row.user, row.usb)
			if out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), "usbkeyd.service") {
				t.Errorf("systemd-analyze verify: %v\n%s", err, out)
			}
			out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", path).CombinedOutput()
			found := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
			if err != nil || found == nil {
				t.Fatalf("systemd-analyze security: %v\n%s", err, out)
			}
			if level, err := strconv.ParseFloat(string(found[1]), 64); err != nil || level > row.most {
				t.Errorf("exposure %s (%v), wanted %.1f at most\n%s", found[1], err, row.most, out)
			}
		})
	}
}
