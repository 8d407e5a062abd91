package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

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
			inv.saw(inv.instance("m"), time.Now(), row.slots, nil)
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
	inv.saw(m, time.Now(), here, nil)
	ref := inv.free()[0]
	inv.occupy(ref, "job", true)
	if len(inv.free()) != 0 {
		t.Error("a token that is being written is free")
	}
	inv.vacate(ref, "job", true)
	inv.saw(m, time.Now(), here, nil)
	if len(inv.free()) != 0 {
		t.Error("a token that failed is free while it stays in")
	}
	inv.saw(m, time.Now(), nil, nil)
	inv.saw(m, time.Now(), here, nil)
	if len(inv.free()) != 1 {
		t.Error("a token that was out is not free")
	}
}

func TestAfterAJobTheSlotsAreLookedAtAgain(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m", Tokens: 1}}, sampleProfile)
	m := inv.instance("m")
	inv.saw(m, time.Now(), []pkcs11.Slot{slot("s0", "", 0)}, nil)
	ref := inv.free()[0]
	inv.occupy(ref, "job", true)
	if !inv.resting(m) {
		t.Error("the watcher looks while the only token is being written")
	}
	inv.vacate(ref, "job", false)
	if inv.resting(m) || inv.settled() || len(inv.free()) != 0 {
		t.Error("what the slots showed before the job still counts")
	}
	inv.saw(m, time.Now(), []pkcs11.Slot{slot("s1", "A1", used), slot("s0", "", 0)}, nil)
	if !inv.settled() || len(inv.free()) != 0 {
		t.Error("the blank slot beside the finished token is free")
	}
}

func TestAModuleThatCannotBeReadHasNoFreeTokens(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, sampleProfile)
	m := inv.instance("m")
	inv.saw(m, time.Now(), []pkcs11.Slot{slot("s1", "A1", 0)}, nil)
	inv.saw(m, time.Now(), nil, errors.New("does not answer"))
	if len(inv.free()) != 0 {
		t.Error("tokens of a module that cannot be read are free")
	}
}

// TestALotIsTriedOneByOne: until the factory SO PIN of a model has opened one token,
// no second one is tried, initialised or not; when it failed, none is.
func TestALotIsTriedOneByOne(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
		return provision.TokenProfile{Name: "sample", FactorySOPIN: pkcs11.NewSOPIN("12345678"), FactorySince: time.Now()}, nil
	})
	inv.saw(inv.instance("m"), time.Now(), []pkcs11.Slot{slot("s1", "A1", pkcs11.FlagTokenInitialized), slot("s2", "A2", pkcs11.FlagTokenInitialized), slot("s3", "A3", 0)}, nil)
	serials := func() string {
		var out []string
		for _, f := range inv.free() {
			out = append(out, string(f.Identity.Serial))
		}
		return strings.Join(out, " ")
	}
	if got := serials(); got != "A1" {
		t.Errorf("free before the first try: %s", got)
	}
	first := inv.free()[0]
	inv.occupy(first, "job", true)
	if got := serials(); got != "" {
		t.Errorf("free during the first try: %s", got)
	}
	inv.prove("sample")
	if got := serials(); got != "A2 A3" {
		t.Errorf("free once it has opened a token: %s", got)
	}
	inv.stopLot("sample")
	if got := serials(); got != "" {
		t.Errorf("free after the factory SO PIN failed: %s", got)
	}
	inv.stopped = map[string]bool{}
	inv.failedBefore(map[string]time.Time{"sample": time.Now().Add(-time.Hour)})
	if got := serials(); got != "A2 A3" {
		t.Errorf("free after a failure of an older factory SO PIN: %s", got)
	}
	inv.failedBefore(map[string]time.Time{"sample": time.Now().Add(time.Hour)})
	if got := serials(); got != "" {
		t.Errorf("free after a restart with the factory SO PIN that failed: %s", got)
	}
}

// TestTokensOfOneSerial: models whose tokens all show one serial are told apart by
// their readers, or not at all, and then one is written at a time.
func TestTokensOfOneSerial(t *testing.T) {
	one, two := slot("reader A", "123", 0), slot("reader B", "123", 0)
	for _, row := range []struct {
		identity provision.IdentityBy
		slots    []pkcs11.Slot
		want     int
	}{
		{provision.BySerial, []pkcs11.Slot{one, two}, 0},
		{provision.ByReader, []pkcs11.Slot{one, two}, 2},
		{provision.ByReader, []pkcs11.Slot{one, one}, 0},
		{provision.BySingle, []pkcs11.Slot{one, two}, 0},
		{provision.BySingle, []pkcs11.Slot{one}, 1},
	} {
		inv := newInventory([]Instance{{Name: "m"}}, func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
			return provision.TokenProfile{Name: "sample", Identity: row.identity}, nil
		})
		inv.saw(inv.instance("m"), time.Now(), row.slots, nil)
		free := inv.free()
		if len(free) != row.want {
			t.Errorf("%s: %d of %d tokens are free, wanted %d", row.identity, len(free), len(row.slots), row.want)
		}
		for _, f := range free {
			if held := f.Identity.SlotDescription != ""; held != (row.identity != provision.BySerial) {
				t.Errorf("%s: held as %+v", row.identity, f.Identity)
			}
			inv.setAside(f)
		}
		// Who is held by a slot cannot be known again, so nobody is kept out for it.
		if len(inv.free()) != row.want {
			t.Errorf("%s: a reader is set aside", row.identity)
		}
	}
}

