package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/internal/docs"
)

// TestCommandsInTheDocuments: every command line of usbkey-central in any document is one that this program
// takes, with its flags and as many arguments.
func TestCommandsInTheDocuments(t *testing.T) {
	all, err := docs.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	root := func() *cobra.Command { return newRoot(streams{strings.NewReader(""), io.Discard, io.Discard}) }
	if n, err := docs.Misfits(all, root, "usbkey-central"); err != nil || n < 40 {
		t.Errorf("of %d commands in the documents these do not fit: %v", n, err)
	}
}
