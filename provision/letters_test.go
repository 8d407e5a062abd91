package provision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// mailed is a station with one finished unit whose PIN goes by mailer and whose report the
// central server has answered.
func mailed(t *testing.T) (*station, *Record) {
	t.Helper()
	s := delivering(t, DeliverMailer, false)
	m := s.module()
	rec := s.create(m, 1)
	if err := s.runner.Run(t.Context(), rec, m, alwaysOurs{}); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	s.answer(installedAnswer)
	return s, s.mailable()
}

func (s *station) answer(text string) {
	s.t.Helper()
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 {
		s.t.Fatalf("outbox %+v (%v)", reports, err)
	}
	if err := s.runner.Journal.ReportSent(reports[0].ID, text); err != nil {
		s.t.Fatal(err)
	}
}

// mailable reads the unit's job as a new process does.
func (s *station) mailable() *Record {
	s.t.Helper()
	rec, err := s.runner.Journal.Mailable("SAMPLE-0001-001")
	if err != nil {
		s.t.Fatal(err)
	}
	return rec
}

func (s *station) pinOf(rec *Record) string {
	s.t.Helper()
	pin, err := s.runner.LetterPIN(rec)
	if err != nil {
		s.t.Fatal(err)
	}
	return pin.Reveal()
}

func (s *station) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestLetterIsPrintedOnce(t *testing.T) {
	s, rec := mailed(t)
	first := s.pinOf(rec)
	if err := s.runner.ConfirmLetter(rec, "p1"); !errors.Is(err, ErrNothingPrinted) {
		t.Errorf("confirmed before it was printed: %v", err)
	}
	if err := s.runner.RenewPIN(t.Context(), rec, s.module(), "p1"); !errors.Is(err, ErrNothingPrinted) {
		t.Errorf("reprinted before it was printed: %v", err)
	}
	s.must(s.runner.BeginLetter(rec, "p1"))
	s.must(s.runner.LetterNotSent(rec))
	s.must(s.runner.BeginLetter(s.mailable(), "p2")) // nothing had left, so the same PIN may be printed

	rec = s.mailable()
	if l := rec.Letter(); l.State != LetterUnknown || l.By != "p2" || l.Says == "" || len(rec.Facts.Letters) != 1 {
		t.Errorf("cut off as it was handed on: %+v", rec.Facts.Letters)
	}
	if err := s.runner.BeginLetter(rec, "p2"); !errors.Is(err, ErrLetterPrinted) {
		t.Errorf("printed again while it is unknown: %v", err)
	}
	s.must(s.runner.LetterHanded(rec, "completed", "job 7 is completed"))
	s.must(s.runner.ConfirmLetter(s.mailable(), "p3"))
	rec = s.mailable()
	if l := rec.Letter(); l.State != LetterConfirmed || l.By != "p2" || l.ConfirmedBy != "p3" || l.ConfirmedAt.IsZero() {
		t.Errorf("confirmed: %+v", l)
	}
	if err := s.runner.BeginLetter(rec, "p2"); !errors.Is(err, ErrLetterPrinted) {
		t.Errorf("printed again after it was confirmed: %v", err)
	}
	if err := s.runner.ConfirmLetter(rec, "p3"); !errors.Is(err, ErrNothingPrinted) {
		t.Errorf("confirmed twice: %v", err)
	}
	reports, err := s.runner.Journal.PendingReports(10)
	if err != nil || len(reports) != 1 || reports[0].Kind != ReportMailer || reports[0].ConfirmedBy != "p3" || reports[0].UnitID != "SAMPLE-0001-001" {
		t.Errorf("outbox %+v (%v)", reports, err)
	}

	s.must(s.runner.RenewPIN(t.Context(), rec, s.module(), "p4"))
	s.isNew(first)
	s.must(s.runner.BeginLetter(s.mailable(), "p4"))
	if rec = s.mailable(); len(rec.Facts.Letters) != 2 || rec.Letter().State != LetterUnknown || rec.Facts.Letters[0].State != LetterConfirmed {
		t.Errorf("letters %+v", rec.Facts.Letters)
	}
}

// isNew checks that the journal's PIN opens the token, and the old one does not any more.
func (s *station) isNew(old string) {
	s.t.Helper()
	rec, m := s.mailable(), s.module()
	pin := s.pinOf(rec)
	if rec.Letter().State != LetterReady || len(rec.Letter().PINBox) > 0 || pin == old {
		s.t.Fatalf("letter %s, box of %d bytes; the PIN is the old one: %v", rec.Letter().State, len(rec.Letter().PINBox), pin == old)
	}
	if err := s.opens(m, rec, pkcs11.NewUserPIN(pin)); err != nil {
		s.t.Fatalf("the new PIN: %v", err)
	}
	if err := s.opens(m, rec, pkcs11.NewUserPIN(old)); !errors.Is(err, pkcs11.ErrPINIncorrect) {
		s.t.Fatalf("the old PIN: %v", err)
	}
	s.must(m.Close())
}

