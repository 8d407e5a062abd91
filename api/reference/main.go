// Command reference writes docs/api.md, the reference of the dispatch contract, from
// openapi.yaml alone: go run ./reference ../docs/api.md, as scripts/generate does.
//
// It owns how the document is shown. It must not know what no reader finds in the
// document: what is missing there is added there.
package main

import (
	"fmt"
	"os"

	"github.com/usbkeyd/usbkeyd/api"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: reference FILE")
		os.Exit(2)
	}
	page, err := render(api.Document)
	if err == nil {
		err = os.WriteFile(os.Args[1], page, 0o644) // #nosec G306 -- a document, for everybody
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}
