package bays

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Bay is what is known of one bay: the slot that a token there was seen in, and the USB port,
// "" where nobody told of it. A bay that was left out has neither.
type Bay struct{ Slot, Port string }

// Map is what was taught: bay 1, bay 2 and so on. No port is there twice, nor a slot without one.
type Map []Bay

// most bounds how many bays there may be.
const most = 1024

// ErrMap says that something is not a map as Encode writes it.
var ErrMap = errors.New("not a list of bays")

// file is the form of a map outside: JSON. Ports are as many as bays, or none.
type file struct {
	Bays  []string `json:"bays"`
	Ports []string `json:"ports,omitempty"`
}

// Decode reads a map. ErrMap.
func Decode(data []byte) (Map, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	var f file
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMap, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows it", ErrMap)
	}
	if len(f.Bays) > most {
		return nil, fmt.Errorf("%w: %d bays, at most %d", ErrMap, len(f.Bays), most)
	}
	if len(f.Ports) > 0 && len(f.Ports) != len(f.Bays) {
		return nil, fmt.Errorf("%w: %d bays with %d ports", ErrMap, len(f.Bays), len(f.Ports))
	}
	var m Map
	for i, slot := range f.Bays {
		b := Bay{Slot: slot}
		if len(f.Ports) > 0 {
			b.Port = f.Ports[i]
		}
		if m.holds(b) > 0 {
			return nil, fmt.Errorf("%w: %q is there twice", ErrMap, cmp.Or(b.Port, slot))
		}
		m = append(m, b)
	}
	return m, nil
}

// Encode writes a map as Decode reads it.
func (m Map) Encode() ([]byte, error) {
	f := file{Bays: []string{}}
	for _, b := range m {
		f.Bays, f.Ports = append(f.Bays, b.Slot), append(f.Ports, b.Port)
	}
	if !slices.ContainsFunc(f.Ports, func(port string) bool { return port != "" }) {
		f.Ports = nil
	}
	data, err := json.MarshalIndent(f, "", "  ")
	return append(data, '\n'), err
}

// holds is the number of the bay that a bay would be once more, 0 for none.
func (m Map) holds(b Bay) int {
	return 1 + slices.IndexFunc(m, func(known Bay) bool {
		if b.Port != "" && known.Port != "" {
			return b.Port == known.Port
		}
		return b.Slot != "" && b.Slot == known.Slot
	})
}

// Number is the number of the bay of a slot, from 1; 0 for one that was not taught. port is
// where its token came, "" for not known. A port says it; without one the slot does, where
// only one bay is known by it: a module may name its slots by the order in which tokens came.
func (m Map) Number(slot, port string) int {
	found := 0
	for i, b := range m {
		switch {
		case port != "" && b.Port == port:
			return i + 1
		case slot == "" || b.Slot != slot || port != "" && b.Port != "":
		case found > 0:
			found = -1
		case found == 0:
			found = i + 1
		}
	}
	return max(0, found)
}

// Rank is where a bay with this number comes among those that are filled: taught ones first.
func Rank(number int) int {
	if number > 0 {
		return number
	}
	return most + 1
}
