package config

import (
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Limits of counts.
const (
	maxURLs       = 8
	maxRecipients = 8 // as many as one envelope is sealed to
	minOfficers   = 2 // so that one lost key loses no token
	maxModules    = 64
	maxPCR        = 23
	maxTokens     = 64
	maxCarriers   = 16
)

// Validate looks at every value, and at the files that must be there, and
// returns all faults joined, each a *FieldError. Names that belong to
// certificates (attribute types, usages, templates of the subject) are judged
// by package csr when the profile is compiled.
func (s *Station) Validate() error {
	var v validator
	v.check("station", checkName(s.Name, 63))
	if !filepath.IsAbs(s.StateDir) {
		v.fault("stateDir", "an absolute path is wanted")
	}
	v.central(s.Central, s.Identity.Tier)
	v.identity(s.Identity)
	if s.SealsUserPINs() || len(s.Products) == 0 || len(s.Recipients.UserPIN) > 0 {
		v.fingerprints("recipients.userPin", s.Recipients.UserPIN, 1)
	}
	v.fingerprints("recipients.soPin", s.Recipients.SOPIN, minOfficers)
	v.check("certificateTrust", checkPEM(s.CertificateTrust))
	v.modules(s.Modules)
	for i, t := range s.TokenProfiles {
		v.tokenProfile(fmt.Sprintf("tokenProfiles[%d]", i), t, s.TokenProfiles[:i])
	}
	if len(s.Products) == 0 {
		v.fault("products", "at least one is needed")
	}
	for i, p := range s.Products {
		v.product(fmt.Sprintf("products[%d]", i), p, s.Products[:i])
	}
	if s.PrintsMailers() || s.Mailer.Printer != "" {
		v.mailer(s.Mailer)
	}
	v.console(s.Console)
	v.packing(s.Packing)
	v.labels(s.Labels)
	v.metrics(s)
	if s.Journal.Keep != 0 { // for ever
		v.duration("journal.keep", s.Journal.Keep, time.Second, 100*365*24*time.Hour)
	}
	return errors.Join(v.errs...)
}

// metrics looks at the port for metrics.
func (v *validator) metrics(s *Station) {
	switch port := s.Metrics.Port; {
	case port == 0: // off
	case port < 1024 || port > 65535:
		v.fault("metrics.port", "%d is not between 1024 and 65535", port)
	case port == s.Console.Port:
		v.fault("metrics.port", "the operator's page (console.port) has this port: choose another")
	}
}

// packing looks at the settings of the packing table.
func (v *validator) packing(p Packing) {
	if len(p.Waybills) == 0 || len(p.Waybills) > maxCarriers {
		v.fault("packing.waybills", "%d to %d are needed, %d are given", 1, maxCarriers, len(p.Waybills))
	}
	for i, text := range p.Waybills {
		if _, err := regexp.Compile(text); err != nil || text == "" {
			v.fault(fmt.Sprintf("packing.waybills[%d]", i), "a regular expression (RE2) is wanted")
		}
	}
	v.oneOf("packing.verify", p.Verify, Verifications())
}

// Enrolled tells whether the station's certificate is there and, in the tier file,
// its key, readable by its owner alone. Validate leaves them alone as long as both
// are missing, because a station is configured before it enrols.
func (s *Station) Enrolled() error {
	var v validator
	v.check("central.certificate", checkPEM(s.Central.Certificate))
	if s.Identity.Tier == TierFile {
		v.check("central.key", checkKeyFile(s.Central.Key))
	}
	return errors.Join(v.errs...)
}

type validator struct{ errs []error }

func (v *validator) check(field string, err error) {
	if err != nil {
		v.errs = append(v.errs, &FieldError{field, err})
	}
}

func (v *validator) fault(field, format string, args ...any) {
	v.check(field, fmt.Errorf(format, args...))
}

func (v *validator) identity(i Identity) {
	switch i.Tier {
	case TierTPM:
	case TierFile:
		if i.Device != "" || len(i.PCRs) > 0 || len(i.Recovery) > 0 {
			v.fault("identity.tier", "device, pcrs and recovery are for the tier tpm: leave them out, or choose that tier")
		}
		return
	default:
		v.oneOf("identity.tier", i.Tier, []string{TierTPM, TierFile})
	}
	for n, p := range i.PCRs {
		field := fmt.Sprintf("identity.pcrs[%d]", n)
		if p < 0 || p > maxPCR {
			v.fault(field, "%d is not between %d and %d", p, 0, maxPCR)
		} else if slices.Contains(i.PCRs[:n], p) {
			v.fault(field, "given twice: leave one out")
		}
	}
	if len(i.PCRs) > 0 && len(i.Recovery) == 0 {
		v.fault("identity.recovery", "with pcrs at least one is needed: other firmware or settings lock the journal")
	}
	if len(i.Recovery) > maxRecipients {
		v.fault("identity.recovery", "up to %d are possible, %d are given", maxRecipients, len(i.Recovery))
	}
	for n, path := range i.Recovery {
		field := fmt.Sprintf("identity.recovery[%d]", n)
		v.check(field, checkPEM(path))
		if slices.Contains(i.Recovery[:n], path) {
			v.fault(field, "given twice: leave one out")
		}
	}
}

func (v *validator) central(c Central, tier string) {
	if len(c.URLs) == 0 || len(c.URLs) > maxURLs {
		v.fault("central.urls", "%d to %d are needed, %d are given", 1, maxURLs, len(c.URLs))
	}
	for i, raw := range c.URLs {
		field := fmt.Sprintf("central.urls[%d]", i)
		u, err := url.Parse(raw)
		switch {
		case err != nil:
			v.fault(field, "not a URL such as https://central.example.com:8443")
		case u.Scheme != "https":
			v.fault(field, "a URL that begins with https:// is wanted")
		case u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "":
			v.fault(field, "a host, a port and a path only are allowed in the URL: no user, query or fragment")
		case slices.Contains(c.URLs[:i], raw):
			v.fault(field, "given twice: leave one out")
		}
	}
	v.check("central.trust", checkPEM(c.Trust))
	if tier != TierFile {
		switch {
		case c.Certificate == "":
			v.fault("central.certificate", "the path of a file is needed")
		case !absent(c.Certificate):
			v.check("central.certificate", checkPEM(c.Certificate))
		}
		return
	}
	if c.Certificate == "" || c.Key == "" {
		if c.Certificate == "" {
			v.fault("central.certificate", "the path of a file is needed")
		}
		if c.Key == "" {
			v.fault("central.key", "the path of a file is needed")
		}
		return
	}
	if absent(c.Certificate) && absent(c.Key) {
		return
	}
	v.check("central.certificate", checkPEM(c.Certificate))
	v.check("central.key", checkKeyFile(c.Key))
}

func (v *validator) fingerprints(field string, prints []string, least int) {
	if len(prints) < least || len(prints) > maxRecipients {
		v.fault(field, "%d to %d are needed, %d are given", least, maxRecipients, len(prints))
	}
	for i, p := range prints {
		at := fmt.Sprintf("%s[%d]", field, i)
		if b, err := hex.DecodeString(p); err != nil || len(b) != 32 {
			v.fault(at, "not a SHA-256 of 64 hexadecimal digits")
		} else if slices.Contains(prints[:i], p) {
			v.fault(at, "given twice: leave one out")
		}
	}
}

func (v *validator) modules(modules []Module) {
	if len(modules) == 0 || len(modules) > maxModules {
		v.fault("modules", "%d to %d are needed, %d are given", 1, maxModules, len(modules))
	}
	for i, m := range modules {
		field := fmt.Sprintf("modules[%d]", i)
		v.check(field+".name", checkName(m.Name, 63))
		if slices.ContainsFunc(modules[:i], func(o Module) bool { return o.Name == m.Name }) {
			v.fault(field+".name", "%q is given twice", m.Name)
		}
		v.check(field+".path", checkModule(m.Path))
		same := func(o Module) bool {
			return filepath.Clean(o.Path) == filepath.Clean(m.Path) && maps.Equal(o.Env, m.Env) && o.Reserved == m.Reserved
		}
		if at := slices.IndexFunc(modules[:i], same); at >= 0 {
			v.fault(field+".path", "modules[%d] is the same library in the same environment, so both would show the same tokens: leave one of them out", at)
		}
		for _, name := range slices.Sorted(maps.Keys(m.Env)) {
			switch value := m.Env[name]; {
			case !slices.Contains(AllowedEnvironment(), name):
				v.fault(field+".env."+name, "this variable is not allowed; these are: %s", strings.Join(AllowedEnvironment(), ", "))
			case value == "" || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }):
				v.fault(field+".env."+name, "a value without control characters is needed")
			}
		}
		if m.Tokens < 1 || m.Tokens > maxTokens {
			v.fault(field+".tokens", "%d is not between %d and %d", m.Tokens, 1, maxTokens)
		}
		v.oneOf(field+".trust", m.Trust, []string{TrustRoot, TrustOwner})
		if b, err := hex.DecodeString(m.SHA256); m.SHA256 != "" && (err != nil || len(b) != 32 || strings.ToLower(m.SHA256) != m.SHA256) {
			v.fault(field+".sha256", "not a SHA-256 of 64 small hexadecimal digits, as sha256sum prints it")
		}
		if strings.ContainsFunc(m.Reserved, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			v.fault(field+".reserved", "a text without control characters is wanted")
		}
	}
}

