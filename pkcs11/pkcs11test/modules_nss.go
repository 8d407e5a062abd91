package pkcs11test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// nssSlot is the slot whose token keeps keys; another one, without login, computes.
const nssSlot = "NSS User Private Key and Certificate Services"

// NewNSS makes a database of NSS's with a user PIN.
func NewNSS(t testing.TB) Bay {
	t.Helper()
	installed(t, "libnss3-tools", "/usr/bin/certutil")
	b := newNSS(t)
	password := filepath.Join(b.Dir, "password")
	if err := os.WriteFile(password, []byte(userPIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.Tool(t, "certutil", "-N", "-d", "sql:"+b.Dir, "-f", password)
	return b
}

// newNSS is a bay without a database. The module makes one, without a user PIN.
func newNSS(t testing.TB) Bay {
	t.Helper()
	dir := memoryDir(t)
	return Bay{
		Path: installed(t, "libnss3", "/usr/lib/*/libsoftokn3.so", "/usr/lib/*/nss/libsoftokn3.so", "/usr/lib64/libsoftokn3.so"),
		Dir:  dir,
		// The parameters of C_Initialize; without them softokn says CKR_ARGUMENTS_BAD.
		Reserved: fmt.Sprintf("configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=''", dir),
	}
}

// NSSOptions have the conformance suite run over databases of NSS's.
func NSSOptions() Options {
	return Options{
		NewBay:       NewNSS,
		Manufacturer: "Mozilla Foundation",
		Quirks: Quirks{
			EmptySOPIN: true, KeepsLabel: true, ConstantSerial: "0000000000000000",
			LocalNo: true, OneKeyForID: true,
		},
	}
}
