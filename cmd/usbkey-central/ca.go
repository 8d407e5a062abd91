package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/drop"
	"github.com/usbkeyd/usbkeyd/internal/central/ca/est"
)

// Kinds of CA, as --ca names them.
const (
	caDevelopment = "development"
	caEST         = "est"
	caDrop        = "drop"
)

// caOptions say which CA certifies the customers' keys.
type caOptions struct{ kind, config string }

func (o *caOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.kind, "ca", caDevelopment, "`kind` of the CA: development (for trying things out), est (RFC 7030) or drop (a folder, for an offline CA)")
	f.StringVar(&o.config, "ca-config", "", "`file` (JSON) with the settings of an est or drop CA")
}

func (o caOptions) check() error {
	switch o.kind {
	case caDevelopment:
		if o.config != "" {
			return usagef("--ca-config goes with --ca est or --ca drop; the development CA has no settings")
		}
	case caEST, caDrop:
		if o.config == "" {
			return usagef("--ca %s needs --ca-config FILE", o.kind)
		}
	default:
		return usagef("--ca is %q: use development, est or drop", o.kind)
	}
	return nil
}

// open opens the CA, and says how to close it. It is nil for the development CA,
// which the server keeps in its data directory.
func (o caOptions) open(log *slog.Logger) (ca.CA, func() error, error) {
	nothing := func() error { return nil }
	switch o.kind {
	case caEST:
		cfg, err := est.ReadConfig(o.config)
		if err != nil {
			return nil, nil, err
		}
		c, err := est.New(cfg)
		return c, nothing, err
	case caDrop:
		cfg, err := drop.ReadConfig(o.config)
		if err != nil {
			return nil, nil, err
		}
		cfg.Logger = log
		c, err := drop.Open(cfg)
		if err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
	return nil, nothing, nil
}

// look asks the CA whether issuing would work, and changes nothing there. The CA
// that it gives is good for its abilities only.
func (o caOptions) look(ctx context.Context, data string) (abilities ca.CA, found []string, err error) {
	switch o.kind {
	case caEST:
		cfg, err := est.ReadConfig(o.config)
		if err != nil {
			return nil, nil, err
		}
		c, err := est.New(cfg)
		if err != nil {
			return nil, nil, err
		}
		found, err = c.Check(ctx)
		return c, found, err
	case caDrop:
		cfg, err := drop.ReadConfig(o.config)
		if err != nil {
			return nil, nil, err
		}
		found, err = drop.Check(ctx, cfg)
		return &drop.CA{}, found, err
	}
	if data == "" {
		return nil, nil, usagef("ca check needs --data DIR for the development CA")
	}
	found, err = ca.CheckDevelopment(filepath.Join(data, "ca"), time.Now())
	return &ca.Development{}, found, err
}
