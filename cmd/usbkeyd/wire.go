package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/filelock"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/provision"
)

// catalogue is what the configuration says of products, ready for use.
type catalogue struct {
	products map[string]provision.Product
	labels   map[string]*csr.Text
	codes    []string
}

// newCatalogue compiles every product; all faults are joined, with their field paths.
func newCatalogue(station *config.Station) (*catalogue, error) {
	c := &catalogue{products: map[string]provision.Product{}, labels: map[string]*csr.Text{}}
	var errs []error
	for i, p := range station.Products {
		field := fmt.Sprintf("products[%d]", i)
		fault := func(sub string, err error) {
			if err != nil {
				errs = append(errs, &config.FieldError{Field: field + sub, Err: err})
			}
		}
		algorithm, err := pkcs11.AlgorithmByName(p.Key.Algorithm)
		fault(".key.algorithm", err)
		profile, err := certificateProfile(p.Certificate).Compile()
		for _, e := range unjoin(err) {
			var f *csr.FieldError
			if errors.As(e, &f) {
				fault(".certificate."+f.Field, f.Err)
			} else {
				fault(".certificate", e)
			}
		}
		label, err := csr.CompileText(p.TokenLabel)
		fault(".tokenLabel", err)
		c.products[p.Code] = provision.Product{
			Code: p.Code, Algorithm: algorithm, Profile: profile,
			UserPIN: provision.PINPolicy{Length: p.UserPIN.Length, Alphabet: p.UserPIN.Policy().Characters(), DenyGuessable: true},
		}
		c.labels[p.Code] = label
		c.codes = append(c.codes, p.Code)
	}
	return c, errors.Join(errs...)
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func certificateProfile(c config.Certificate) csr.Profile {
	p := csr.Profile{
		EmailSAN: c.EmailSAN, EmailSANOptional: c.EmailSANOptional, MayAdd: c.MayAdd, Forbidden: c.Forbidden,
		KeyUsage: c.KeyUsage, ExtKeyUsage: c.ExtKeyUsage,
		ValidityTolerance: c.ValidityTolerance, ClockTolerance: c.ClockTolerance,
	}
	for _, a := range c.Subject {
		p.Subject = append(p.Subject, csr.AttributeTemplate{Type: a.Type, Value: a.Value, Optional: a.Optional})
	}
	return p
}

func (c *catalogue) product(code string) (provision.Product, error) {
	p, ok := c.products[code]
	if !ok {
		return provision.Product{}, fmt.Errorf("product %s is not in the configuration", code)
	}
	return p, nil
}

func (c *catalogue) label(code string) (*csr.Text, error) {
	l, ok := c.labels[code]
	if !ok {
		return nil, fmt.Errorf("product %s is not in the configuration", code)
	}
	return l, nil
}

// tokenProfiles looks a token's profile up and reads its factory SO PIN once.
func tokenProfiles(station *config.Station) (func(pkcs11.TokenInfo) (provision.TokenProfile, error), error) {
	factory := map[string]pkcs11.SOPIN{}
	for i, p := range station.TokenProfiles {
		if p.FactorySOPINFile == "" {
			continue
		}
		pin, err := config.ReadSecretFile(p.FactorySOPINFile)
		if err != nil {
			return nil, &config.FieldError{Field: fmt.Sprintf("tokenProfiles[%d].factorySoPinFile", i), Err: err}
		}
		factory[p.Name] = pkcs11.NewSOPIN(string(pin))
	}
	return func(info pkcs11.TokenInfo) (provision.TokenProfile, error) {
		p, ok := station.TokenProfileFor(info.Manufacturer, info.Model)
		if !ok {
			return provision.TokenProfile{}, fmt.Errorf("no token profile fits manufacturer %q, model %q", info.Manufacturer, info.Model)
		}
		return provision.TokenProfile{
			Name: p.Name, SOPIN: provision.PINPolicy{Length: p.SOPIN.Length, Alphabet: p.SOPIN.Characters()},
			FactorySOPIN: factory[p.Name], WorstKeyGeneration: p.Deadlines.KeyGeneration, OmitAttributes: p.OmitAttributes,
		}, nil
	}, nil
}

// pool is worker.Pool as the agent sees it.
type pool struct {
	*worker.Pool
	log *slog.Logger
}

// instances makes a pool of processes for every configured module.
func instances(station *config.Station, log *slog.Logger) ([]agent.Instance, func(), error) {
	locks := filepath.Join(station.StateDir, "modules")
	if err := os.MkdirAll(locks, 0o700); err != nil {
		return nil, nil, fmt.Errorf("state folder: %w", err)
	}
	var out []agent.Instance
	var pools []*worker.Pool
	for _, m := range station.Modules {
		spec := moduleSpec(station, m)
		spec.Lock = filepath.Join(locks, m.Name+".lock")
		p := worker.NewPool(spec)
		pools = append(pools, p)
		out = append(out, agent.Instance{Name: m.Name, Pool: pool{p, log}, Tokens: m.Tokens})
	}
	return out, func() {
		for _, p := range pools {
			if err := p.Close(); err != nil {
				log.Warn("module process did not end cleanly", "error", err)
			}
		}
	}, nil
}

// moduleSpec is how a configured module is loaded.
func moduleSpec(station *config.Station, m config.Module) worker.Spec {
	spec := worker.Spec{Path: m.Path, Env: m.Env, SHA256: m.SHA256, Deadlines: longest(station.TokenProfiles)}
	if m.Trust == config.TrustOwner {
		spec.Trust = worker.TrustOwner
	}
	return spec
}

// longest takes the longest deadline of each kind over all profiles: which model
// sits behind a module is known only once the module answers.
func longest(profiles []config.TokenProfile) worker.Deadlines {
	var d worker.Deadlines
	for _, p := range profiles {
		d.KeyGeneration = max(d.KeyGeneration, p.Deadlines.KeyGeneration)
		d.Init = max(d.Init, p.Deadlines.Init)
		d.Call = max(d.Call, p.Deadlines.Call)
	}
	return d
}

func capabilities(station *config.Station) []agent.Capability {
	var out []agent.Capability
	for _, p := range station.TokenProfiles {
		out = append(out, agent.Capability{TokenModel: p.Match.Model, Algorithms: config.KeyAlgorithms(), WorstKeyGeneration: p.Deadlines.KeyGeneration})
	}
	return out
}

// readCertificates reads the certificates of a PEM file.
func readCertificates(field, path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &config.FieldError{Field: field, Err: err}
	}
	certs, err := parsePEMCertificates(data)
	if err != nil {
		return nil, &config.FieldError{Field: field, Err: fmt.Errorf("%s: %w", path, err)}
	}
	return certs, nil
}

