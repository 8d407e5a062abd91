package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"text/template"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"
)

// systemdUnit is the one unit template; the service manager and packages both use it.
//
//go:embed usbkeyd.service.tmpl
var systemdUnit string

type serviceOptions struct {
	streams
	config *string
	user   string
	usb    bool
}

func newService(s streams, config *string) *cobra.Command {
	o := &serviceOptions{streams: s, config: config}
	c := group("service", "Install and steer the daemon as a service of the system")
	for _, action := range []struct{ name, short string }{
		{"install", "Install the service, to run with the --config given now"},
		{"uninstall", "Remove the service; state and configuration stay"},
		{"start", "Start the service"},
		{"stop", "Stop the service: jobs come to the end of their step and are parked"},
		{"restart", "Stop and start the service"},
	} {
		leaf := &cobra.Command{
			Use: action.name, Short: action.short, Args: noArgs,
			RunE: func(*cobra.Command, []string) error { return o.control(action.name) },
		}
		if action.name == "install" {
			leaf.Flags().StringVar(&o.user, "user", "", "the system's `user` as which it runs; without it the service manager's own")
			leaf.Flags().BoolVar(&o.usb, "usb", false, "a module speaks to USB by itself, not through pcscd: let the service at USB devices (systemd)")
		}
		c.AddCommand(leaf)
	}
	c.AddCommand(o.newUnit(), &cobra.Command{
		Use: "status", Short: "Say whether the service runs", Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return o.status() },
	})
	return c
}

// program is what the service manager starts; the work itself is "usbkeyd run".
type program struct{}

// Start implements service.Interface.
func (program) Start(service.Service) error { return nil }

// Stop implements service.Interface.
func (program) Stop(service.Service) error { return nil }

func (o *serviceOptions) service() (service.Service, error) {
	path, err := filepath.Abs(*o.config)
	if err != nil {
		return nil, err
	}
	return service.New(program{}, o.serviceConfig(path))
}

// serviceConfig is the service that runs with the configuration at an absolute path.
func (o *serviceOptions) serviceConfig(path string) *service.Config {
	return &service.Config{
		Name:        "usbkeyd",
		DisplayName: "usbkeyd",
		Description: "Turns approved orders into finished USB keys",
		Arguments:   []string{"run", "--config", path},
		UserName:    o.user,
		Option:      service.KeyValue{"SystemdScript": systemdUnit, "USB": o.usb},
	}
}

func (o *serviceOptions) control(action string) error {
	s, err := o.service()
	if err != nil {
		return fmt.Errorf("service %s: %w", action, err)
	}
	if action == "install" {
		if _, err := os.Stat(*o.config); err != nil {
			return fmt.Errorf("service install: the configuration it would run with is not there: %w", err)
		}
	}
	if err := service.Control(s, action); err != nil {
		return fmt.Errorf("service %s on %s: %w", action, s.Platform(), err)
	}
	_, err = o.words.Fprintf(o.out, "service usbkeyd: %s done (%s)\n", o.words.Name("service", action), s.Platform())
	return err
}

func (o *serviceOptions) status() error {
	s, err := o.service()
	if err != nil {
		return fmt.Errorf("service status: %w", err)
	}
	st, err := s.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled), err != nil && !installed(s.Platform()):
		_, err = o.words.Fprintf(o.out, "not installed (%s)\n", s.Platform())
		return err
	case err != nil && s.Platform() == systemV:
		// Its script answers "not running" by an exit status, which the library takes for a failure.
		st = service.StatusStopped
	case err != nil:
		return fmt.Errorf("service status on %s: %w", s.Platform(), err)
	}
	word := map[service.Status]string{service.StatusRunning: "running", service.StatusStopped: "stopped", service.StatusUnknown: "unknown"}[st]
	_, err = fmt.Fprintf(o.out, "%s (%s)\n", o.words.Name("service", word), s.Platform())
	return err
}

// newUnit is for packages, which install the unit by themselves.
func (o *serviceOptions) newUnit() *cobra.Command {
	var program string
	c := &cobra.Command{
		Use: "unit", Short: "Print the systemd unit that install would write", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			path, err := filepath.Abs(*o.config)
			if err != nil {
				return err
			}
			return writeUnit(o.out, program, o.serviceConfig(path))
		},
	}
	c.Flags().StringVar(&program, "program", "/usr/bin/usbkeyd", "the `file` that systemd is to start")
	c.Flags().StringVar(&o.user, "user", "", "the system's `user` as which it runs")
	c.Flags().BoolVar(&o.usb, "usb", false, "let the service at USB devices")
	return c
}

// writeUnit writes the unit as the service library does.
func writeUnit(w io.Writer, program string, c *service.Config) error {
	same := func(s string) string { return s }
	text, err := template.New("unit").Funcs(template.FuncMap{"cmd": strconv.Quote, "cmdEscape": same}).Parse(systemdUnit)
	if err != nil {
		return fmt.Errorf("service unit: %w", err)
	}
	return text.Execute(w, struct {
		*service.Config
		Path string
	}{c, program})
}

// systemV is the library's name of it.
const systemV = "unix-systemv"

// installed looks for the file that install writes: under System V the library
// cannot tell a service that is not installed from one that fails.
func installed(platform string) bool {
	path := "/etc/systemd/system/usbkeyd.service"
	if platform == systemV {
		path = "/etc/init.d/usbkeyd"
	}
	_, err := os.Stat(path)
	return err == nil
}
