package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/internal/output"
)

// shownIdentity is what identity show tells.
type shownIdentity struct {
	Station string `json:"station"`
	Tier    string `json:"tier"`
	// Device and Maker are the TPM's; EKSHA256 is its endorsement key.
	Device   string `json:"device,omitempty"`
	Maker    string `json:"maker,omitempty"`
	EKSHA256 string `json:"endorsementKeySha256,omitempty"`
	// KeySHA256 is the SHA-256 of the station key's SubjectPublicKeyInfo.
	KeySHA256 string     `json:"keySha256,omitempty"`
	NotAfter  *time.Time `json:"certificateUntil,omitempty"`
	// Trouble is what is wrong.
	Trouble string `json:"trouble,omitempty"`
}

func newIdentityShow(s streams, load func() (*config.Station, error)) *cobra.Command {
	var format output.Format
	c := &cobra.Command{
		Use: "show", Short: "Show where this station's key is, and whether it works", Args: noArgs,
		Long: `Show where this station's key is, the TPM and its endorsement key, and until when
the certificate is good. With a key in the TPM it is asked to sign. On a machine that
has no station's key yet, a key is made to ask the TPM with, and forgotten.`,
		RunE: func(*cobra.Command, []string) error {
			station, err := load()
			if err != nil {
				return err
			}
			shown, trouble := showIdentity(station)
			if trouble != nil {
				shown.Trouble = trouble.Error()
			}
			rows := output.Rows{Header: []string{"WHAT", "IS"}, Facts: true}
			add := func(what, is string) {
				if is != "" {
					rows.Rows = append(rows.Rows, []string{what, is})
				}
			}
			add("station", shown.Station)
			if shown.Tier == config.TierFile {
				add("key", s.words.Say(lowerTier))
			} else {
				add("key", s.words.Say("in the TPM, which it cannot leave"))
			}
			add("TPM", shown.Device)
			add("maker", shown.Maker)
			add("endorsement key", shown.EKSHA256)
			add("key SHA-256", shown.KeySHA256)
			if shown.NotAfter != nil {
				add("certificate until", shown.NotAfter.Local().Format("2006-01-02 15:04"))
			}
			if err := s.print(format, rows, shown); err != nil {
				return err
			}
			return explainTPM(trouble)
		},
	}
	output.AddFlag(c.Flags(), &format)
	return c
}

// showIdentity finds out what it can; the error is the first trouble.
func showIdentity(station *config.Station) (out shownIdentity, err error) {
	out = shownIdentity{Station: station.Name, Tier: station.Identity.Tier}
	tpm := stationTPM(station)
	defer closeTPM(tpm)
	if tpm != nil {
		if out.Device = station.Identity.Device; out.Device == "" {
			out.Device = identity.DefaultDevice
		}
		if out.Maker, err = tpm.Check(); err != nil {
			return out, err
		}
		if out.EKSHA256, err = anyEndorsementKey(station, tpm); err != nil {
			return out, err
		}
	}
	own, _, err := credential(station, tpm)
	if err != nil {
		return out, err
	}
	out.NotAfter, out.KeySHA256 = &own.Leaf.NotAfter, hexSHA256(own.Leaf.RawSubjectPublicKeyInfo)
	return out, trySigning(own.PrivateKey)
}

// anyEndorsementKey asks through the station's key, or through one made for it.
func anyEndorsementKey(station *config.Station, tpm *identity.TPM) (string, error) {
	key, err := stationKey(station, tpm)
	if err != nil {
		kept, err := tpm.MakeKeys()
		if err != nil {
			return "", err
		}
		if key, err = tpm.LoadKey(kept); err != nil {
			return "", err
		}
	}
	ek, err := endorsementKey(key)
	if err != nil {
		return "", fmt.Errorf("endorsement key: %w", err)
	}
	return ek, nil
}
