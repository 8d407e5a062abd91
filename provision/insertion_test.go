package provision

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker/workertest"
)

// counter is a table with a parcel of two real keys in it, behind a module that can hide them.
type counter struct {
	*station
	shim  pkcs11test.Shim
	table Table
	keys  [2]*Record
}

func newCounter(t *testing.T) *counter {
	t.Helper()
	s := newStation(t)
	c := &counter{station: s, shim: pkcs11test.NewShim(t, s.bay)}
	for i := range c.keys {
		m := s.module()
		c.keys[i] = s.create(m, i+1)
		s.must(s.runner.Run(t.Context(), c.keys[i], m, alwaysOurs{}))
		s.must(m.Close())
		s.answer(installedAnswer)
	}
	c.table = Table{Journal: s.runner.Journal, Verify: packing.VerifySeveral, Anchored: 1 << 40, Now: time.Now}
	for _, code := range []string{"SAMPLE-0001", c.serial(0), c.serial(1)} {
		_, _, err := c.table.Scan(code, "p1")
		s.must(err)
	}
	return c
}

func (c *counter) serial(n int) string { return string(c.keys[n].Token.Identity.Serial) }

// hide has tokens out of sight, all others in sight.
func (c *counter) hide(n ...int) {
	c.t.Helper()
	var rules []string
	for _, i := range n {
		rules = append(rules, pkcs11test.Removed(c.keys[i].Token.Identity.Serial))
	}
	c.shim.Rules(c.t, rules...)
}

// borrow lends the shim in a process of its own.
func (c *counter) borrow(ctx context.Context, name string, f func(pkcs11.Module) error) error {
	if name != c.keys[0].Token.Module {
		c.t.Errorf("module %q is borrowed", name)
	}
	m, err := worker.Start(ctx, workertest.With(c.t, worker.Spec{Path: c.shim.Path, Env: c.shim.Env}))
	if err != nil {
		return err
	}
	defer func() { _ = m.Close() }()
	return f(m)
}

// insert asks for the first key, does something once it is looked for, and says how that ended.
func (c *counter) insert(patience time.Duration, then func()) Insertion {
	c.t.Helper()
	d, err := c.table.Desk()
	c.must(err)
	k, err := d.ToVerify(c.serial(0))
	c.must(err)
	_, err = c.table.AskInsertion(k, "p2", patience)
	c.must(err)
	served := make(chan error, 1)
	go func() { served <- c.table.ServeInsertion(c.t.Context(), c.borrow, 10*time.Millisecond) }()
	for looked := false; ; time.Sleep(5 * time.Millisecond) {
		i, err := c.table.Journal.Insertion()
		c.must(err)
		switch {
		case i.Reason != "":
			c.must(<-served)
			return *i
		case i.Says != "" && !looked:
			looked = true
			then()
		case time.Since(i.Until) > 20*time.Second:
			c.t.Fatal("the wish does not end")
		}
	}
}

func (c *counter) verified() bool {
	c.t.Helper()
	d, err := c.table.Desk()
	c.must(err)
	return d.Parcel.Keys[0].Verified
}

// TestInsertToVerify: only the key that is put in while it is waited for, and shows the
// certificate that was installed on it, is verified.
func TestInsertToVerify(t *testing.T) {
	c := newCounter(t)
	for _, row := range []struct {
		name         string
		before       func()
		patience     time.Duration
		then         func()
		reason, says string
	}{
		{"plugged in all the time", func() { c.hide() }, 300 * time.Millisecond, func() {}, InsertionLate, "take it out and put it in again"},
		{"never put in", func() { c.hide(0, 1) }, 300 * time.Millisecond, func() {}, InsertionLate, "was not put in"},
		{"another key with its label", func() { c.hide(0, 1) }, time.Minute, func() { c.hide(0) }, string(packing.WrongKey), c.serial(1) + ", key 2 of 8 of order SAMPLE-0001"},
		{"both keys at once", func() { c.hide(0, 1) }, time.Minute, func() { c.hide() }, string(packing.WrongKey), c.serial(1)},
		{"a token of somebody else", func() { c.hide(0) }, time.Minute, func() { c.bay.InitToken(t, "stranger", "12345678", "1234") }, string(packing.WrongKey), "no finished key of this station"},
	} {
		row.before()
		if i := c.insert(row.patience, row.then); i.Reason != row.reason || !strings.Contains(i.Says, row.says) || c.verified() {
			t.Errorf("%s: %s, %q, verified %v", row.name, i.Reason, i.Says, c.verified())
		}
	}
	c.hide(0)
	if i := c.insert(time.Minute, func() { c.hide() }); i.Reason != InsertionRead || !strings.Contains(i.Says, c.serial(0)) || !c.verified() {
		t.Errorf("put in: %s, %q, verified %v", i.Reason, i.Says, c.verified())
	}
	last := acts(t, c.table.Journal)
	if e := last[len(last)-1]; e.Kind != "scanned" || e.Code != "verified" || e.TokenSerial != c.serial(0) || e.IDs["by"] != "p2" {
		t.Errorf("on record: %+v", e)
	}
	if err := c.table.ServeInsertion(t.Context(), nil, 0); err != nil {
		t.Errorf("a wish that has ended is served: %v", err)
	}
}

