package est_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca/catest"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/est"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/esttest"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/settings"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

// written is a folder with good settings for a server, and the settings.
func written(t *testing.T, s *esttest.Server) (dir string, doc map[string]any) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "est")
	key, err := keyfile.KeyPEM(s.Client.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	err = keyfile.WriteDir(dir,
		keyfile.File{Name: "trust.pem", Content: keyfile.CertificatePEM(s.ServerTrust[0].Raw)},
		keyfile.File{Name: "roots.pem", Content: keyfile.CertificatePEM(s.Roots[0].Raw)},
		keyfile.File{Name: "client.pem", Content: keyfile.CertificatePEM(s.Client.Certificate[0])},
		keyfile.File{Name: "client.key", Content: key, Secret: true},
		keyfile.File{Name: "password", Content: []byte(esttest.Password + "\r\n"), Secret: true})
	if err != nil {
		t.Fatal(err)
	}
	return dir, map[string]any{
		"server": s.URL + "/", "label": "usb-keys", "serverTrust": "trust.pem", "roots": filepath.Join(dir, "roots.pem"), "timeoutSeconds": 5,
		"clientCertificate": "client.pem", "clientKey": "client.key", "username": esttest.Username, "passwordFile": "password",
	}
}

func readConfig(t *testing.T, dir string, doc map[string]any) (est.Config, error) {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "est.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return est.ReadConfig(path)
}

// What was read is what the server is asked with.
func TestSettings(t *testing.T) {
	t.Parallel()
	s := esttest.New(t)
	s.Label, s.Basic = "usb-keys", true
	dir, doc := written(t, s)
	cfg, err := readConfig(t, dir, doc)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Timeout != 5*time.Second {
		t.Errorf("timeout %s", cfg.Timeout)
	}
	if _, err := client(t, cfg).Issue(t.Context(), catest.Request(t, "EST-001-g1", false)); err != nil {
		t.Error(err)
	}
}

// One fault a row; each is told with its field.
func TestBadSettings(t *testing.T) {
	t.Parallel()
	const gone = "\x00" // the field is left out
	rows := []struct{ set, to, field, say string }{
		{"server", gone, "server", "required"},
		{"server", "https://user@est.example.com", "server", "user name"},
		{"server", "https://est.example.com/.well-known/est", "server", "path"},
		{"server", "est.example.com", "server", "form"},
		{"label", "a/b", "label", "one path segment"},
		{"label", "simpleenroll", "label", "operation"},
		{"serverTrust", gone, "serverTrust", "required"},
		{"serverTrust", "client.pem", "serverTrust", "not a CA"},
		{"roots", "nowhere.pem", "roots", "no such file"},
		{"roots", "client.key", "roots", "PRIVATE KEY"},
		{"clientKey", gone, "clientKey", "required"},
		{"clientCertificate", gone, "clientCertificate", "required"},
		{"clientCertificate", "roots.pem", "clientCertificate", "not that of the key"},
		{"clientKey", "open.key", "clientKey", "chmod 600"},
		{"username", gone, "username", "required"},
		{"username", "a:b", "username", "colon"},
		{"passwordFile", gone, "passwordFile", "required"},
		{"passwordFile", "lines", "passwordFile", "one line"},
		{"passwordFile", "open.key", "passwordFile", "chmod 600"},
	}
	s := esttest.New(t)
	for _, row := range rows {
		t.Run(row.set+" "+row.say, func(t *testing.T) {
			dir, doc := written(t, s)
			key, err := os.ReadFile(filepath.Join(dir, "client.key"))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "open.key"), key, 0o600), os.Chmod(filepath.Join(dir, "open.key"), 0o640),
				os.WriteFile(filepath.Join(dir, "lines"), []byte("two\nlines\n"), 0o600)); err != nil {
				t.Fatal(err)
			}
			if doc[row.set] = row.to; row.to == gone {
				delete(doc, row.set)
			}
			_, err = readConfig(t, dir, doc)
			var fault *settings.FieldError
			if !errors.As(err, &fault) || fault.Field != row.field || !strings.Contains(fault.Error(), row.say) {
				t.Errorf("got %v, want %s with %q", err, row.field, row.say)
			}
		})
	}
	dir, doc := written(t, s)
	for _, name := range []string{"clientCertificate", "clientKey", "username", "passwordFile"} {
		delete(doc, name)
	}
	if _, err := readConfig(t, dir, doc); err == nil || !strings.Contains(err.Error(), "nobody unknown") {
		t.Errorf("without a credential: %v", err)
	}
	doc["server"], doc["label"] = "http://x", "cacerts"
	if _, err := readConfig(t, dir, doc); err == nil || !strings.Contains(err.Error(), "server: ") || !strings.Contains(err.Error(), "label: ") {
		t.Errorf("not all faults at once: %v", err)
	}
}

// The file itself is read strictly.
func TestSettingsAreStrict(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "est.json")
	for text, say := range map[string]string{
		`{"sever": "https://x"}`:           "unknown field",
		`{"server": 7}`:                    "at byte",
		`{} {}`:                            "after the document",
		`{}x`:                              "after the document",
		``:                                 "EOF",
		strings.Repeat(" ", 64<<10) + "{}": "larger than",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := est.ReadConfig(path); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%.30q: %v, want %q", text, err, say)
		}
	}
}
