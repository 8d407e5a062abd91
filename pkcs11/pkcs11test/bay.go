package pkcs11test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Bay is a module's instance of its own. SoftHSM's is one token directory, which
// shows one uninitialised slot to begin with.
type Bay struct {
	// Path is the absolute path of the module; "" for one that is part of the test's
	// process, into which no other tool can look.
	Path string
	// Env is what the module needs in its environment, such as SOFTHSM2_CONF.
	Env map[string]string
	// Reserved is what it needs as pReserved of C_Initialize, mostly "".
	Reserved string
	// Dir holds the configuration and the token directory.
	Dir string
}

// NewBay makes a bay that is gone when the test ends. Its tokens are kept in
// memory where the system has a place for that.
func NewBay(t testing.TB) Bay {
	t.Helper()
	dir := memoryDir(t)
	tokens := filepath.Join(dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	lines := fmt.Sprintf("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens)
	if err := os.WriteFile(conf, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return Bay{Path: SoftHSM(t), Env: map[string]string{"SOFTHSM2_CONF": conf}, Dir: dir}
}

func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "pkcs11test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// SoftHSM is the absolute path of SoftHSM's module.
func SoftHSM(t testing.TB) string {
	t.Helper()
	places := []string{
		"/usr/lib/softhsm/libsofthsm2.so", // Debian, Ubuntu
		"/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/lib64/softhsm/libsofthsm.so",
		"/usr/lib/pkcs11/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so",
	}
	i := slices.IndexFunc(places, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Mode().IsRegular()
	})
	if i < 0 {
		t.Fatalf("SoftHSM is not installed (apt-get install softhsm2): looked for %s", strings.Join(places, ", "))
	}
	return places[i]
}

// Tool runs a command-line tool in the bay's environment and returns its output; it
// must succeed.
func (b Bay) Tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := b.Try(t, name, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return out
}

// Try is Tool for what may fail.
func (b Bay) Try(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed (apt-get install softhsm2 opensc openssl): %v", name, err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, k := range slices.Sorted(maps.Keys(b.Env)) {
		cmd.Env = append(cmd.Env, k+"="+b.Env[k])
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// InitToken initialises the free slot with SoftHSM's own tool, as a factory would.
func (b Bay) InitToken(t testing.TB, label, soPIN, userPIN string) {
	t.Helper()
	b.Tool(t, "softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", soPIN, "--pin", userPIN)
}

// LeaveHalfMade leaves on the bay's only token what SoftHSM has on disk when it dies while it makes a
// private key: an object with the attributes that are written one by one, before it has a CKA_ID
// and belongs to the token. The form is that of its ObjectFile.cpp.
func (b Bay) LeaveHalfMade(t testing.TB) {
	t.Helper()
	tokens, err := filepath.Glob(filepath.Join(b.Dir, "tokens", "*"))
	if err != nil || len(tokens) != 1 {
		t.Fatalf("%d tokens are in the bay, want one (%v)", len(tokens), err)
	}
	const boolean, number = 1, 2 // kinds
	var file []byte
	for _, n := range []uint64{
		1,                // generation
		0x0, number, 0x3, // CKA_CLASS: CKO_PRIVATE_KEY
		0x100, number, 0x3, // CKA_KEY_TYPE: CKK_EC
		0x1, boolean, // CKA_TOKEN
	} {
		file = binary.BigEndian.AppendUint64(file, n)
	}
	file = append(file, 0)
	if err := os.WriteFile(filepath.Join(tokens[0], "00000000-0000-0000-0000-000000000000.object"), file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// PutCertificate puts a certificate, in DER, on the labelled token with OpenSC's tool.
func (b Bay) PutCertificate(t testing.TB, tokenLabel, userPIN, idHex, label string, der []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "certificate.der")
	if err := os.WriteFile(file, der, 0o600); err != nil {
		t.Fatal(err)
	}
	b.Tool(t, "pkcs11-tool", "--module", b.Path, "--token-label", tokenLabel, "--login", "--pin", userPIN,
		"--write-object", file, "--type", "cert", "--id", idHex, "--label", label)
}
