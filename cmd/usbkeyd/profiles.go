package main

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/attestation"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// settle is how long pcscd and modules may take to notice that a token was pulled
// before a verdict on it is believed: pcsc-lite looks 2.5 times a second.
const settle = time.Second

// tokenProfiles looks a token's profile up. The files that profiles name are read once.
func tokenProfiles(station *config.Station) (func(pkcs11.TokenInfo) (provision.TokenProfile, error), error) {
	profiles := map[string]provision.TokenProfile{}
	for i, p := range station.TokenProfiles {
		profile, err := tokenProfile(p)
		if err != nil {
			return nil, fmt.Errorf("tokenProfiles[%d]: %w", i, err)
		}
		profiles[p.Name] = profile
	}
	return func(info pkcs11.TokenInfo) (provision.TokenProfile, error) {
		p, ok := station.TokenProfileFor(info.Manufacturer, info.Model)
		if !ok {
			return provision.TokenProfile{}, fmt.Errorf("no token profile fits manufacturer %q, model %q", info.Manufacturer, info.Model)
		}
		return profiles[p.Name], nil
	}, nil
}

// tokenProfile is a configured profile in the pipeline's terms.
func tokenProfile(p config.TokenProfile) (provision.TokenProfile, error) {
	out := provision.TokenProfile{
		Name: p.Name, SOPIN: provision.PINPolicy{Length: p.SOPIN.Length, Alphabet: p.SOPIN.Characters()},
		WorstKeyGeneration: p.Deadlines.KeyGeneration, WorstInit: p.Deadlines.Init, WorstCall: p.Deadlines.Call,
		OmitAttributes: p.OmitAttributes, OwnLabels: p.OwnLabels,
		Identity: provision.IdentityBy(p.Identity), AsMade: !p.Initialise,
		UserPIN: provision.UserPINBy(p.UserPIN), SOPINUncounted: p.SOPINUncounted, SOWritesKeys: p.KeyLogin == "so",
		ForcesChange: p.ForcesPINChange,
	}
	so, since, err := factoryPIN(p.FactorySOPINFile, p.WellKnownSOPIN)
	if err != nil {
		return out, &config.FieldError{Field: "factorySoPinFile", Err: err}
	}
	// A lot that was stopped for a wrong PIN is tried again once the file was written anew.
	out.FactorySOPIN, out.FactorySince = pkcs11.NewSOPIN(so), since
	user, _, err := factoryPIN(p.FactoryUserPINFile, p.WellKnownUserPIN)
	if err != nil {
		return out, &config.FieldError{Field: "factoryUserPinFile", Err: err}
	}
	out.FactoryUserPIN = pkcs11.NewUserPIN(user)
	if out.KeyID, err = hex.DecodeString(p.KeyID); err != nil {
		return out, &config.FieldError{Field: "keyId", Err: err}
	}
	for _, text := range p.CAKeyIDs {
		id, err := hex.DecodeString(text)
		if err != nil {
			return out, &config.FieldError{Field: "caKeyIds", Err: err}
		}
		out.CAKeyIDs = append(out.CAKeyIDs, id)
	}
	out.Attest, err = attest(p.AttestationTrust)
	return out, err
}

// factoryPIN is the PIN in a file and when that was written, or the published one.
func factoryPIN(file, wellKnown string) (string, time.Time, error) {
	if file == "" {
		return wellKnown, time.Time{}, nil
	}
	pin, err := config.ReadSecretFile(file)
	if err != nil {
		return "", time.Time{}, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", time.Time{}, err
	}
	return string(pin), info.ModTime(), nil
}

// attest checks attestations against the roots in a file; nil without one.
func attest(file string) (func([]pkcs11.Object, []byte, pkcs11.TokenSerial) (string, error), error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, &config.FieldError{Field: "attestationTrust", Err: err}
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, &config.FieldError{Field: "attestationTrust", Err: fmt.Errorf("%s: no certificate in it", file)}
	}
	return attestation.YubiKey(roots, time.Now), nil
}

func capabilities(station *config.Station) []agent.Capability {
	var out []agent.Capability
	for _, p := range station.TokenProfiles {
		out = append(out, agent.Capability{TokenModel: p.Match.Model, Algorithms: config.KeyAlgorithms(), WorstKeyGeneration: p.Deadlines.KeyGeneration})
	}
	return out
}
