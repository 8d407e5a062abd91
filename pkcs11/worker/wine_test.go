//go:build wine && linux

package worker_test

import (
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/winerig"
)

// TestUnderWine builds the tests for Windows (child_windows_test.go), a PKCS#11 module as a DLL,
// and usbkeyd itself, and runs all of it under wine.
func TestUnderWine(t *testing.T) {
	rig := winerig.Start(t)
	rig.Module(t, `tokens\module.dll`)
	rig.BuildTests(t, "github.com/usbkeyd/usbkeyd/pkcs11/worker", `program\worker.test.exe`)
	out, errOut, code := rig.Run(t, []string{`USBKEYD_TEST_MODULE=C:\tokens\module.dll`}, `program\worker.test.exe`, "-test.v", "-test.timeout", "5m")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(strings.TrimSpace(line), "---") {
			t.Log(strings.TrimRight(line, "\r\n"))
		}
	}
	if code != 0 || !strings.Contains(out, "--- PASS: TestModuleWorks") {
		t.Errorf("exit code %d\n%s%s", code, out, errOut)
	}

	rig.Build(t, "github.com/usbkeyd/usbkeyd/cmd/usbkeyd", `program\usbkeyd.exe`)
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"version"}, "usbkeyd"},
		{[]string{"module", "qualify", "--module", `C:\tokens\module.dll`, "--trust", "owner"}, "Verdict: fit"},
	} {
		out, errOut, code := rig.Run(t, nil, `program\usbkeyd.exe`, row.args...)
		if code != 0 || !strings.Contains(out, row.want) {
			t.Errorf("usbkeyd.exe %s: exit code %d\n%s%s", strings.Join(row.args, " "), code, out, errOut)
		}
	}
}
