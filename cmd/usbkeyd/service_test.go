package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// unit writes the unit file. The program is one that is there, so that systemd has
// nothing to say about that.
func unit(t *testing.T, user string, usb bool) string {
	t.Helper()
	var out, errOut bytes.Buffer
	args := []string{"service", "unit", "--program", "/bin/true", "--user", user, "--usb=" + strconv.FormatBool(usb)}
	if code := execute(args, strings.NewReader(""), &out, &errOut, wording.Words{}, notShutIn); code != exitOK {
		t.Fatalf("service unit: exit code %d\n%s", code, &errOut)
	}
	for _, want := range []string{`ExecStart=/bin/true "run" "--config" "/etc/usbkeyd/station.yaml"` + "\n", "Description=Turns approved"} {
		if !strings.Contains(out.String(), want) {
			t.Fatalf("the unit has no %q\n%s", want, &out)
		}
	}
	path := filepath.Join(t.TempDir(), "usbkeyd.service")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
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
