package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/internal/docs"
)

// TestCommandsInTheDocuments: every command line of usbkeyd in any document is one that this program
// takes, with its flags and as many arguments; so is every one for Windows.
func TestCommandsInTheDocuments(t *testing.T) {
	all, err := docs.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	root := func() *cobra.Command {
		return newRoot(streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}, notShutIn)
	}
	if n, err := docs.Misfits(all, root, "usbkeyd", "usbkeyd.exe"); err != nil || n < 200 {
		t.Errorf("of %d commands in the documents these do not fit: %v", n, err)
	}
}
