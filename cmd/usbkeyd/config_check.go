package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
)

func newConfigCheck(s streams, path *string, load func() (*config.Station, error)) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Check the configuration and the files it names", Args: noArgs,
		Long: `Check the configuration and the files it names, and print every fault with the
path of its field. Nothing is loaded, contacted or written.`,
		RunE: func(*cobra.Command, []string) error {
			station, err := load()
			if errors.Is(err, config.ErrSyntax) || errors.Is(err, config.ErrInvalid) {
				return errors.Join(err, errors.New("more is checked once these are mended"))
			}
			if err != nil {
				return err
			}
			if err := checkStation(station); err != nil {
				file, noPath := filepath.Abs(*path) // as loading names it
				return errors.Join(fmt.Errorf("%s: %w", file, err), noPath)
			}
			_, err = s.words.Fprintf(s.out, "%s is in order: station %s, %d modules, %d token profiles, %d products\n",
				*path, station.Name, len(station.Modules), len(station.TokenProfiles), len(station.Products))
			printNotes(s.words, s.out, moduleNotes(station))
			if station.Identity.Tier == config.TierFile {
				_, _ = s.words.Fprintln(s.out, "The station's key:", lowerTier)
			}
			if enrolled := station.Enrolled(); enrolled != nil {
				_, _ = s.words.Fprintln(s.out, "The station has no credential yet:", enrolled)
			}
			return err
		},
	}
}

// checkStation looks at what loading leaves alone: all faults, joined.
func checkStation(station *config.Station) error {
	_, productErr := newCatalogue(station)
	_, profileErr := tokenProfiles(station)
	_, trustErr := readCertificates("certificateTrust", station.CertificateTrust)
	_, mailerErr := newMailers(station, cups.Supported)
	_, labelErr := newLabels(station, cups.Supported)
	return errors.Join(productErr, profileErr, trustErr, mailerErr, labelErr)
}
