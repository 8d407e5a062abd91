//go:build profile

package main

import (
	"fmt"
	"net/http"
	_ "net/http/pprof" // at the address below
	"os"
)

// profileAddress names the environment variable with the loopback address at which a
// server that was built for it can be profiled.
const profileAddress = "USBKEY_CENTRAL_PPROF"

// profiled lets this process be looked into.
func profiled() {
	at := os.Getenv(profileAddress)
	if at == "" {
		return
	}
	go func() { _, _ = fmt.Fprintln(os.Stderr, "profile:", http.ListenAndServe(at, nil)) }()
}
