package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/wording"
)

// packaging is where the packages' own files are.
const packaging = "../../scripts/package.d"

// TestPackagedConfiguration: as it is installed it is refused, and every field that is to be
// filled in is named; what is there already is right.
func TestPackagedConfiguration(t *testing.T) {
	var out, errOut strings.Builder
	code := execute([]string{"--config", filepath.Join(packaging, "station.yaml"), "config", "check"}, strings.NewReader(""), &out, &errOut, wording.Words{}, notShutIn)
	var fields []string
	for _, m := range regexp.MustCompile(`(?m)^(?:usbkeyd: \S+: )?([a-z][A-Za-z.]*): `).FindAllStringSubmatch(errOut.String(), -1) {
		fields = append(fields, m[1])
	}
	want := []string{"station", "central.urls", "central.trust", "recipients.userPin", "recipients.soPin", "certificateTrust", "modules", "products"}
	if code != exitConfig || !slices.Equal(fields, want) {
		t.Errorf("exit code %d, fields %q\n%s", code, fields, &errOut)
	}
}

// TestPackagedServerUnit: systemd takes the central server's unit without a word.
func TestPackagedServerUnit(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(packaging, "usbkey-central.service"))
	if err != nil {
		t.Fatal(err)
	}
	here := strings.NewReplacer("/usr/bin/usbkey-central", "/bin/true", "User=usbkey-central", "User=daemon").Replace(string(text))
	path := filepath.Join(t.TempDir(), "usbkey-central.service")
	if err := os.WriteFile(path, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput(); err != nil || strings.Contains(string(out), "usbkey-central.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
