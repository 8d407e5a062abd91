package drop

import (
	"crypto/x509"
	"log/slog"
	"os"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/ca/settings"
)

const (
	defaultPoll = 10 * time.Second
	// defaultSettle outlasts the pauses of a copy over a network file system.
	defaultSettle = 2 * time.Second
	// defaultPatience is for a copy that was begun and goes on slowly.
	defaultPatience = time.Minute
)

// Config says where files are exchanged.
type Config struct {
	// Dir has to exist; out, in, done and aside are made in it.
	Dir string
	// Roots are the trust anchors of what the CA issues.
	Roots []*x509.Certificate
	// Issuers are the certificates between those and the users', for answers that do not bring them.
	Issuers []*x509.Certificate
	// Poll is between looks for an answer; 10 s if zero.
	Poll time.Duration
	// Settle is how long a file must not have changed before it is taken; 2 s if zero.
	Settle time.Duration
	// Patience is how long a file that is not whole must not have changed before it is
	// set aside; 1 minute if zero.
	Patience time.Duration
	// Logger is told of files that are set aside. Nil discards.
	Logger *slog.Logger
}

// file is Config as it is written down.
type file struct {
	Directory   string `json:"directory"`
	Roots       string `json:"roots"`
	Issuers     string `json:"issuers"`
	PollSeconds *int   `json:"pollSeconds"`
}

// ReadConfig reads the settings and the files that they name. Its error tells all faults.
func ReadConfig(path string) (Config, error) {
	var in file
	f, err := settings.Read(path, &in)
	if err != nil {
		return Config{}, err
	}
	c := Config{Dir: f.Path(in.Directory)}
	if f.Require("directory", in.Directory) {
		if info, err := os.Stat(c.Dir); err != nil {
			f.Fault("directory", "%w", err)
		} else if !info.IsDir() {
			f.Fault("directory", "%s is not a directory", c.Dir)
		}
	}
	c.Roots = f.CACertificates("roots", in.Roots)
	if in.Issuers != "" {
		c.Issuers = f.CACertificates("issuers", in.Issuers)
	}
	c.Poll = f.Seconds("pollSeconds", in.PollSeconds, int(defaultPoll/time.Second), 1, 3600)
	return c, f.Err()
}

func (c Config) complete() Config {
	if c.Poll == 0 {
		c.Poll = defaultPoll
	}
	if c.Settle == 0 {
		c.Settle = defaultSettle
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
