package agent

import (
	"errors"
	"testing"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

const used = pkcs11.FlagTokenInitialized | pkcs11.FlagUserPINInitialized

func slot(description, serial string, flags pkcs11.TokenFlags) pkcs11.Slot {
	return pkcs11.Slot{Description: description, Token: &pkcs11.TokenInfo{Model: "sample", Serial: pkcs11.TokenSerial(serial), Flags: flags}}
}

// TestWhichTokensAreFree lists what a module shows, and which of it may be written.
func TestWhichTokensAreFree(t *testing.T) {
	rows := []struct {
		name    string
		limit   int
		factory bool
		slots   []pkcs11.Slot
		want    []string // serials, or slot descriptions of tokens without one
	}{
		{"nothing is plugged in", 1, false, nil, nil},
		{"an empty reader", 1, false, []pkcs11.Slot{{Description: "reader"}}, nil},
		{"a blank token", 1, false, []pkcs11.Slot{slot("s0", "", 0)}, []string{"s0"}},
		{"a blank token with a serial", 0, false, []pkcs11.Slot{slot("s0", "A1", 0)}, []string{"A1"}},
		{"the blank slot beside a software token", 1, false, []pkcs11.Slot{slot("s1", "A1", used), slot("s0", "", 0)}, nil},
		{"no more than the instance may have", 2, false, []pkcs11.Slot{slot("s1", "A1", used), slot("s2", "A2", 0), slot("s3", "A3", 0)}, []string{"A2"}},
		{"as many as there are", 0, false, []pkcs11.Slot{slot("s1", "A1", 0), slot("s2", "A2", used), slot("s3", "A3", 0)}, []string{"A1", "A3"}},
		{"two tokens of one serial", 0, false, []pkcs11.Slot{slot("s1", "A1", 0), slot("s2", "A1", 0), slot("s3", "A3", 0)}, []string{"A3"}},
		{"two slots of one name", 0, false, []pkcs11.Slot{slot("s1", "", 0), slot("s1", "", 0)}, nil},
		{"initialised, no factory SO PIN known", 0, false, []pkcs11.Slot{slot("s1", "A1", pkcs11.FlagTokenInitialized)}, nil},
		{"initialised by the factory", 0, true, []pkcs11.Slot{slot("s1", "A1", pkcs11.FlagTokenInitialized)}, []string{"A1"}},
		{"somebody has set a user PIN", 0, true, []pkcs11.Slot{slot("s1", "A1", used)}, nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			inv := newInventory([]Instance{{Name: "m", Tokens: row.limit}}, func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
				p := provision.TokenProfile{Name: "sample"}
				if row.factory {
					p.FactorySOPIN = pkcs11.NewSOPIN("12345678")
				}
				return p, nil
			})
			inv.saw(inv.instance("m"), row.slots, nil)
			var got []string
			for _, f := range inv.free() {
				got = append(got, string(f.Identity.Serial)+f.Identity.SlotDescription)
			}
			if len(got) != len(row.want) {
				t.Fatalf("free: %v, want %v", got, row.want)
			}
			for i := range got {
				if got[i] != row.want[i] {
					t.Errorf("free: %v, want %v", got, row.want)
				}
			}
		})
	}
}

func TestATokenIsNotChosenAgainUntilItWasOut(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, sampleProfile)
	m := inv.instance("m")
	here := []pkcs11.Slot{slot("s1", "A1", 0)}
	inv.saw(m, here, nil)
	ref := inv.free()[0]
	inv.occupy(ref, "job", true)
	if len(inv.free()) != 0 {
		t.Error("a token that is being written is free")
	}
	inv.vacate(ref, "job", true)
	inv.saw(m, here, nil)
	if len(inv.free()) != 0 {
		t.Error("a token that failed is free while it stays in")
	}
	inv.saw(m, nil, nil)
	inv.saw(m, here, nil)
	if len(inv.free()) != 1 {
		t.Error("a token that was out is not free")
	}
}

func TestAfterAJobTheSlotsAreLookedAtAgain(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m", Tokens: 1}}, sampleProfile)
	m := inv.instance("m")
	inv.saw(m, []pkcs11.Slot{slot("s0", "", 0)}, nil)
	ref := inv.free()[0]
	inv.occupy(ref, "job", true)
	if !inv.resting(m) {
		t.Error("the watcher looks while the only token is being written")
	}
	inv.vacate(ref, "job", false)
	if inv.resting(m) || inv.settled() || len(inv.free()) != 0 {
		t.Error("what the slots showed before the job still counts")
	}
	inv.saw(m, []pkcs11.Slot{slot("s1", "A1", used), slot("s0", "", 0)}, nil)
	if !inv.settled() || len(inv.free()) != 0 {
		t.Error("the blank slot beside the finished token is free")
	}
}

func TestAModuleThatCannotBeReadHasNoFreeTokens(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, sampleProfile)
	m := inv.instance("m")
	inv.saw(m, []pkcs11.Slot{slot("s1", "A1", 0)}, nil)
	inv.saw(m, nil, errors.New("does not answer"))
	if len(inv.free()) != 0 {
		t.Error("tokens of a module that cannot be read are free")
	}
}

func TestALotIsStoppedAsAWhole(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
		return provision.TokenProfile{Name: "sample", FactorySOPIN: pkcs11.NewSOPIN("12345678")}, nil
	})
	inv.saw(inv.instance("m"), []pkcs11.Slot{slot("s1", "A1", pkcs11.FlagTokenInitialized), slot("s2", "A2", pkcs11.FlagTokenInitialized), slot("s3", "A3", 0)}, nil)
	if len(inv.free()) != 3 {
		t.Fatal("not all are free to begin with")
	}
	inv.stopLot("sample")
	if free := inv.free(); len(free) != 1 || free[0].Identity.Serial != "A3" {
		t.Errorf("free after the factory SO PIN failed: %v", free)
	}
}
