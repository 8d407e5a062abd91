package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// enrolling is a station that was invited and has begun to enrol.
type enrolling struct {
	*situation
	id  string // of the enrolment
	key string
}

// enrolling invites a station, which shows a key; certified, it is believed.
func (w *situation) enrolling(in Invitation, key string, certified bool) enrolling {
	w.t.Helper()
	w.skip(time.Second)
	in.TokenSHA256, in.Valid = hexSum([]byte("token of "+in.Station+key)), time.Hour
	_, err := w.s.InviteStation(w.t.Context(), in)
	w.must(err)
	e, err := w.s.BeginEnrollment(w.t.Context(), Showing{
		TokenSHA256: in.TokenSHA256, Station: in.Station, EKSHA256: "ek of " + key, Certified: certified,
		AttestationKey: []byte("ak"), IdentityKey: []byte(key), KeySHA256: hexSum([]byte(key)), Nonce: []byte("nonce"), SecretSHA256: "secret",
	})
	w.must(err)
	return enrolling{w, e.ID, key}
}

// prove gives the right proof; first is done when the certificate is about to be signed.
func (e enrolling) prove(first func()) (Station, error) {
	_, st, err := e.s.ProveEnrollment(e.t.Context(), e.id, "secret", func(_, _, _ []byte) error { return nil }, certify(e.key, first))
	return st, err
}

// certify signs a certificate over a key, and does first before.
func certify(key string, first func()) SignStation {
	return func(name string, now time.Time) ([]byte, time.Time, error) {
		if first != nil {
			first()
		}
		return []byte("certificate of " + name + " with " + key), now.AddDate(1, 0, 0), nil
	}
}

// oneOf sees that of two who want the same one has it, and the other is told that there
// is a conflict.
func oneOf(t *testing.T, s *Store, station string, errs map[string]error) {
	t.Helper()
	var winner string
	for key, err := range errs {
		switch {
		case err == nil && winner == "":
			winner = key
		case !isRefusal(err, StationConflict):
			t.Errorf("with %s: %v", key, err)
		}
	}
	st, err := s.Station(t.Context(), station)
	if err != nil || winner == "" || st.PublicKeySHA256 != hexSum([]byte(winner)) {
		t.Errorf("%+v (%v), and %q was told that it is its own", st, err, winner)
	}
}

// Of invitations that several servers write for a station at the same instant one is open afterwards.
func TestInvitationsAtTheSameInstant(t *testing.T) {
	onBothEngines(t, testInvitationsAtTheSameInstant)
}

