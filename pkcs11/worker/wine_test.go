//go:build wine && linux

package worker_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test/winerig"
)

// TestUnderWine builds the tests for Windows (child_windows_test.go) and a PKCS#11 module as a
// DLL, and runs them under wine.
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
}

// delivered names usbkeyd.exe as it is delivered, for scripts/package; without it one is built.
const delivered = "USBKEYD_EXE"

// TestProgramUnderWine runs usbkeyd.exe: what it says of itself, of a configuration and of a
// module, and as a service of Windows as far as wine is one.
func TestProgramUnderWine(t *testing.T) {
	rig := winerig.Start(t)
	rig.Module(t, `tokens\module.dll`)
	if exe := os.Getenv(delivered); exe != "" {
		program, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		put(t, rig, `program\usbkeyd.exe`, program)
	} else {
		rig.Build(t, "github.com/usbkeyd/usbkeyd/cmd/usbkeyd", `program\usbkeyd.exe`)
	}
	pemCert, pemKey := root(t)
	put(t, rig, `station\root.pem`, pemCert)
	put(t, rig, `station\station.crt`, pemCert)
	put(t, rig, `station\station.key`, pemKey)
	config := fmt.Sprintf(`station: sample-1
stateDir: C:\station\state
central: {urls: ["https://127.0.0.1:9/v1"], trust: root.pem, certificate: station.crt, key: station.key}
identity: {tier: file}
recipients: {userPin: [%[1]s], soPin: [%[1]s, %[2]s]}
certificateTrust: root.pem
modules:
  - {name: bay-1, path: C:\tokens\module.dll, trust: owner}
products:
  - code: CERT272353
    key: {algorithm: rsa2048}
    certificate: {subject: [{type: CN, value: "{{.UnitID}}"}], keyUsage: [digitalSignature]}
`, strings.Repeat("a1", 32), strings.Repeat("b2", 32))
	put(t, rig, `station\station.yaml`, []byte(config))
	put(t, rig, `station\wrong.yaml`, []byte(strings.ReplaceAll(config, "module.dll", "nothing.dll")))
	defer func() { // it heard of each stop
		if log, err := os.ReadFile(rig.Path(`station\state\usbkeyd.log`)); err != nil || strings.Count(string(log), `"usbkeyd ends"`) < 2 {
			t.Errorf("the service's log: %s (%v)", log, err)
		}
	}()
	for _, row := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "usbkeyd"},
		{[]string{"config", "check", "--config", `C:\station\station.yaml`}, 0, ""},
		{[]string{"config", "check", "--config", `C:\station\wrong.yaml`}, 5, "modules[0].path"},
		{[]string{"module", "qualify", "--module", `C:\tokens\module.dll`, "--trust", "owner"}, 0, "Verdict: fit"},
		{[]string{"service", "status"}, 0, "not installed"},
		{[]string{"service", "install", "--config", `C:\station\station.yaml`}, 0, "install done"},
		// A machine of wine starts when nothing runs there and a program is begun, and its automatic
		// services with it: whether it runs before it was started or after it was stopped is chance.
		{[]string{"service", "start"}, anyCode, "start"},
		{[]string{"service", "status"}, 0, "running"},
		{[]string{"service", "restart"}, 0, "restart done"},
		{[]string{"service", "status"}, 0, "running"},
		{[]string{"service", "stop"}, 0, "stop done"},
		{[]string{"service", "uninstall"}, 0, "uninstall done"},
		{[]string{"service", "status"}, 0, "not installed"},
	} {
		out, errOut, code := rig.Run(t, nil, `program\usbkeyd.exe`, row.args...)
		if code != row.code && row.code != anyCode || !strings.Contains(out+errOut, row.want) {
			t.Errorf("usbkeyd.exe %s: exit code %d\n%s%s", strings.Join(row.args, " "), code, out, errOut)
		}
	}
}

// anyCode stands for whatever exit code.
const anyCode = -1

// put writes a file of drive C:.
func put(t *testing.T, rig winerig.Rig, path string, content []byte) {
	t.Helper()
	to := rig.Path(path)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// root is a CA's certificate and its key, PEM.
func root(t *testing.T) (certificate, private []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}
