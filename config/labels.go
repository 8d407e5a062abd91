package config

import (
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Labels is how the labels of finished keys are printed.
type Labels struct {
	// Printer is the name of a queue of CUPS; "" for none.
	Printer string `yaml:"printer"`
	// Server is where CUPS listens on this machine: an absolute path, or a loopback address with its port.
	Server string `yaml:"server"`
	// Size is that of a label in millimetres, width and height, such as 50x30.
	Size string `yaml:"size"`
	// Font is a TrueType font with every character that a company may have.
	Font string `yaml:"font"`
	// Patience is how long a label may take.
	Patience time.Duration `yaml:"patience"`
	// OneAtATime says that a token's label is printed when the token is pulled, and that no other
	// may be pulled before it is stuck on.
	OneAtATime bool `yaml:"oneAtATime"`
}

var labelSize = regexp.MustCompile(`^([0-9]{2,3})x([0-9]{2,3})$`)

// Sizes of labels, in millimetres.
const (
	minLabelWidth, minLabelHeight = 30, 20
	maxLabelSide                  = 210
)

// Millimetres are the label's width and height; 0 for a size that is none.
func (l Labels) Millimetres() (width, height int) {
	m := labelSize.FindStringSubmatch(l.Size)
	if m == nil {
		return 0, 0
	}
	width, _ = strconv.Atoi(m[1]) // they are digits
	height, _ = strconv.Atoi(m[2])
	if width < minLabelWidth || height < minLabelHeight || width > maxLabelSide || height > maxLabelSide {
		return 0, 0
	}
	return width, height
}

// labels looks at the settings of labels.
func (v *validator) labels(l Labels) {
	if w, _ := l.Millimetres(); w == 0 {
		v.fault("labels.size", "width and height in millimetres are wanted, %dx%d to %dx%[3]d, such as 50x30", minLabelWidth, minLabelHeight, maxLabelSide)
	}
	if l.Printer == "" {
		if l.OneAtATime {
			v.fault("labels.printer", "labels that come one at a time (oneAtATime) need a printer")
		}
		return
	}
	v.check("labels.printer", checkQueue(l.Printer))
	if !filepath.IsAbs(l.Server) && !loopback(l.Server) {
		v.fault("labels.server", "the path of CUPS's socket, or a loopback address with its port, is wanted")
	}
	v.check("labels.font", checkModule(l.Font)) // a file, as a module is
	v.duration("labels.patience", l.Patience, 5*time.Second, 10*time.Minute)
}
