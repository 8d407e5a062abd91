package agent

import (
	"slices"

	"github.com/usbkeyd/usbkeyd/provision"
)

// What a person does next where it is not a step that failed.
const (
	hintByItself = "The job is tried again by itself."
	hintAsked    = "The unit is asked for again."
	hintModule   = "Put the module back into the configuration."
	hintNotBack  = "Put the token aside: whoever runs the central server knows what became of its unit. Wipe it before it is used again."
	hintMoved    = "Wipe this token before it is used again; its unit is written on another one."
)

// Hints are all that a job's hint may be, but for those of an alarm.
func Hints() []string {
	out := provision.Hints()
	for _, h := range []string{hintByItself, hintAsked, hintModule, hintNotBack, hintMoved} {
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
