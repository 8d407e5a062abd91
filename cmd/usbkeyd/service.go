package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
	c.AddCommand(&cobra.Command{
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
	return service.New(program{}, &service.Config{
		Name:        "usbkeyd",
		DisplayName: "usbkeyd",
		Description: "Turns approved orders into finished USB keys",
		Arguments:   []string{"run", "--config", path},
		UserName:    o.user,
		Option:      service.KeyValue{"SystemdScript": systemdUnit, "USB": o.usb},
	})
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
	_, err = fmt.Fprintf(o.out, "service usbkeyd: %s done (%s)\n", action, s.Platform())
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
		_, err = fmt.Fprintf(o.out, "not installed (%s)\n", s.Platform())
		return err
	case err != nil && s.Platform() == systemV:
		// Its script answers "not running" by an exit status, which the library takes for a failure.
		st = service.StatusStopped
	case err != nil:
		return fmt.Errorf("service status on %s: %w", s.Platform(), err)
	}
	word := map[service.Status]string{service.StatusRunning: "running", service.StatusStopped: "stopped", service.StatusUnknown: "unknown"}[st]
	_, err = fmt.Fprintf(o.out, "%s (%s)\n", word, s.Platform())
	return err
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
