package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/output"
	"github.com/usbkeyd/usbkeyd/internal/qualify"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// qualifyDeadlines are wide: how long a model takes is what is to be found out.
func qualifyDeadlines() worker.Deadlines {
	return worker.Deadlines{KeyGeneration: 10 * time.Minute, Init: 2 * time.Minute, Call: time.Minute}
}

type qualifyOptions struct {
	streams
	shutIn func() error
	format output.Format

	module, reserved, trust string
	env                     []string
	hotPlug                 int
	token                   string
	yes, pinTry             bool
	factorySO, factoryUser  string
	soPINOut, profileOut    string
	algorithms              []string
	keyGenerations          int
}

func newModuleQualify(s streams, shutIn func() error) *cobra.Command {
	o := &qualifyOptions{streams: s, shutIn: shutIn}
	c := &cobra.Command{
		Use: "qualify", Short: "Find out whether a vendor's module and its tokens can be written, and how", Args: noArgs,
		Long: `Find out whether a vendor's PKCS#11 module and a model of token can be written, and
how, and print a report with a token profile for the configuration. No
configuration is read, and the daemon must not use the module meanwhile.

By itself it only reads: nothing is written and no PIN is tried. A module that
crashes or hangs costs a process of its own, and the next question is asked in
another one.

With --write-token and --yes it destroys everything on that token, and tries each
step of issuing a key: C_InitToken, both PINs, keys of every kind that the token
claims, signatures, a certificate. A blank token is taken as it is; one that is
initialised only if the SO PIN in --factory-so-pin-file opens it. In the end the
token is empty and has that SO PIN again, or else the one in --so-pin-out, without
which it could never be used again. Wrong PINs are never tried, except one user
PIN with --pin-try.

The exit code is 0 when the token is fit, also with quirks, and 1 when it is not.`,
		Example: `  usbkeyd module qualify --module /usr/lib/vendor/libtoken.so
  usbkeyd module qualify --module /usr/lib/vendor/libtoken.so --write-token 0123456789abcdef --yes \
    --factory-so-pin-file factory.pin --profile-out profile.yaml`,
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c.Context()) },
	}
	f := c.Flags()
	f.StringVar(&o.module, "module", "", "the PKCS#11 library, a `path`")
	f.StringVar(&o.reserved, "reserved", "", "`text` for C_Initialize, for modules that want one (NSS)")
	f.StringArrayVar(&o.env, "env", nil, "a variable for the module's process, `NAME=VALUE`; may be repeated")
	f.StringVar(&o.trust, "trust", config.TrustRoot, "`whose` the library may be: root or owner, as modules[].trust")
	f.IntVar(&o.hotPlug, "hot-plug", 0, "ask for the token to be pulled and inserted, each within so many `seconds`")
	f.StringVar(&o.token, "write-token", "", "destroy and try the token of this `serial` or slot description")
	f.BoolVar(&o.yes, "yes", false, "really destroy what is on it")
	f.StringVar(&o.factorySO, "factory-so-pin-file", "", "`file` with the SO PIN that the token came with")
	f.StringVar(&o.factoryUser, "factory-user-pin-file", "", "`file` with the user PIN that the token came with, if its SO cannot set one")
	f.StringVar(&o.soPINOut, "so-pin-out", "", "new `file` for the token's SO PIN, if it came without one")
	f.BoolVar(&o.pinTry, "pin-try", false, "enter one wrong user PIN to see whether the token shows it")
	f.StringArrayVar(&o.algorithms, "algorithm", nil, "try this `kind` of key only, such as ec-p256; may be repeated")
	f.IntVar(&o.keyGenerations, "key-generations", 3, "make this `number` of keys of each kind")
	f.StringVar(&o.profileOut, "profile-out", "", "write the token profile to `file`")
	output.AddFlag(f, &o.format)
	return c
}

func (o *qualifyOptions) run(ctx context.Context) error {
	options, err := o.reading()
	if err != nil {
		return err
	}
	done := func() error { return nil }
	if o.token == "" && (o.yes || o.pinTry || o.factorySO != "" || o.factoryUser != "" || o.soPINOut != "") {
		return usage("without --write-token nothing is written and no PIN is used; leave the other flags out, or name the token")
	}
	if o.token != "" {
		if options.Write, done, err = o.writing(); err != nil {
			return err
		}
	}
	report, err := qualify.Run(ctx, options)
	if err = errors.Join(err, done()); err != nil && report.State == "" {
		return err // nothing was written, and the error says all
	}
	if printErr := o.print(report); printErr != nil || err != nil {
		return errors.Join(err, printErr)
	}
	if o.profileOut != "" && report.Profile != nil {
		if err := os.WriteFile(o.profileOut, []byte(report.ProfileYAML), 0o644); err != nil { // #nosec G306 -- there is no secret in it
			return fmt.Errorf("the profile cannot be written; it stands in the report: %w", err)
		}
	}
	if !report.Fit {
		return &codeError{exitFailure, errors.New(report.Verdict)}
	}
	return nil
}

