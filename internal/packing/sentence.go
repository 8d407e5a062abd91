package packing

import "fmt"

// Sentence is something that is said to who packs: a pattern of fmt and what stands in it,
// other sentences too. Whoever speaks another language has the patterns in that.
type Sentence struct {
	pattern string
	args    []any
}

// Say makes a sentence.
func Say(pattern string, args ...any) Sentence { return Sentence{pattern, args} }

// String is the sentence in English.
func (s Sentence) String() string { return fmt.Sprintf(s.pattern, s.args...) }

// Parts are what it is made of.
func (s Sentence) Parts() (pattern string, args []any) { return s.pattern, s.args }

// join makes one of several, of which none ends with a full stop.
func join(all []Sentence) Sentence {
	out := Say("%s.", all[len(all)-1])
	for i := len(all) - 2; i >= 0; i-- {
		out = Say("%s.\n%s", all[i], out)
	}
	return out
}

// Done is what is said of an act, with the table as it is after it; whichever way led to
// it: what a scan does follows from what was scanned.
func (d Desk) Done(a Act) Sentence {
	switch a.Kind {
	case Opened:
		return Say("The parcel of order %s is open: scan its keys.", a.Code)
	case Scanned:
		return Say("%s is in the parcel (%d of %d keys).", a.Code, len(d.Parcel.Keys), len(d.Units))
	case Verified:
		return Say("%s has shown its serial and its certificate.", a.Code)
	case LeftOut:
		return Say("%s is left out of this parcel.", a.Unit)
	case Waybill:
		return Say("The waybill is %s.", a.Code)
	case Undone:
		if !d.Parcel.Open() {
			return Say("The parcel is dropped.")
		}
		if a.Code == "" {
			return Say("Undone: %s.", a.Unit)
		}
		return Say("Undone: %s.", a.Code)
	}
	return Say("The parcel is closed. Its shipment is reported to the central server.")
}
