package provision

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// givenUp is the job of a station that lost power, given up by a person.
func (s *station) givenUp(t *testing.T) *Record {
	t.Helper()
	s.reopen()
	unfinished, err := s.runner.Journal.Unfinished()
	if err != nil || len(unfinished) != 1 {
		t.Fatalf("%d unfinished jobs, %v", len(unfinished), err)
	}
	if err := s.runner.GiveUp(unfinished[0], "given up", "Put the token aside."); err != nil {
		t.Fatal(err)
	}
	return unfinished[0]
}

// writtenAgain has another job write the token that is in the bay, initialised.
func (s *station) writtenAgain(t *testing.T) {
	t.Helper()
	m := s.module()
	rec := s.create(m, 2)
	rec.Token.Identity = pkcs11.Identity{Serial: s.initialised(t).Serial}
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatalf("the token is not written again: %v", err)
	}
	s.checkToken(rec)
}

// TestWipedTokenIsBlank: at whatever call its job was cut off and given up, the token is
// wiped, proves blank, goes back into stock and is written again. Before that nobody may
// choose it, and afterwards no PIN of it is left.
func TestWipedTokenIsBlank(t *testing.T) {
	as := delivered{"factory", factoryProfile, (*station).factoryToken}
	prepare := func(t *testing.T) *station {
		s := newStation(t)
		s.runner.TokenProfile = as.profile
		return s
	}
	_, whole, err := runUntil(t, prepare(t), 0, false, as)
	if err != nil {
		t.Fatal(err)
	}
	quarantined, withKey := 0, 0
	for n, name := range whole.names {
		s := prepare(t)
		if _, _, err := runUntil(t, s, n+1, true, as); err == nil {
			t.Fatal("the job finished")
		}
		rec := s.givenUp(t)
		if rec.State != StateQuarantined {
			if err := s.runner.Wipe(t.Context(), rec, s.module(), "hand.1", ""); !errors.Is(err, ErrNotQuarantined) {
				t.Errorf("%s: a job that is %s: %v", name, rec.State, err)
			}
			continue
		}
		quarantined++
		if rec.MayHoldKey() {
			withKey++
		}
		t.Run(fmt.Sprintf("%02d-%s", n+1, name), func(t *testing.T) {
			if aside, _, err := s.runner.Journal.SetAside(); err != nil || len(aside) != 1 {
				t.Errorf("set aside: %v, %v", aside, err)
			}
			if err := s.runner.Release(t.Context(), rec, s.module(), "hand.1"); !errors.Is(err, ErrNotBlank) {
				t.Errorf("released before it was wiped: %v", err)
			}
			if info := s.initialised(t); info.Label == "factory" { // C_InitToken was never heard of
				if err := s.runner.Wipe(t.Context(), rec, s.module(), "hand.1", ""); !errors.Is(err, pkcs11.ErrTokenReplaced) {
					t.Errorf("a token that is not known to be the job's: %v", err)
				}
				return
			}
			if err := s.runner.Wipe(t.Context(), rec, s.module(), "hand.1", "hand@2"); err != nil {
				t.Fatal(err)
			}
			if d := rec.Facts.decision(); !d.Blank || d.By != "hand.1" || d.Second != "hand@2" || rec.MayHoldKey() {
				t.Errorf("%+v", d)
			}
			if err := s.runner.Wipe(t.Context(), rec, s.module(), "hand.1", ""); !errors.Is(err, ErrNoWipe) {
				t.Errorf("wiped again: %v", err)
			}
			if err := s.runner.Release(t.Context(), rec, s.module(), "hand.1"); err != nil {
				t.Fatal(err)
			}
			if err := s.runner.Release(t.Context(), rec, s.module(), "hand.1"); !errors.Is(err, ErrNotQuarantined) {
				t.Errorf("released again: %v", err)
			}
			s.reopen()
			aside, _, err := s.runner.Journal.SetAside()
			left, err2 := s.runner.Journal.Quarantine()
			if err := errors.Join(err, err2); err != nil || len(aside)+len(left) != 0 {
				t.Errorf("%v, %v, %v", aside, left, err)
			}
			if len(rec.Facts.SOPINBox)+len(rec.Facts.UserPINBox) > 0 {
				t.Error("PINs are left")
			}
			var codes []string
			for _, act := range s.acts(t) {
				if act.Kind == audit.KindQuarantine {
					codes = append(codes, act.Code)
					if act.IDs["by"] != "hand.1" || act.Code != "released" && act.Hashes["second"] != sha256hex([]byte("hand@2")) {
						t.Errorf("%+v", act)
					}
				}
			}
			if fmt.Sprint(codes) != "[wipe wiped released]" {
				t.Errorf("on record are %v", codes)
			}
			s.writtenAgain(t)
		})
	}
	if quarantined < 10 || withKey < 5 || withKey == quarantined {
		t.Errorf("%d tokens were quarantined, %d with a key", quarantined, withKey)
	}
}

// acts are those on record.
func (s *station) acts(t *testing.T) []audit.Entry {
	t.Helper()
	var out []audit.Entry
	for row, err := range s.runner.Journal.Record() {
		if err != nil {
			t.Fatal(err)
		}
		act, err := audit.Decode(row.Line)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, act)
	}
	return out
}

