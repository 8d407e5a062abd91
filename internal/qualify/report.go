package qualify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// Severity is what a finding means for the daemon.
type Severity string

// Severities.
const (
	OK    Severity = "ok"
	Note  Severity = "note"  // it departs from what is usual, and can be lived with
	Unfit Severity = "unfit" // the daemon cannot write such tokens
)

// Finding is one thing that was found out.
type Finding struct {
	Severity Severity `json:"severity"`
	// Probe is which question was asked, such as "serial" or "keys ec-p256".
	Probe string `json:"probe"`
	Text  string `json:"text"`
}

// Timing is how long one kind of call took, in seconds.
type Timing struct {
	Call   string  `json:"call"`
	Count  int     `json:"count"`
	Min    float64 `json:"minSeconds"`
	Median float64 `json:"medianSeconds"`
	Max    float64 `json:"maxSeconds"`
}

// newTiming sums up what was measured at least once.
func newTiming(call string, took []time.Duration) Timing {
	sorted := slices.Sorted(slices.Values(took))
	return Timing{
		Call: call, Count: len(sorted), Min: sorted[0].Seconds(),
		Median: sorted[len(sorted)/2].Seconds(), Max: sorted[len(sorted)-1].Seconds(),
	}
}

// Algorithm is what a token can do with one kind of key.
type Algorithm struct {
	Name string `json:"name"`
	// Claimed: the token lists the mechanisms, for keys of this size.
	Claimed bool `json:"claimed"`
	// Tried, and Works: a key was made, it signed, and its certificate was kept.
	Tried bool `json:"tried"`
	Works bool `json:"works"`
	// Omit are the attributes that the key template must do without.
	Omit []string `json:"omitAttributes"`
	// Login is who makes such keys: "user" or "so".
	Login string `json:"login,omitempty"`
	// KeyID is what became of the CKA_ID that was asked for: "kept", or "rewritten".
	KeyID string `json:"keyId,omitempty"`
	// Claims are the attributes of the private key, as the module claims them.
	Claims map[string]string `json:"claims,omitempty"`
	// Generation is how long making keys took.
	Generation *Timing `json:"generation,omitempty"`
}

// Module is what a module says of itself.
type Module struct {
	Manufacturer    string `json:"manufacturer"`
	Description     string `json:"description"`
	LibraryVersion  string `json:"libraryVersion"`
	CryptokiVersion string `json:"cryptokiVersion"`
}

// Token is a token as it was found.
type Token struct {
	Slot         string `json:"slot"`
	Manufacturer string `json:"manufacturer"`
	Model        string `json:"model"`
	Serial       string `json:"tokenSerial"`
	Label        string `json:"tokenLabel"`
	Flags        string `json:"flags"` // hexadecimal
	MinPIN       int    `json:"minPinLength"`
	MaxPIN       int    `json:"maxPinLength"` // 0: not said
	Firmware     string `json:"firmware"`
	Initialised  bool   `json:"initialised"`
}

func newToken(s pkcs11.Slot) Token {
	t := s.Token
	return Token{
		Slot: s.Description, Manufacturer: t.Manufacturer, Model: t.Model, Serial: string(t.Serial), Label: string(t.Label),
		Flags: fmt.Sprintf("%#x", uint(t.Flags)), MinPIN: t.MinPINLen, MaxPIN: t.MaxPINLen,
		Firmware: t.FirmwareVersion, Initialised: t.Initialized(),
	}
}

// Report is all that was found out.
type Report struct {
	Module Module  `json:"module"`
	Tokens []Token `json:"tokens"`
	// Subject names the token that was looked at closely, "" when there was none.
	Subject string `json:"subject"`
	// Destroyed says what was destroyed, and State what the token is left as; both
	// are "" when nothing was written.
	Destroyed string `json:"destroyed,omitempty"`
	State     string `json:"state,omitempty"`

	Findings   []Finding   `json:"findings"`
	Timings    []Timing    `json:"timings"`
	Algorithms []Algorithm `json:"algorithms"`

	// Verdict is "fit", "fit with quirks" or "not fit: …".
	Verdict string `json:"verdict"`
	Fit     bool   `json:"fit"`
	// Profile is for the configuration, nil for what is not fit.
	Profile *Profile `json:"-"`
	// ProfileYAML is the same as text.
	ProfileYAML string `json:"profile,omitempty"`
}

// add notes a finding; what is found again and again stands there once.
func (r *Report) add(s Severity, probe, format string, args ...any) {
	f := Finding{s, probe, fmt.Sprintf(format, args...)}
	if !slices.Contains(r.Findings, f) {
		r.Findings = append(r.Findings, f)
	}
}

// judge draws the conclusion from the findings.
func (r *Report) judge() {
	var unfit []string
	quirks := false
	for _, f := range r.Findings {
		switch f.Severity {
		case Unfit:
			unfit = append(unfit, f.Probe+": "+f.Text)
		case Note:
			quirks = true
		}
	}
	r.Fit = len(unfit) == 0
	switch {
	case !r.Fit:
		r.Verdict = "not fit: " + strings.Join(unfit, "; ")
	case quirks:
		r.Verdict = "fit with quirks"
	default:
		r.Verdict = "fit"
	}
}
