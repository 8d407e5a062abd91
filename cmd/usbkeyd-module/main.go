// Command usbkeyd-module serves one PKCS#11 module to usbkeyd, which starts it for every
// module. usbkeyd can do so itself; this program starts with less, since it has nothing
// else in it.
package main

import (
	"fmt"
	"os"

	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

func main() {
	worker.ServeIfChild(cryptoki.Open)
	_, _ = fmt.Fprintln(os.Stderr, "usbkeyd-module: usbkeyd starts this program by itself; there is nothing to type here.")
	os.Exit(2)
}