// Two who work on one letter: the second is told, and takes nothing back that the first or
// the daemon has written.
func TestLetterThatHasChanged(t *testing.T) {
	s, rec := mailed(t)
	stale := s.mailable()
	s.must(s.runner.BeginLetter(rec, "p1"))
	if err := s.runner.BeginLetter(stale, "p2"); !errors.Is(err, ErrChanged) {
		t.Errorf("printed by a second one: %v", err)
	}
	stale = s.mailable()
	s.must(s.runner.ConfirmLetter(rec, "p2"))
	if err := s.runner.ConfirmLetter(stale, "p3"); !errors.Is(err, ErrChanged) {
		t.Errorf("confirmed by a second one: %v", err)
	}
	if l := s.mailable().Letter(); l.State != LetterConfirmed || l.By != "p1" || l.ConfirmedBy != "p2" {
		t.Errorf("the letter is %+v", l)
	}
	stale = s.mailable()
	s.must(s.runner.RenewPIN(t.Context(), rec, s.module(), "p1"))
	if err := s.runner.RenewPIN(t.Context(), stale, s.module(), "p2"); !errors.Is(err, ErrChanged) {
		t.Errorf("a second one set another PIN: %v", err)
	}
	s.must(s.runner.BeginLetter(rec, "p1"))

	s.must(s.runner.ConfirmLetter(rec, "p2"))
	stale = s.mailable()
	s.must(s.runner.Journal.DestroyPINs(rec.Job.ID, "the parcel has left"))
	if err := s.runner.RenewPIN(t.Context(), stale, s.module(), "p1"); !errors.Is(err, ErrChanged) {
		t.Errorf("another PIN for a token that has left: %v", err)
	}
	gone, err := s.runner.Journal.Job(rec.Job.ID)
	if err != nil || gone.Facts.SOPINBox != nil || gone.Facts.UserPINBox != nil {
		t.Errorf("the PINs came back (%v)", err)
	}
}

// TestRecordOfALetter: what was done with a sheet, and by whom, is in the record.
func TestRecordOfALetter(t *testing.T) {
	s, rec := mailed(t)
	before := len(acts(t, s.runner.Journal))
	s.must(s.runner.BeginLetter(rec, "p1"))
	s.must(s.runner.LetterNotSent(rec))
	s.must(s.runner.BeginLetter(rec, "p2"))
	s.must(s.runner.LetterHanded(rec, "completed", "job 7 is completed"))
	s.must(s.runner.ConfirmLetter(rec, "p3"))
	s.must(s.runner.RenewPIN(t.Context(), rec, s.module(), "p4"))
	var got []string
	for _, act := range acts(t, s.runner.Journal)[before:] {
		got = append(got, fmt.Sprint(act.Kind, " ", act.Code, " ", act.IDs["by"]))
	}
	want := []string{"pin-print begun p1", "pin-print not-sent p1", "pin-print begun p2", "pin-print confirmed p3", "pin-set begun p4", "pin-set done p4"}
	if !slices.Equal(got, want) {
		t.Errorf("acts %q, want %q", got, want)
	}
}

