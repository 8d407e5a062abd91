package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
)

const mailerFont = "/usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf"

func TestNewMailers(t *testing.T) {
	notFont := filepath.Join(t.TempDir(), "sample.ttf")
	if err := os.WriteFile(notFont, []byte("sample"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := func() error { return nil }
	elsewhere := func() error { return errors.New("not on this system") }
	rows := []struct {
		name      string
		delivery  string
		font      string
		supported func() error
		field     string
		none      bool
	}{
		{"sealed needs nothing", config.DeliverSealed, notFont, elsewhere, "", true},
		{"mailers", config.DeliverMailer, mailerFont, here, "", false},
		{"mailers where none are printed", config.DeliverMailer, mailerFont, elsewhere, "mailer", true},
		{"a font that is none", config.DeliverMailer, notFont, here, "mailer.font", true},
		{"no font", config.DeliverMailer, notFont + "x", here, "mailer.font", true},
	}
	for _, row := range rows {
		s := &config.Station{Products: []config.Product{{UserPIN: config.UserPIN{Delivery: row.delivery}}}, Mailer: config.Mailer{Font: row.font}}
		m, err := newMailers(s, row.supported)
		var field *config.FieldError
		if got := errors.As(err, &field); got != (row.field != "") || got && field.Field != row.field || (m == nil) != row.none {
			t.Errorf("%s: %v, %v", row.name, m, err)
		}
	}
}

// TestLanguages: what may be configured is what letters are written in.
func TestLanguages(t *testing.T) {
	var have []string
	for _, l := range mailer.Languages() {
		have = append(have, string(l))
	}
	if !slices.Equal(have, config.Languages()) {
		t.Errorf("letters are in %s, settings take %s", strings.Join(have, ", "), strings.Join(config.Languages(), ", "))
	}
}
