// Package buildinfo says which build of a program this is, and is the command
// "version" of both programs.
package buildinfo

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

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

// commit is the commit of the source, as far as the toolchain recorded it.
func commit() string {
	set := settings()
	if set["vcs.modified"] == "true" {
		return set["vcs.revision"] + "+dirty"
	}
	return set["vcs.revision"]
}

// Options are the toolchain's settings that change what it makes, as "-trimpath=true".
func Options() []string {
	out, set := []string{}, settings()
	for _, key := range []string{"-buildmode", "-trimpath", "-tags", "-race", "-ldflags", "CGO_ENABLED", "GOAMD64", "GOARM64"} {
		if v := set[key]; v != "" {
			out = append(out, key+"="+v)
		}
	}
	return out
}

func settings() map[string]string {
	set := map[string]string{}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			set[s.Key] = s.Value
		}
	}
	return set
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
				// Commit is the whole id, with "+dirty" where the source was changed; "" where it is not known.
				Commit string `json:"commit,omitempty"`
				// Build are the toolchain's settings that change what it makes.
				Build []string `json:"build"`
			}{Version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, protocol, commit(), Options()}
			if format == output.JSON {
				return format.Print(out, output.Rows{}, v)
			}
			_, err := fmt.Fprintf(out, "%s %s (%s, %s), dispatch contract %d\nbuilt with %s\n", program, v.Version, v.Go, v.Platform, v.Protocol, strings.Join(v.Build, " "))
			return err
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}
