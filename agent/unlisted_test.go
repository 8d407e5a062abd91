package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestWhichTokensAreListed has A1 and A2 on the list.
func TestWhichTokensAreListed(t *testing.T) {
	factory := pkcs11.FlagTokenInitialized
	rows := []struct {
		name     string
		limit    int
		slots    []pkcs11.Slot
		free     []string
		unlisted []string // serials, or slot descriptions of tokens without one
	}{
		{"on the list", 1, []pkcs11.Slot{slot("s1", "A1", factory)}, []string{"A1"}, nil},
		{"not on the list", 1, []pkcs11.Slot{slot("s1", "B1", factory)}, nil, []string{"B1"}},
		{"no serial", 1, []pkcs11.Slot{slot("s1", "", 0)}, nil, []string{"s1"}},
		{"each by itself", 4, []pkcs11.Slot{slot("s1", "A1", 0), slot("s2", "B1", 0), slot("s3", "A2", 0)}, []string{"A1", "A2"}, []string{"B1"}},
		{"the blank slot beside a software token", 1, []pkcs11.Slot{slot("s0", "", 0), slot("s1", "A1", factory)}, []string{"A1"}, nil},
		{"the blank slot beside one that is not listed", 1, []pkcs11.Slot{slot("s0", "", 0), slot("s1", "B1", factory)}, nil, []string{"B1"}},
		{"one that is not listed takes no place", 1, []pkcs11.Slot{slot("s1", "B1", factory), slot("s2", "A1", factory)}, []string{"A1"}, []string{"B1"}},
		{"used, and not on the list", 1, []pkcs11.Slot{slot("s1", "B1", used)}, nil, nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inv := newInventory([]Instance{{Name: "m", Tokens: row.limit}}, func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
				return provision.TokenProfile{Name: "sample", FactorySOPIN: pkcs11.NewSOPIN("12345678")}, nil
			})
			inv.prove("sample")
			inv.delivered = func(info pkcs11.TokenInfo) error {
				if info.Serial == "A1" || info.Serial == "A2" {
					return nil
				}
				return provision.ErrNotDelivered
			}
			inv.saw(inv.instance("m"), time.Now(), row.slots, nil)
			var free, unlisted []string
			for _, f := range inv.free() {
				free = append(free, string(f.Identity.Serial)+f.Identity.SlotDescription)
			}
			for _, u := range inv.unlisted() {
				unlisted = append(unlisted, string(u.Token.Identity.Serial)+u.Token.Identity.SlotDescription)
				if !errors.Is(u.Err, provision.ErrNotDelivered) {
					t.Errorf("%v", u.Err)
				}
			}
			if !slices.Equal(free, row.free) || !slices.Equal(unlisted, row.unlisted) {
				t.Errorf("free %v, unlisted %v; want %v and %v", free, unlisted, row.free, row.unlisted)
			}
		})
	}
}

// TestUnlistedIsToldOnce: once for each time that the token is plugged in, and not when
// its list has come meanwhile.
func TestUnlistedIsToldOnce(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, sampleProfile)
	m, err := inv.instance("m"), error(provision.ErrNotDelivered)
	inv.delivered = func(pkcs11.TokenInfo) error { return err }
	look := func(slots ...pkcs11.Slot) int {
		inv.saw(m, time.Now(), slots, nil)
		return len(inv.unlistedNow(m))
	}
	one, two := slot("s1", "B1", 0), slot("s2", "B2", 0)
	for n, step := range []struct {
		slots []pkcs11.Slot
		want  int
	}{{[]pkcs11.Slot{one}, 1}, {[]pkcs11.Slot{one}, 0}, {[]pkcs11.Slot{one, two}, 1}, {nil, 0}, {[]pkcs11.Slot{one, two}, 2}} {
		if got := look(step.slots...); got != step.want {
			t.Errorf("look %d tells of %d, want %d", n, got, step.want)
		}
	}
	err = nil
	if look(); look(one) != 0 || len(inv.free()) != 1 {
		t.Errorf("on the list now: free %v", inv.free())
	}
}
