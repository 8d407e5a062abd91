// Package buildinfo says which build of a program this is, and is the command
// "version" of both programs.
package buildinfo

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

// Version is the module's version, and the commit where the toolchain recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "dev"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			v += " " + s.Value[:12]
		}
	}
	return v
}

// NewCommand makes the command "version" of a program that speaks a version of the dispatch contract.
func NewCommand(out io.Writer, program string, protocol int, args cobra.PositionalArgs) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: args,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
				Protocol int    `json:"protocol"`
			}{Version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, protocol}
			if format == output.JSON {
				return format.Print(out, output.Rows{}, v)
			}
			_, err := fmt.Fprintf(out, "%s %s (%s, %s), dispatch contract %d\n", program, v.Version, v.Go, v.Platform, v.Protocol)
			return err
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}
