package store

import (
	"errors"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// enrolling is a station that was invited and has begun to enrol.
type enrolling struct {
	*situation
	name, key string
	id        string // of the enrolment
}

// enrolling invites a station and shows a key that is believed.
func (w *situation) enrolling(name, key string, trust Showing) enrolling {
	w.t.Helper()
	token := hexSum([]byte("token of " + name + key))
	_, err := w.s.InviteStation(w.t.Context(), Invitation{Station: name, TokenSHA256: token, Valid: time.Hour, Replaces: false})
	w.must(err)
	trust.TokenSHA256, trust.Station, trust.EKSHA256, trust.KeySHA256 = token, name, "ek of "+key, hexSum([]byte(key))
	trust.AttestationKey, trust.IdentityKey, trust.Nonce, trust.SecretSHA256 = []byte("ak"), []byte(key), []byte("nonce"), "secret"
	e, err := w.s.BeginEnrollment(w.t.Context(), trust)
	w.must(err)
	return enrolling{w, name, key, e.ID}
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

// A station that is recorded while another enrols under its name keeps its key.
func TestEnrolmentBesideARecording(t *testing.T) { onBothEngines(t, testEnrolmentBesideARecording) }

func testEnrolmentBesideARecording(t *testing.T, at database.Place) {
	s, skip := newStore(t, at)
	w := &situation{t: t, s: s, skip: skip}
	e := w.enrolling("bay-3", "tpm", Showing{Certified: true})
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
	first, second := w.enrolling("bay-3", "k", Showing{Certified: true}), w.enrolling("bay-4", "k", Showing{Certified: true})
	if st, err := first.prove(nil); err != nil || st.Name != "bay-3" {
		t.Fatalf("%+v, %v", st, err)
	}
	if st, err := second.prove(nil); !isRefusal(err, StationConflict) {
		t.Errorf("the key of bay-3 again: %+v, %v", st, err)
	}
	// At once.
	first, second = w.enrolling("bay-5", "l", Showing{Certified: true}), w.enrolling("bay-6", "l", Showing{Certified: true})
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
