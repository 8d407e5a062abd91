// Command usbkeyd turns approved orders into finished USB keys: it is the daemon
// of an issuing workstation and its operator's command line. Here, and only here,
// everything is wired together.
package main

import (
	"os"

	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/wording"
	"github.com/usbkeyd/usbkeyd/pkcs11/cryptoki"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

func main() {
	// A module's process is this same program; it must do nothing else.
	worker.ServeIfChild(cryptoki.Open)
	envelope.ChooseAES256()
	os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, wording.For(os.Getenv, console.Chinese()), shutMemory))
}