// TestPowerCutWhileWiping: at every call of a wipe, before and after it. Wiped again, the
// token is blank all the same.
func TestPowerCutWhileWiping(t *testing.T) {
	// A job that was given up with everything on its token.
	quarantined := func(t *testing.T) (*station, *Record) {
		s := newStation(t)
		s.runner.TokenProfile = factoryProfile
		as := delivered{"factory", factoryProfile, (*station).factoryToken}
		_, whole, err := runUntil(t, s, 0, false, as)
		if err != nil {
			t.Fatal(err)
		}
		s = newStation(t)
		s.runner.TokenProfile = factoryProfile
		if _, _, err := runUntil(t, s, len(whole.names), true, as); err == nil {
			t.Fatal("the job finished")
		}
		return s, s.givenUp(t)
	}
	wipe := func(t *testing.T, s *station, rec *Record, at int, after bool) (*powerCut, error) {
		p := &powerCut{at: at, after: after, journal: s.runner.Journal}
		m := s.module()
		err := s.runner.Wipe(t.Context(), rec, cutModule{m, p}, "hand.1", "hand.2")
		if closed := m.Close(); closed != nil {
			t.Fatal(closed)
		}
		return p, err
	}
	s, rec := quarantined(t)
	whole, err := wipe(t, s, rec, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	for n, name := range whole.names {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%02d-%s/after=%v", n+1, name, after), func(t *testing.T) {
				s, rec := quarantined(t)
				if _, err := wipe(t, s, rec, n+1, after); err == nil {
					t.Fatal("the wipe ended well")
				}
				s.reopen()
				left, err := s.runner.Journal.Quarantine()
				if err != nil || len(left) != 1 {
					t.Fatalf("%v, %v", left, err)
				}
				rec = left[0]
				if _, err := wipe(t, s, rec, 0, false); err != nil || !rec.Facts.decision().Blank {
					t.Fatalf("%+v, %v", rec.Facts.decision(), err)
				}
				if err := s.runner.Release(t.Context(), rec, s.module(), "hand.1"); err != nil {
					t.Fatal(err)
				}
				s.writtenAgain(t)
			})
		}
	}
}

// TestEmptyIsNotBlank: a token whose model has no factory SO PIN is emptied, and stays in
// quarantine, for it opens with a PIN that only the escrow has.
func TestEmptyIsNotBlank(t *testing.T) {
	s := newStation(t)
	_, whole, err := runUntil(t, newStation(t), 0, false, delivered{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := runUntil(t, s, len(whole.names), true, delivered{}); err == nil {
		t.Fatal("the job finished")
	}
	rec := s.givenUp(t)
	if err := s.runner.Wipe(t.Context(), rec, s.module(), "hand.1", "hand.2"); err != nil {
		t.Fatal(err)
	}
	if d := rec.Facts.decision(); !d.Emptied || d.Blank || rec.MayHoldKey() {
		t.Errorf("%+v", d)
	}
	if out := s.bay.Tool(t, "pkcs11-tool", "--module", s.bay.Path, "--token-label", string(wipedLabel), "--list-objects"); out != "" {
		t.Errorf("on the token are\n%s", out)
	}
	if err := s.runner.Release(t.Context(), rec, s.module(), "hand.1"); !errors.Is(err, ErrNotBlank) {
		t.Errorf("released: %v", err)
	}
	if len(rec.Facts.SOPINBox) == 0 {
		t.Error("its SO PIN is gone")
	}
	// Another token under the same serial, or one that somebody has initialised since.
	if err := s.runner.Wipe(t.Context(), rec, s.module(), "hand.1", "hand.2"); err != nil {
		t.Errorf("emptied once more: %v", err)
	}
}

// TestFactoryPINInVain: that a factory SO PIN was tried in vain stops its lot as of the time of
// that try, whatever a person does with the token later; a released token is not set aside again.
func TestFactoryPINInVain(t *testing.T) {
	journal, err := OpenJournal(filepath.Join(t.TempDir(), "journal.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = journal.Close() })
	tried := time.Now().Add(-time.Hour).Round(0)
	rec, err := journal.Create(Job{Kind: KindInitial, Subject: csr.SubjectData{UnitID: "SAMPLE-001"}, Generation: 1, CreatedAt: time.Now()}, 1, TokenRef{Module: "m", Identity: pkcs11.Identity{Serial: "0001"}})
	if err != nil {
		t.Fatal(err)
	}
	rec.State = StateQuarantined
	rec.Facts.Touched, rec.Facts.Blank, rec.Facts.FactoryTried, rec.Facts.FactoryTriedAt, rec.Facts.Lot = true, true, true, tried, "lot-a"
	if err := journal.Finish(rec, nil); err != nil {
		t.Fatal(err)
	}
	check := func(what string, aside int, at time.Time) {
		t.Helper()
		tokens, lots, err := journal.SetAside()
		if err != nil || len(tokens) != aside || !lots["lot-a"].Equal(at) {
			t.Errorf("%s: %d tokens are set aside, the lot is stopped as of %v: %v", what, len(tokens), lots["lot-a"], err)
		}
	}
	check("after the try", 1, tried)
	if err := journal.amend(rec, "about to be wiped", func(now *Record) { now.Facts.Decision.By = "hand.1" }); err != nil {
		t.Fatal(err)
	}
	check("after somebody decided", 1, tried)
	if err := journal.amend(rec, "released", func(now *Record) { now.Facts.Decision.Blank, now.Facts.Decision.Released = true, "hand.1" }); err != nil {
		t.Fatal(err)
	}
	check("after its release", 0, time.Time{})
}