// TestInsertedKeyIsRead: a token with the right serial whose certificate is not the one that was
// installed, and one whose scan was undone meanwhile.
func TestInsertedKeyIsRead(t *testing.T) {
	c := newCounter(t)
	c.hide(0)
	if i := c.insert(time.Minute, func() {
		_, _, err := c.table.Undo(c.serial(0), "p1")
		c.must(err)
		c.hide()
	}); i.Reason != string(packing.NotThere) {
		t.Errorf("its scan was undone: %s, %q", i.Reason, i.Says)
	}
	_, _, err := c.table.Scan(c.serial(0), "p1")
	c.must(err)
	rec := c.keys[0]
	pin := (&run{Runner: &c.runner, rec: rec})
	user, err := pin.userPIN()
	c.must(err)
	c.bay.Tool(t, "pkcs11-tool", "--module", c.bay.Path, "--token-label", string(rec.TokenLabel()), "--login", "--pin", user.Reveal(), "--delete-object", "--type", "cert", "--id", rec.Facts.KeyID.String())
	c.hide(0)
	if i := c.insert(time.Minute, func() { c.hide() }); i.Reason != InsertionFailed || !strings.Contains(i.Says, "not what was written") {
		t.Errorf("its certificate is gone: %s, %q", i.Reason, i.Says)
	}
	d, err := c.table.Desk()
	c.must(err)
	for _, k := range d.Parcel.Keys {
		if k.Verified {
			t.Errorf("verified all the same: %+v", k)
		}
	}
}

// TestOneWishAtATime: a later wish ends the waiting for the one before.
func TestOneWishAtATime(t *testing.T) {
	c := newCounter(t)
	d, err := c.table.Desk()
	c.must(err)
	first, err := c.table.AskInsertion(d.Parcel.Keys[0], "p1", time.Minute)
	c.must(err)
	served := make(chan error, 1)
	c.hide(0, 1)
	go func() { served <- c.table.ServeInsertion(t.Context(), c.borrow, 10*time.Millisecond) }()
	time.Sleep(20 * time.Millisecond)
	second, err := c.table.AskInsertion(d.Parcel.Keys[1], "p1", time.Minute)
	c.must(err)
	c.must(<-served)
	i, err := c.table.Journal.Insertion()
	c.must(err)
	if first.Asked.Equal(second.Asked) || !i.Asked.Equal(second.Asked) || i.Reason != "" || i.Key != d.Parcel.Keys[1] {
		t.Errorf("the second wish is %+v", i)
	}
	ctx, stop := context.WithCancel(t.Context())
	go func() { served <- c.table.ServeInsertion(ctx, c.borrow, 10*time.Millisecond) }()
	time.Sleep(50 * time.Millisecond)
	stop() // the daemon stops; another one goes on
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Errorf("cut off: %v", err)
	}
	c.hide(1)
	_, err = c.table.Journal.db.Exec("UPDATE insertion SET says = NULL") // to see when that one looks
	c.must(err)
	go func() { served <- c.table.ServeInsertion(t.Context(), c.borrow, 10*time.Millisecond) }()
	for i.Says = ""; i.Says == ""; time.Sleep(5 * time.Millisecond) {
		i, err = c.table.Journal.Insertion()
		c.must(err)
	}
	c.hide()
	c.must(<-served)
	if i, err = c.table.Journal.Insertion(); err != nil || i.Reason != InsertionRead {
		t.Errorf("after a new start: %+v (%v)", i, err)
	}
}
