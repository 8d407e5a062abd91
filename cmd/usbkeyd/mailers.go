package main

import (
	"os"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
)

// mailers is what this station needs to print PIN mailers; nil where it prints none.
type mailers struct {
	font     *mailer.Font
	printer  cups.Printer
	language mailer.Language
}

// newMailers makes it ready; faults have their field paths. supported says why this
// system prints none.
func newMailers(station *config.Station, supported func() error) (*mailers, error) {
	if !station.PrintsMailers() {
		return nil, nil
	}
	if err := supported(); err != nil {
		return nil, &config.FieldError{Field: "mailer", Err: err}
	}
	m := station.Mailer
	data, err := os.ReadFile(m.Font)
	if err != nil {
		return nil, &config.FieldError{Field: "mailer.font", Err: err}
	}
	font, err := mailer.ParseFont(filepath.Base(m.Font), data)
	if err != nil {
		return nil, &config.FieldError{Field: "mailer.font", Err: err}
	}
	return &mailers{
		font:     font,
		printer:  cups.Printer{Name: m.Printer, Server: m.Server, Spool: m.Spool, Patience: m.Patience},
		language: mailer.Language(m.Language),
	}, nil
}