func TestNoLetter(t *testing.T) {
	s := delivering(t, DeliverMailer, false)
	m := s.module()
	none := func(want error) {
		t.Helper()
		if _, err := s.runner.Journal.Mailable("SAMPLE-0001-001"); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	none(ErrNoLetter)
	rec := s.create(m, 1)
	none(ErrNoLetter) // not finished
	s.must(s.runner.Run(t.Context(), rec, m, alwaysOurs{}))
	none(ErrNotInstalled) // not told
	s.answer("CANCELLING")
	none(ErrNotInstalled)

	sealed := delivering(t, DeliverSealed, false)
	m = sealed.module()
	rec = sealed.create(m, 1)
	s.must(sealed.runner.Run(t.Context(), rec, m, alwaysOurs{}))
	sealed.answer(installedAnswer)
	s = sealed
	none(ErrNoLetter)
}

func TestRenewPINNeedsTheToken(t *testing.T) {
	s, rec := mailed(t)
	s.must(s.runner.BeginLetter(rec, "p1"))
	before := s.pinOf(rec)
	other := newStation(t)
	if err := s.runner.RenewPIN(t.Context(), rec, other.module(), "p1"); !errors.Is(err, pkcs11.ErrNotFound) && !errors.Is(err, pkcs11.ErrTokenRemoved) {
		t.Errorf("with another token: %v", err)
	}
	if rec = s.mailable(); rec.Letter().State != LetterUnknown || len(rec.Facts.Letters) != 1 || s.pinOf(rec) != before {
		t.Errorf("letters %+v", rec.Facts.Letters)
	}
}

// mortal is a module that ends the process, as far as it goes in a test, at the n-th call on its tokens.
type mortal struct {
	pkcs11.Module
	left  *int
	after bool
}

type mortalToken struct {
	pkcs11.Token
	mortal
}

// killed is what a process that ends in the middle is here.
type killed struct{}

func (c mortal) do(call func() error) error {
	*c.left--
	if *c.left == 0 && !c.after {
		panic(killed{})
	}
	err := call()
	if *c.left == 0 {
		panic(killed{})
	}
	return err
}

func (c mortal) Open(ctx context.Context, id pkcs11.Identity) (t pkcs11.Token, err error) {
	err = c.do(func() error { t, err = c.Module.Open(ctx, id); return err })
	return mortalToken{t, c}, err
}

func (t mortalToken) LoginSO(ctx context.Context, pin pkcs11.SOPIN) error {
	return t.do(func() error { return t.Token.LoginSO(ctx, pin) })
}

func (t mortalToken) LoginUser(ctx context.Context, pin pkcs11.UserPIN) error {
	return t.do(func() error { return t.Token.LoginUser(ctx, pin) })
}

func (t mortalToken) InitUserPIN(ctx context.Context, pin pkcs11.UserPIN) error {
	return t.do(func() error { return t.Token.InitUserPIN(ctx, pin) })
}

func (t mortalToken) SetUserPIN(ctx context.Context, old, new pkcs11.UserPIN) error {
	return t.do(func() error { return t.Token.SetUserPIN(ctx, old, new) })
}

func (t mortalToken) Logout(ctx context.Context) error {
	return t.do(func() error { return t.Token.Logout(ctx) })
}

// TestLetterKilled: wherever a reprint is cut off, no PIN that was printed is printed
// again, and the next try ends with a token that the letter's PIN opens.
func TestLetterKilled(t *testing.T) {
	for _, way := range []UserPINBy{UserPINInit, UserPINChange} {
		t.Run(string(way), func(t *testing.T) {
			s, rec := mailed(t)
			profile := s.runner.TokenProfile
			s.runner.TokenProfile = func(info pkcs11.TokenInfo) (TokenProfile, error) {
				p, err := profile(info)
				p.UserPIN = way
				return p, err
			}
			printed := map[string]bool{s.pinOf(rec): true}
			s.must(s.runner.BeginLetter(rec, "p1"))
			cells := 0
			for n, done := 1, false; !done; n++ {
				for _, after := range []bool{false, true} {
					old := s.pinOf(s.mailable())
					m, left := s.module(), n
					died := s.renewOrDie(mortal{m, &left, after})
					done = !died
					s.must(m.Close())
					rec = s.mailable()
					if state := rec.Letter().State; state != LetterReady {
						if err := s.runner.BeginLetter(rec, "p1"); !errors.Is(err, ErrLetterPrinted) {
							t.Fatalf("call %d: printed while %s: %v", n, state, err)
						}
						m := s.module()
						s.must(s.runner.RenewPIN(t.Context(), rec, m, "p2"))
						s.must(m.Close())
					}
					s.isNew(old)
					rec = s.mailable()
					if pin := s.pinOf(rec); printed[pin] {
						t.Fatalf("call %d: a PIN is printed twice", n)
					} else {
						printed[pin] = true
					}
					s.must(s.runner.BeginLetter(rec, "p1"))
					cells++
				}
			}
			if cells < 12 {
				t.Errorf("only %d cuts", cells)
			}
		})
	}
}

func (s *station) renewOrDie(m pkcs11.Module) (died bool) {
	s.t.Helper()
	defer func() {
		switch p := recover().(type) {
		case nil:
		case killed:
			died = true
		default:
			panic(p)
		}
	}()
	s.must(s.runner.RenewPIN(s.t.Context(), s.mailable(), m, "p1"))
	return false
}

// TestWhoPackedHasNoLetter: who scanned a token into a parcel neither prints nor confirms its
// letter, until that scan is undone.
func TestWhoPackedHasNoLetter(t *testing.T) {
	s, rec := mailed(t)
	grammar, err := packing.NewGrammar(nil)
	s.must(err)
	table := Table{Journal: s.runner.Journal, Grammar: grammar, Anchored: 1 << 40, Now: s.runner.Now}
	serial := string(rec.Token.Identity.Serial)
	for _, code := range []string{rec.Job.Subject.OrderID, serial} {
		if _, _, err := table.Scan(code, "p1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.runner.BeginLetter(rec, "p1"); !errors.Is(err, ErrSamePerson) {
		t.Errorf("printed by who packed: %v", err)
	}
	s.must(s.runner.BeginLetter(rec, "p2"))
	if err := s.runner.ConfirmLetter(rec, "p1"); !errors.Is(err, ErrSamePerson) {
		t.Errorf("confirmed by who packed: %v", err)
	}
	if err := s.runner.RenewPIN(t.Context(), rec, s.module(), "p1"); !errors.Is(err, ErrSamePerson) {
		t.Errorf("another PIN for who packed: %v", err)
	}
	_, _, err = table.Undo(serial, "p1")
	s.must(err)
	s.must(s.runner.ConfirmLetter(rec, "p1"))
}