// reading are the options of a run that only reads.
func (o *qualifyOptions) reading() (qualify.Options, error) {
	spec, err := o.spec()
	if err != nil {
		return qualify.Options{}, err
	}
	if o.hotPlug < 0 || o.keyGenerations < 1 {
		return qualify.Options{}, usage("--hot-plug takes a number of seconds, --key-generations one of 1 or more")
	}
	return qualify.Options{
		Start: func(ctx context.Context) (pkcs11.Module, error) {
			p, err := worker.Start(ctx, spec)
			if err != nil {
				return nil, err // p is nil, and would be no nil interface
			}
			return p, nil
		},
		Say: func(format string, args ...any) {
			_, _ = fmt.Fprintln(o.err, output.Clean(o.words.Told(fmt.Sprintf(format, args...))))
		},
		HotPlug: time.Duration(o.hotPlug) * time.Second,
	}, nil
}

func usage(format string, args ...any) error {
	return &codeError{exitUsage, fmt.Errorf(format, args...)}
}

// spec is how the module is loaded: by the rules of the configuration, so that what
// is found out holds for the daemon.
func (o *qualifyOptions) spec() (worker.Spec, error) {
	if o.module == "" {
		return worker.Spec{}, usage("name the PKCS#11 library by --module")
	}
	path, err := filepath.Abs(o.module)
	if err != nil {
		return worker.Spec{}, err
	}
	spec := worker.Spec{Path: path, Reserved: o.reserved, Env: map[string]string{}, Deadlines: qualifyDeadlines()}
	switch o.trust {
	case config.TrustRoot:
	case config.TrustOwner:
		spec.Trust = worker.TrustOwner
	default:
		return worker.Spec{}, usage("--trust %s: use %s or %s", o.trust, config.TrustRoot, config.TrustOwner)
	}
	for _, pair := range o.env {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || value == "" || !slices.Contains(config.AllowedEnvironment(), name) {
			return worker.Spec{}, usage("--env %s: NAME=VALUE is wanted, with one of the names %s", pair, strings.Join(config.AllowedEnvironment(), ", "))
		}
		spec.Env[name] = value
	}
	return spec, nil
}

// writing are the options of a run that writes a token, and what to do in the end.
func (o *qualifyOptions) writing() (*qualify.Write, func() error, error) {
	switch {
	case !o.yes:
		return nil, nil, usage("everything on the token %q would be destroyed; if it may be, add --yes", o.token)
	case o.factorySO == "" && o.soPINOut == "":
		return nil, nil, usage("name a new file for the SO PIN that the token gets by --so-pin-out, or the one with its factory SO PIN by --factory-so-pin-file: a token whose SO PIN is lost can never be used again")
	}
	if err := o.shutIn(); err != nil {
		return nil, nil, err
	}
	w := &qualify.Write{Token: o.token, PINTry: o.pinTry, KeyGenerations: o.keyGenerations}
	var err error
	if w.Algorithms, err = algorithmsNamed(o.algorithms); err != nil {
		return nil, nil, err
	}
	so, soErr := o.factoryPIN(o.factorySO, &w.FactorySOPINFile)
	user, userErr := o.factoryPIN(o.factoryUser, &w.FactoryUserPINFile)
	if err := errors.Join(soErr, userErr); err != nil {
		return nil, nil, err
	}
	w.FactorySO, w.FactoryUser = pkcs11.NewSOPIN(so), pkcs11.NewUserPIN(user)
	out := o.soPINOut
	if out == "" {
		// The SO PIN is changed for a moment, and must outlive a power cut in it.
		out = w.FactorySOPINFile + ".qualify"
	}
	kept, err := reservePINFile(out)
	if err != nil {
		return nil, nil, err
	}
	w.Keep, w.Forget, w.KeptIn = kept.keep, kept.forget, kept.path
	return w, kept.close, nil
}

// factoryPIN reads a PIN, if a file is named, and notes the file as a profile names it.
func (o *qualifyOptions) factoryPIN(file string, absolute *string) (string, error) {
	if file == "" {
		return "", nil
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	*absolute = path
	pin, err := config.ReadSecretFile(path)
	return string(pin), err
}

// algorithmsNamed is nil, for all, without names.
func algorithmsNamed(names []string) (out []pkcs11.Algorithm, err error) {
	for _, name := range names {
		a, err := pkcs11.AlgorithmByName(name)
		if err != nil {
			return nil, &codeError{exitUsage, err}
		}
		out = append(out, a)
	}
	return out, nil
}