func testInvitationsAtTheSameInstant(t *testing.T, at database.Place) {
	const rounds, servers = 20, 4
	s, _ := newStore(t, at)
	for round := range rounds {
		station := fmt.Sprintf("invited-%d", round)
		var all sync.WaitGroup
		for server := range servers {
			all.Go(func() {
				_, err := s.InviteStation(t.Context(), Invitation{Station: station, TokenSHA256: hexSum([]byte(fmt.Sprint(round, server))), Valid: time.Hour})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	open, err := s.Enrollments(t.Context())
	if err != nil || len(open) != rounds {
		t.Errorf("%d invitations are open, want %d: %v", len(open), rounds, err)
	}
}

// A station that is recorded while another enrols under its name keeps its key.
func TestEnrolmentBesideARecording(t *testing.T) { onBothEngines(t, testEnrolmentBesideARecording) }

func testEnrolmentBesideARecording(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	e := w.enrolling(Invitation{Station: "bay-3"}, "tpm", true)
	var recorded func() error
	_, err := e.prove(func() {
		recorded = meanwhile(t, s, func() error {
			_, err := s.PutStation(t.Context(), "bay-3", hexSum([]byte("file")), certify("file", nil))
			return err
		})
	})
	oneOf(t, s, "bay-3", map[string]error{"tpm": err, "file": recorded()})
}

// A key with which two stations have begun to enrol is that of the first that is done.
func TestOneKeyUnderTwoNames(t *testing.T) { onBothEngines(t, testOneKeyUnderTwoNames) }

func testOneKeyUnderTwoNames(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	first, second := w.enrolling(Invitation{Station: "bay-3"}, "k", true), w.enrolling(Invitation{Station: "bay-4"}, "k", true)
	if st, err := first.prove(nil); err != nil || st.Name != "bay-3" {
		t.Fatalf("%+v, %v", st, err)
	}
	if st, err := second.prove(nil); !isRefusal(err, StationConflict) {
		t.Errorf("the key of bay-3 again: %+v, %v", st, err)
	}
	// At once.
	first, second = w.enrolling(Invitation{Station: "bay-5"}, "l", true), w.enrolling(Invitation{Station: "bay-6"}, "l", true)
	var wait func() error
	_, err := first.prove(func() {
		if wait == nil {
			wait = meanwhile(t, s, func() error { _, err := second.prove(nil); return err })
		}
	})
	if other := wait(); (err == nil) == (other == nil) || !isRefusal(errors.Join(err, other), StationConflict) {
		t.Errorf("%v, and %v", err, other)
	}
}

// A person's word is for the last invitation of a station, and for nothing that is over.
func TestApprovalOfTheLast(t *testing.T) { onBothEngines(t, testApprovalOfTheLast) }

func testApprovalOfTheLast(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	approve := func(key string) error {
		_, err := s.ApproveEnrollment(t.Context(), "bay-3", "ek of "+key, "p1")
		return err
	}
	prove := func(e enrolling, waits bool) {
		t.Helper()
		if st, err := e.prove(nil); err != nil || (st.Name == "") != waits {
			t.Fatalf("%+v, %v", st, err)
		}
	}
	first := w.enrolling(Invitation{Station: "bay-3"}, "first", false)
	if err := approve("first"); !isRefusal(err, NotFound) {
		t.Errorf("before it has proved its key: %v", err)
	}
	prove(first, true)
	w.must(approve("first"))
	prove(first, false)
	w.must(approve("first")) // the same again
	// Its TPM is to be replaced.
	second := w.enrolling(Invitation{Station: "bay-3", Replaces: true}, "second", false)
	for _, key := range []string{"first", "second"} {
		if err := approve(key); !isRefusal(err, NotFound) {
			t.Errorf("%s, while nothing is proved of the second: %v", key, err)
		}
	}
	prove(second, true)
	if err := approve("first"); !isRefusal(err, ProofInvalid) {
		t.Errorf("the first in the place of the second: %v", err)
	}
	w.must(approve("second"))
	prove(second, false)
	// By its certificate: no person was asked.
	prove(w.enrolling(Invitation{Station: "bay-3", Replaces: true}, "third", true), false)
	for _, key := range []string{"second", "third"} {
		if err := approve(key); !isRefusal(err, NotFound) {
			t.Errorf("%s, where no person is asked: %v", key, err)
		}
	}
}

// A station whose key was replaced since the caller was known renews nothing for him.
func TestRenewalOfAnotherKey(t *testing.T) { onBothEngines(t, testRenewalOfAnotherKey) }

func testRenewalOfAnotherKey(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	_, err := w.enrolling(Invitation{Station: "bay-3"}, "old", true).prove(nil)
	w.must(err)
	old := hexSum([]byte("old"))
	holds := func(_, _, nonce []byte) error {
		if string(nonce) != "n" {
			return errors.New("another nonce")
		}
		return nil
	}
	w.must(s.ChallengeStation(t.Context(), "bay-3", old, []byte("n")))
	if st, err := s.RenewStation(t.Context(), "bay-3", old, holds, certify("old, again", nil)); err != nil || st.PublicKeySHA256 != old {
		t.Fatalf("%+v, %v", st, err)
	}
	_, err = w.enrolling(Invitation{Station: "bay-3", Replaces: true}, "new", true).prove(nil)
	w.must(err)
	if err := s.ChallengeStation(t.Context(), "bay-3", old, []byte("n")); !isRefusal(err, NotYours) {
		t.Errorf("the old key is challenged: %v", err)
	}
	w.must(s.ChallengeStation(t.Context(), "bay-3", hexSum([]byte("new")), []byte("n")))
	if st, err := s.RenewStation(t.Context(), "bay-3", old, holds, certify("old", nil)); !isRefusal(err, NotYours) {
		t.Errorf("the old key is signed in the place of the new one: %+v, %v", st, err)
	}
	w.must(s.RevokeStation(t.Context(), "bay-3"))
	if err := s.ChallengeStation(t.Context(), "bay-3", hexSum([]byte("new")), []byte("n")); !isRefusal(err, NotYours) {
		t.Errorf("a revoked station is challenged: %v", err)
	}
}
