package main

import (
	"fmt"
	"os"
	"time"

	"github.com/usbkeyd/usbkeyd/agent"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// tokenProfiles looks a token's profile up and reads its factory SO PIN once.
func tokenProfiles(station *config.Station) (func(pkcs11.TokenInfo) (provision.TokenProfile, error), error) {
	factory, since := map[string]pkcs11.SOPIN{}, map[string]time.Time{}
	for i, p := range station.TokenProfiles {
		if p.FactorySOPINFile == "" {
			continue
		}
		pin, err := config.ReadSecretFile(p.FactorySOPINFile)
		if err != nil {
			return nil, &config.FieldError{Field: fmt.Sprintf("tokenProfiles[%d].factorySoPinFile", i), Err: err}
		}
		info, err := os.Stat(p.FactorySOPINFile)
		if err != nil {
			return nil, &config.FieldError{Field: fmt.Sprintf("tokenProfiles[%d].factorySoPinFile", i), Err: err}
		}
		// A lot that was stopped for a wrong PIN is tried again once the file was written anew.
		factory[p.Name], since[p.Name] = pkcs11.NewSOPIN(string(pin)), info.ModTime()
	}
	return func(info pkcs11.TokenInfo) (provision.TokenProfile, error) {
		p, ok := station.TokenProfileFor(info.Manufacturer, info.Model)
		if !ok {
			return provision.TokenProfile{}, fmt.Errorf("no token profile fits manufacturer %q, model %q", info.Manufacturer, info.Model)
		}
		return provision.TokenProfile{
			Name: p.Name, SOPIN: provision.PINPolicy{Length: p.SOPIN.Length, Alphabet: p.SOPIN.Characters()},
			FactorySOPIN: factory[p.Name], FactorySince: since[p.Name], WorstKeyGeneration: p.Deadlines.KeyGeneration, OmitAttributes: p.OmitAttributes,
		}, nil
	}, nil
}

func capabilities(station *config.Station) []agent.Capability {
	var out []agent.Capability
	for _, p := range station.TokenProfiles {
		out = append(out, agent.Capability{TokenModel: p.Match.Model, Algorithms: config.KeyAlgorithms(), WorstKeyGeneration: p.Deadlines.KeyGeneration})
	}
	return out
}