// checkName takes a DNS label in small letters (RFC 1123, 2.1): it ends up in file names and certificates.
func checkName(s string, limit int) error {
	bad := strings.ContainsFunc(s, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' })
	if s == "" || len(s) > limit || bad || strings.HasPrefix(s, "-") || strings.HasSuffix(s, "-") {
		return fmt.Errorf("1 to %d of a-z, 0-9 and -, neither beginning nor ending with -, are wanted", limit)
	}
	return nil
}

func checkModule(path string) error {
	if !filepath.IsAbs(path) {
		return errors.New("an absolute path is wanted")
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// checkPEM wants certificates and nothing else in the file. Whether they are
// any good is for who uses them.
func checkPEM(path string) error {
	if path == "" {
		return errors.New("the path of a file is needed")
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxFile))
	if err != nil {
		return err
	}
	certificates := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("%s holds a PEM block %q; only certificates belong in it", path, block.Type)
		}
		certificates++
	}
	if certificates == 0 {
		return fmt.Errorf("%s holds no PEM certificate", path)
	}
	return nil
}

func checkKeyFile(path string) error {
	data, err := readPrivate(path, MaxFile)
	if err != nil {
		return err
	}
	defer clear(data)
	block, _ := pem.Decode(data)
	if block == nil || !strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return fmt.Errorf("%s holds no PEM private key", path)
	}
	return nil
}
