package packing

import (
	"slices"
	"time"
)

// ActKind is what a person does to a parcel. Kinds are written down for ever, so they
// never change meaning.
type ActKind string

// Kinds of acts.
const (
	Opened   ActKind = "opened"   // Code is the order
	Scanned  ActKind = "scanned"  // Code is the token serial
	Verified ActKind = "verified" // the token itself has shown this serial and its certificate
	LeftOut  ActKind = "left-out" // the unit is not in this parcel, and need not be
	Waybill  ActKind = "waybill"  // Code is the number
	Undone   ActKind = "undone"   // Undoes is the act
	Closed   ActKind = "closed"
)

// Act is one thing that was done to a parcel, or is about to be written down.
type Act struct {
	// N numbers all acts of a station from 1, and Parcel is that of the act that opened
	// the parcel; 0 while they are not written down.
	N      int64     `json:"n"`
	Parcel int64     `json:"parcel"`
	Kind   ActKind   `json:"kind"`
	Unit   string    `json:"unitId,omitempty"`
	Job    string    `json:"jobId,omitempty"`
	Code   string    `json:"code,omitempty"`
	Undoes int64     `json:"undoes,omitempty"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// Key is a token in a parcel.
type Key struct {
	Unit     string `json:"unitId"`
	Job      string `json:"jobId"`
	Token    string `json:"tokenSerial"`
	By       string `json:"by"`
	Verified bool   `json:"verified"`
}

// Parcel is what its acts have made of it.
type Parcel struct {
	N     int64
	Order string
	// Keys are in the order in which they were scanned.
	Keys    []Key
	LeftOut []string
	Waybill string
	// ClosedBy is who answers for the whole parcel; "" while it is open.
	ClosedBy           string
	OpenedAt, ClosedAt time.Time
	// standing are the acts that can be undone, in their order.
	standing []Act
}

// Open reports whether the parcel can still change.
func (p Parcel) Open() bool { return p.ClosedBy == "" && len(p.standing) > 0 }

// Dropped reports whether its opening was undone.
func (p Parcel) Dropped() bool { return p.N != 0 && len(p.standing) == 0 }

// Tokens are the serials of its keys.
func (p Parcel) Tokens() []string {
	out := make([]string, len(p.Keys))
	for i, k := range p.Keys {
		out[i] = k.Token
	}
	return out
}

func (p Parcel) key(unit string) (Key, bool) {
	i := slices.IndexFunc(p.Keys, func(k Key) bool { return k.Unit == unit })
	if i < 0 {
		return Key{}, false
	}
	return p.Keys[i], true
}

// Replay makes a parcel of its acts, in their order. It does not judge them: that was
// done before they were written down.
func Replay(acts []Act) Parcel {
	var p Parcel
	for _, a := range acts {
		switch a.Kind {
		case Undone:
			p.standing = slices.DeleteFunc(p.standing, func(s Act) bool { return s.N == a.Undoes })
		case Closed:
			p.ClosedBy, p.ClosedAt = a.By, a.At
		case Opened:
			p.N, p.Order, p.OpenedAt = a.N, a.Code, a.At
			p.standing = append(p.standing, a)
		default:
			p.standing = append(p.standing, a)
		}
	}
	for _, a := range p.standing {
		switch a.Kind {
		case Scanned:
			p.Keys = append(p.Keys, Key{Unit: a.Unit, Job: a.Job, Token: a.Code, By: a.By})
		case Verified:
			// That of a scan that was undone goes with it: a verification names the scan's job,
			// and counts for a scan before it only.
			if i := slices.IndexFunc(p.Keys, func(k Key) bool { return k.Job == a.Job }); i >= 0 {
				p.Keys[i].Verified = true
			}
		case LeftOut:
			p.LeftOut = append(p.LeftOut, a.Unit)
		case Waybill:
			p.Waybill = a.Code
		}
	}
	return p
}
