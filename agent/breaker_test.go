package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// bench is an inventory of two readers whose clock the test moves.
type bench struct {
	t   *testing.T
	inv *inventory
	now time.Time
	n   int
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, inv: newInventory([]Instance{{Name: "m"}}, sampleProfile), now: time.Now()}
	b.inv.breaker.now = func() time.Time { return b.now }
	return b
}

// free puts a new token into each of the readers and gives those that may be written.
func (b *bench) free() []provision.TokenRef {
	b.n++
	b.inv.saw(b.inv.instance("m"), time.Now(), []pkcs11.Slot{
		slot("left", fmt.Sprintf("L%d", b.n), 0), slot("right", fmt.Sprintf("R%d", b.n), 0),
	}, nil)
	return b.inv.free()
}

// job writes a new token in the left reader, and it ends so.
func (b *bench) job(state provision.State, err error) bool {
	b.t.Helper()
	ref := b.free()[0]
	at := b.inv.place(ref)
	if at != (place{"m", "left"}) {
		b.t.Fatalf("the token is at %v", at)
	}
	b.inv.breaker.begins(at)
	return b.inv.breaker.ended(at, &provision.Record{State: state, Reason: "sample reason"}, err)
}

func (b *bench) wants(n int) {
	b.t.Helper()
	if got := b.free(); len(got) != n {
		b.t.Fatalf("free are %v, want %d", got, n)
	}
}

// TestAPlaceThatFailsRests: after three tokens in a row a reader is given no more, while
// the one beside it is; later one token is tried there.
func TestAPlaceThatFailsRests(t *testing.T) {
	b := newBench(t)
	for n := 1; n <= 3; n++ {
		b.wants(2)
		if tripped := b.job(provision.StateQuarantined, pkcs11.ErrTokenFull); tripped != (n == 3) {
			t.Fatalf("after %d failures: tripped %v", n, tripped)
		}
	}
	b.wants(1)
	alarms := b.inv.breaker.alarms()
	if len(alarms) != 1 || alarms[0].Code != AlarmPlace || !strings.Contains(alarms[0].Text, `3 tokens in a row failed in slot "left" of module m`) || !strings.Contains(alarms[0].Text, "sample reason") {
		t.Errorf("alarms: %+v", alarms)
	}
	b.now = b.now.Add(restsFor + time.Second)
	b.wants(2)
	b.inv.breaker.begins(place{"m", "left"})
	b.wants(1) // one is tried, not more
	b.inv.breaker.ended(place{"m", "left"}, &provision.Record{State: provision.StateFailed}, pkcs11.ErrTokenFull)
	b.wants(1) // and it rests again
	b.now = b.now.Add(restsFor + time.Second)
	b.job(provision.StateFinished, nil)
	b.wants(2)
	if alarms := b.inv.breaker.alarms(); len(alarms) != 0 {
		t.Errorf("alarms after a good token: %+v", alarms)
	}
}

// TestWhatIsNotThePlacesFault: orders, the CA and the central server spoil no reader, and
// a good token between bad ones proves it good.
func TestWhatIsNotThePlacesFault(t *testing.T) {
	for name, row := range map[string]struct {
		state provision.State
		err   error
	}{
		"cancelled":          {provision.StateQuarantined, provision.ErrCancelled},
		"the CA's answer":    {provision.StateQuarantined, provision.ErrRefusedCertificate},
		"the order":          {provision.StateFailed, provision.ErrRefused},
		"the lease":          {provision.StateFailed, provision.ErrLeaseLost},
		"a used token":       {provision.StateFailed, provision.ErrNotBlank},
		"a finished one":     {provision.StateFinished, nil},
		"decided by central": {provision.StateQuarantined, errNotTakenBack},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for range 2 {
				b.job(provision.StateQuarantined, pkcs11.ErrDevice)
			}
			for range 5 {
				if b.job(row.state, row.err) {
					t.Fatal("tripped")
				}
			}
			b.wants(2)
		})
	}
}
