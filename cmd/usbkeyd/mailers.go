package main

import (
	"os"
	"path/filepath"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cups"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
)

// mailers is what this station needs to print PIN mailers; nil where it prints none.
type mailers struct {
	font     *typeface.Font
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
	font, err := readFont("mailer.font", m.Font)
	if err != nil {
		return nil, err
	}
	return &mailers{
		font:     font,
		printer:  cups.Printer{Name: m.Printer, Server: m.Server, Spool: m.Spool, Media: "A4", Title: "letter", Patience: m.Patience},
		language: mailer.Language(m.Language),
	}, nil
}

// readFont reads a font that a field of the configuration names.
func readFont(field, path string) (*typeface.Font, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &config.FieldError{Field: field, Err: err}
	}
	f, err := typeface.Parse(filepath.Base(path), data)
	if err != nil {
		return nil, &config.FieldError{Field: field, Err: err}
	}
	return f, nil
}
