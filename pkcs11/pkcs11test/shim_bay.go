package pkcs11test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// TestToken is a token of a bay with several.
type TestToken struct {
	Serial      pkcs11.TokenSerial
	Label       pkcs11.TokenLabel
	SOPIN, User string
}

// InitTokens initialises n more tokens, each with PINs of its own. SoftHSM shows one
// blank slot beside them, never more.
func (b Bay) InitTokens(t testing.TB, n int) []TestToken {
	t.Helper()
	tokens := make([]TestToken, n)
	for i := range tokens {
		k := &tokens[i]
		k.Label = pkcs11.TokenLabel(fmt.Sprintf("token-%02d", i))
		k.SOPIN, k.User = fmt.Sprintf("so-pin-%02d", i), fmt.Sprintf("user-%02d", i)
		b.InitToken(t, string(k.Label), k.SOPIN, k.User)
	}
	serials := b.serials(t)
	for i := range tokens {
		k := &tokens[i]
		if k.Serial = serials[k.Label]; k.Serial == "" {
			t.Fatalf("the token %s has no serial: %v", k.Label, serials)
		}
	}
	return tokens
}

// serials reads them by label, with SoftHSM's own tool.
func (b Bay) serials(t testing.TB) map[pkcs11.TokenLabel]pkcs11.TokenSerial {
	t.Helper()
	serials := map[pkcs11.TokenLabel]pkcs11.TokenSerial{}
	var serial pkcs11.TokenSerial
	for line := range strings.Lines(b.Tool(t, "softhsm2-util", "--show-slots")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch name {
		case "Serial number":
			serial = pkcs11.TokenSerial(strings.TrimSpace(value))
		case "Label":
			serials[pkcs11.TokenLabel(strings.TrimSpace(value))] = serial
		}
	}
	return serials
}

// TryTool is Tool for what may fail.
func (b Bay) TryTool(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, k := range slices.Sorted(maps.Keys(b.Env)) {
		cmd.Env = append(cmd.Env, k+"="+b.Env[k])
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
