package config

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// station writes a configuration that Load accepts, with all its files, into a
// folder of its own.
func station(t *testing.T) (dir, text string) {
	t.Helper()
	dir = t.TempDir()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("sample")})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("sample")})
	for name, data := range map[string][]byte{
		"central-root.pem": certificate, "trust.pem": append(certificate, certificate...), "station.crt": certificate,
		"station.key": key, "module.so": []byte("module"), "factory-so.pin": []byte("12345678\n"),
	} {
		write(t, filepath.Join(dir, name), data, 0o600)
	}
	return dir, strings.ReplaceAll(`station: demo-station
stateDir: DIR/state
central:
  urls: ["https://127.0.0.1:8443", "https://central.example.com/base"]
  trust: central-root.pem
  certificate: station.crt
identity: {tier: file}
recipients:
  userPin: ["1111111111111111111111111111111111111111111111111111111111111111"]
  soPin: ["AA:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22:22", "3333333333333333333333333333333333333333333333333333333333333333"]
certificateTrust: trust.pem
modules:
  - name: bay-01
    path: DIR/module.so
    env: {SOFTHSM2_CONF: /etc/bay-01.conf}
    tokens: 2
  - name: bay-02
    path: DIR/module.so
tokenProfiles:
  - name: sample-card
    match: {manufacturer: "Sample Maker", model: "Card 3*"}
    soPin: {length: 12, alphabet: hex}
    factorySoPinFile: factory-so.pin
    deadlines: {keyGeneration: 240s}
    omitAttributes: [CKA_EXTRACTABLE]
products:
  - code: CERT272353
    key: {algorithm: rsa2048}
    certificate:
      subject:
        - {type: C, value: CN}
        - {type: CN, value: "{{.Company.Name}}", optional: true}
      keyUsage: [digitalSignature]
      validityTolerance: 0s
    userPin: {length: 6}
`, "DIR", dir)
}

func write(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask is not asked
		t.Fatal(err)
	}
}

// parsed is a station that Validate accepts, to be changed by a test.
func parsed(t *testing.T) *Station {
	t.Helper()
	dir, text := station(t)
	s, err := Parse([]byte(text), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
