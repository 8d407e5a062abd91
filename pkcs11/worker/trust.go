package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Trust says whose module file may be loaded: whoever can change the file runs
// code where PINs are.
type Trust string

// Trusts. The zero value is TrustRoot.
const (
	// TrustRoot wants the file and every folder on the way to it to be root's, and
	// nobody else to be able to write or exchange them. Files that only the
	// administrators of a Windows system can write stand for it there.
	TrustRoot Trust = ""
	// TrustOwner also takes what belongs to the user that this program runs as.
	TrustOwner Trust = "owner"
	// TrustUnchecked takes anything. It is for tests of modules that were built a moment ago.
	TrustUnchecked Trust = "unchecked"
)

// checkModule looks at the module file before it is loaded, and returns the path
// to load it by. With a SHA-256 (hexadecimal) the opened file is compared. One that
// others than root could exchange before it is loaded is then loaded so that they cannot:
// by its descriptor, or because Windows lets nobody write or move it. Both last only as
// long as the caller keeps the file, which is nil otherwise.
func checkModule(path string, trust Trust, sha256Hex string) (load string, keep *os.File, err error) {
	refuse := func(why string) (string, *os.File, error) {
		return "", nil, &pkcs11.Error{Op: "open module", Kind: pkcs11.ErrModuleUnusable, Detail: path + ": " + why}
	}
	if trust != TrustUnchecked {
		if why := untrusted(path, trust); why != "" {
			return refuse(why)
		}
	}
	if sha256Hex == "" {
		return path, nil, nil
	}
	f, err := openModule(path)
	if err != nil {
		return refuse(err.Error())
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		_ = f.Close()
		return refuse(err.Error())
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sha256Hex {
		_ = f.Close()
		return refuse(fmt.Sprintf("its SHA-256 is %s, not the configured %s: it was changed or updated; if that was meant, configure the new one", got, sha256Hex))
	}
	if trust == TrustRoot {
		// By its own path it finds what lies beside it ($ORIGIN).
		return path, nil, f.Close()
	}
	load, keep = byDescriptor(f, path)
	return load, keep, nil
}
