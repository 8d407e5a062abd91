package main

import (
	"fmt"
	"runtime"

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
			_, err := fmt.Fprintf(s.out, "usbkeyd %s (%s, %s), dispatch contract %d\n", v.Version, v.Go, v.Platform, v.Protocol)
			return err
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}