// TestTokensThatAreUsedAsMade always claim to have a user PIN.
func TestTokensThatAreUsedAsMade(t *testing.T) {
	const flags = pkcs11.FlagTokenInitialized | pkcs11.FlagUserPINInitialized
	for asMade, want := range map[bool]int{true: 1, false: 0} {
		inv := newInventory([]Instance{{Name: "m"}}, func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
			return provision.TokenProfile{Name: "sample", AsMade: asMade, FactorySOPIN: pkcs11.NewSOPIN("12345678")}, nil
		})
		inv.saw(inv.instance("m"), time.Now(), []pkcs11.Slot{slot("s1", "A1", flags)}, nil)
		if n := len(inv.free()); n != want {
			t.Errorf("as made %t: %d tokens are free, wanted %d", asMade, n, want)
		}
	}
}

func TestSetAsideTokensStayAside(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, sampleProfile)
	m := inv.instance("m")
	here := []pkcs11.Slot{slot("s1", "A1", 0), slot("s2", "A2", 0)}
	inv.saw(m, time.Now(), here, nil)
	inv.setAside(inv.free()[0])
	inv.saw(m, time.Now(), nil, nil)
	inv.saw(m, time.Now(), here, nil)
	if free := inv.free(); len(free) != 1 || free[0].Identity.Serial != "A2" {
		t.Errorf("free after it was out and in again: %v", free)
	}
}

func TestAFaultIsNoRemoval(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}}, sampleProfile)
	m := inv.instance("m")
	here := []pkcs11.Slot{slot("s1", "A1", 0)}
	inv.saw(m, time.Now(), here, nil)
	ref := inv.free()[0]
	inv.occupy(ref, "job", true)
	inv.vacate(ref, "job", true)
	inv.saw(m, time.Now(), []pkcs11.Slot{{Description: "s1", Fault: &pkcs11.Error{Op: "C_GetTokenInfo", Kind: pkcs11.ErrDevice}}}, nil)
	inv.saw(m, time.Now(), here, nil)
	if len(inv.free()) != 0 {
		t.Error("a token that failed is free after it could not be read for a moment")
	}
}

func TestATokenPulledForGoodLeavesItsPlace(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m", Tokens: 1}}, sampleProfile)
	m := inv.instance("m")
	inv.saw(m, time.Now(), []pkcs11.Slot{slot("s1", "A1", 0)}, nil)
	ref := inv.free()[0]
	inv.occupy(ref, "job", true)
	inv.occupy(ref, "job", false) // parked
	inv.saw(m, time.Now(), []pkcs11.Slot{slot("s1", "B2", 0)}, nil)
	if free := inv.free(); len(free) != 1 || free[0].Identity.Serial != "B2" {
		t.Errorf("free: %v", free)
	}
}

// TestOneTokenBehindTwoModules: two libraries that reach one hub both show a token; it is
// offered once, and to nobody while a job has it, wherever that found it.
func TestOneTokenBehindTwoModules(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m"}, {Name: "n"}}, sampleProfile)
	look := func(names ...string) {
		for _, n := range names {
			inv.saw(inv.instance(n), time.Now(), []pkcs11.Slot{slot("reader", "A1", 0)}, nil)
		}
	}
	look("m", "n")
	free := inv.free()
	if len(free) != 1 || free[0].Module != "m" {
		t.Fatalf("free: %+v", free)
	}
	inv.occupy(free[0], "job", true)
	look("n")
	if free := inv.free(); len(free) != 0 {
		t.Errorf("free while a job has it: %+v", free)
	}
	inv.vacate(provision.TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: "A1"}}, "job", true)
	inv.saw(inv.instance("m"), time.Now(), nil, errors.New("the library has crashed"))
	look("n")
	if free := inv.free(); len(free) != 0 {
		t.Errorf("free although it failed: %+v", free)
	}
	// Another model's token may have the same serial by chance.
	other := slot("reader", "B2", 0)
	other.Token.Model = "another"
	inv.saw(inv.instance("m"), time.Now(), []pkcs11.Slot{slot("reader", "B2", 0)}, nil)
	inv.saw(inv.instance("n"), time.Now(), []pkcs11.Slot{other}, nil)
	if free := inv.free(); len(free) != 2 {
		t.Errorf("free: %+v, want two tokens", free)
	}
}

// TestTaughtOrder: bays are filled as Order says, over all modules, and as configured where
// it says nothing; no more than each module may have.
func TestTaughtOrder(t *testing.T) {
	inv := newInventory([]Instance{{Name: "m", Tokens: 2}, {Name: "n"}}, func(pkcs11.TokenInfo) (provision.TokenProfile, error) {
		return provision.TokenProfile{Name: "sample"}, nil
	})
	look := func() {
		inv.saw(inv.instance("m"), time.Now(), []pkcs11.Slot{slot("m1", "A1", 0), slot("m2", "A2", 0), slot("m3", "A3", 0)}, nil)
		inv.saw(inv.instance("n"), time.Now(), []pkcs11.Slot{slot("n1", "B1", 0), slot("n2", "B2", 0)}, nil)
	}
	got := func() (all string) {
		look()
		for _, f := range inv.free() {
			all += string(f.Identity.Serial) + " "
		}
		return all
	}
	if s := got(); s != "A1 A2 B1 B2 " {
		t.Errorf("as configured: %s", s)
	}
	inv.order = func(module, slot string) int {
		return map[string]int{"n/n2": 1, "m/m2": 2}[module+"/"+slot] + 9*map[string]int{"m/m1": 1, "n/n1": 1}[module+"/"+slot]
	}
	if s := got(); s != "B2 A2 A1 B1 " {
		t.Errorf("as taught: %s", s)
	}
}
