package doctor

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
)

// Facts are all that a bundle may hold. There is no field for a text that somebody else has
// written: no message, name, path, address, serial or id.
type Facts struct {
	Machine  Machine        `json:"machine"`
	Station  Station        `json:"station"`
	Findings []BundledFound `json:"findings"`
	Jobs     []Job          `json:"jobs"`
}

// Machine is which program runs where.
type Machine struct {
	Program  string   `json:"program"`
	Go       string   `json:"go"`
	Platform string   `json:"platform"`
	Build    []string `json:"build"`
}

// Station is the shape of the configuration. Algorithms and Deliveries are the products',
// Profiles the built-in token profiles that are not replaced.
type Station struct {
	Tier          string   `json:"tier"`
	Servers       int      `json:"servers"`
	Modules       int      `json:"modules"`
	OwnProfiles   int      `json:"ownProfiles"`
	Algorithms    []string `json:"algorithms"`
	Deliveries    []string `json:"deliveries"`
	UserPINOpener int      `json:"userPinRecipients"`
	SOPINOpeners  int      `json:"soPinRecipients"`
}

// BundledFound is a finding without what was found.
type BundledFound struct {
	Check  string `json:"check"`
	State  State  `json:"state"`
	Code   string `json:"code"`
	Number *int64 `json:"number,omitempty"`
}

// Job is a job of the journal, by its place in it.
type Job struct {
	Place   int     `json:"place"`
	State   string  `json:"state"`
	Step    string  `json:"step"`
	Waiting string  `json:"waiting,omitempty"`
	Seconds float64 `json:"seconds"`
}

// Bundled leaves out of findings what no bundle may hold.
func Bundled(all []Finding) []BundledFound {
	out := []BundledFound{}
	for _, f := range all {
		out = append(out, BundledFound{f.Check, f.State, f.Code, f.Number})
	}
	return out
}

const readMe = `A support bundle of usbkeyd. facts.json is all of it: the build, the shape of the configuration,
what "usbkeyd doctor" found by its codes, and how far each job has come. No secret, name, address,
path, serial number or id is in it.
`

// WriteBundle writes a bundle (ZIP).
func WriteBundle(w io.Writer, f Facts) error {
	text, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	z := zip.NewWriter(w)
	for _, file := range []struct {
		name string
		text []byte
	}{{"README.txt", []byte(readMe)}, {"facts.json", text}} {
		// Stored, not deflated: whoever gets it may look at every byte without unpacking.
		at, err := z.CreateHeader(&zip.FileHeader{Name: file.name, Method: zip.Store})
		if err == nil {
			_, err = at.Write(file.text)
		}
		if err != nil {
			return fmt.Errorf("bundle: %w", err)
		}
	}
	return z.Close()
}
