package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

func newVersion(s streams) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
				Protocol int    `json:"protocol"`
			}{version(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, api.ProtocolVersion}
			if format == output.JSON {
				return format.Print(s.out, output.Rows{}, v)
			}
			_, err := fmt.Fprintf(s.out, "usbkey-central %s (%s, %s), protocol %d\n", v.Version, v.Go, v.Platform, v.Protocol)
			return err
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

// version is what the go command wrote into the binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