// newCentral makes the client from the station's credential.
func newCentral(station *config.Station) (*agent.Central, error) {
	if err := station.Enrolled(); err != nil {
		return nil, err
	}
	credential, err := tls.LoadX509KeyPair(station.Central.Certificate, station.Central.Key)
	if err != nil {
		return nil, &config.FieldError{Field: "central.certificate", Err: err}
	}
	roots, err := readCertificates("central.trust", station.Central.Trust)
	if err != nil {
		return nil, err
	}
	trust := x509.NewCertPool()
	for _, r := range roots {
		trust.AddCert(r)
	}
	return agent.NewCentral(station.Central.URLs, credential, trust)
}

// state is the daemon's folder: locked, with the journal and its key open.
type state struct {
	lock       *filelock.Lock
	journal    *provision.Journal
	vault      *provision.Vault
	instanceID string
}

func journalPath(dir string) string { return filepath.Join(dir, "journal.db") }

func openState(dir string) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	lock, err := filelock.Exclusive(filepath.Join(dir, "lock"))
	if errors.Is(err, filelock.ErrHeld) {
		return nil, fmt.Errorf("another usbkeyd works on the state folder %s: stop it first", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	s := &state{lock: lock}
	if err := s.open(dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *state) open(dir string) error {
	exists, err := provision.JournalExists(journalPath(dir))
	if err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if s.vault, err = provision.OpenVault(filepath.Join(dir, "journal.key"), !exists); err != nil {
		return err
	}
	if s.journal, err = provision.OpenJournal(journalPath(dir)); err != nil {
		return err
	}
	s.instanceID, err = instanceID(filepath.Join(dir, "instance-id"))
	return err
}

// Close closes the journal and gives the folder free.
func (s *state) Close() error {
	var errs []error
	if s.journal != nil {
		errs = append(errs, s.journal.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// instanceID is this installation's UUID: the same after every restart.
func instanceID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		id := uuid.NewString()
		return id, os.WriteFile(path, []byte(id+"\n"), 0o600)
	}
	if err != nil {
		return "", err
	}
	id, err := uuid.Parse(strings.TrimSpace(string(data)))
	if err != nil {
		return "", fmt.Errorf("%s does not hold this installation's id: %w", path, err)
	}
	return id.String(), nil
}

// bootID changes with every start of the machine.
func bootID() string {
	if data, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return strings.TrimSpace(string(data))
	}
	return "since-" + time.Now().UTC().Format("20060102")
}
