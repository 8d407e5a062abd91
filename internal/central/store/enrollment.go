package store

import (
	"bytes"
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// EnrollmentState is how far an enrolment is.
type EnrollmentState string

// States of an enrolment, in their order. A voided one was ended by a later
// invitation for the same station.
const (
	Invited    EnrollmentState = "invited"
	Challenged EnrollmentState = "challenged"
	Proved     EnrollmentState = "proved"
	Enrolled   EnrollmentState = "enrolled"
	Voided     EnrollmentState = "voided"
)

// Trust says why a TPM is believed to be one.
type Trust string

// Reasons to believe a TPM; none: a person has yet to approve it.
const (
	TrustCertificate Trust = "certificate"
	TrustPinned      Trust = "pinned"
	TrustPerson      Trust = "person"
)

// challengeTTL is how long a nonce is good.
const challengeTTL = 10 * time.Minute

// Enrollment is an invitation and what has become of it.
type Enrollment struct {
	ID      string
	Station string
	State   EnrollmentState
	// PinnedEK is the endorsement key that the invitation names, EKSHA256 the one that
	// the station showed; SHA-256 in hexadecimal, or "".
	PinnedEK, EKSHA256   string
	Replaces             bool
	CreatedAt, ExpiresAt time.Time
	Trust                Trust
	ApprovedBy           string

	attestationKey, identityKey []byte
	keySHA256                   string
	nonce                       []byte
	secretSHA256                string
	challengeUntil              int64
}

// Invitation invites a station to enrol.
type Invitation struct {
	Station     string
	TokenSHA256 string
	PinnedEK    string
	Replaces    bool
	Valid       time.Duration
}

const enrollmentColumns = `enrollment_id, station, state, pinned_ek, ek_sha256, replaces, created_at, expires_at, trust, approved_by,
	attestation_key, identity_key, key_sha256, nonce, secret_sha256, challenge_until`

func scanEnrollment(r rowScanner) (Enrollment, error) {
	var e Enrollment
	var replaces, created, expires int64
	err := r.Scan(&e.ID, &e.Station, &e.State, &e.PinnedEK, &e.EKSHA256, &replaces, &created, &expires, &e.Trust, &e.ApprovedBy,
		&e.attestationKey, &e.identityKey, &e.keySHA256, &e.nonce, &e.secretSHA256, &e.challengeUntil)
	e.Replaces, e.CreatedAt, e.ExpiresAt = replaces != 0, fromMillis(created), fromMillis(expires)
	return e, err
}

// InviteStation makes a join token good for one enrolment. Open invitations for the
// same station end. A known station is StationConflict unless it is to be replaced,
// and a revoked one always.
func (s *Store) InviteStation(ctx context.Context, in Invitation) (out Enrollment, err error) {
	id := uuid.NewString()
	err = s.write(ctx, "invite station "+in.Station, func(t *txn) error {
		known, err := s.station(ctx, t, in.Station, s.dialect.lock("st"))
		switch {
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("read station: %w", err)
		case err == nil && known.Revoked:
			return refuse(StationConflict, "station %s is revoked", in.Station)
		case err == nil && !in.Replaces:
			return refuse(StationConflict, "station %s is enrolled already; say that its key is to be replaced (--replace)", in.Station)
		}
		if _, err := t.count(ctx, "end earlier invitations", `UPDATE enrollments SET state = $2 WHERE station = $1 AND state IN ($3, $4, $5)`,
			in.Station, Voided, Invited, Challenged, Proved); err != nil {
			return err
		}
		out = Enrollment{
			ID: id, Station: in.Station, State: Invited, PinnedEK: in.PinnedEK, Replaces: in.Replaces,
			CreatedAt: fromMillis(t.now()), ExpiresAt: fromMillis(t.now() + in.Valid.Milliseconds()),
		}
		return t.One(ctx, "write invitation",
			`INSERT INTO enrollments (enrollment_id, station, token_sha256, pinned_ek, replaces, created_at, expires_at, state)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			id, in.Station, in.TokenSHA256, in.PinnedEK, flag(in.Replaces), t.now(), millis(out.ExpiresAt), Invited)
	})
	return out, err
}

// Enrollments lists the enrolments that are not done, oldest first.
func (s *Store) Enrollments(ctx context.Context) ([]Enrollment, error) {
	out, err := collect(ctx, s.db.Read, scanEnrollment, `SELECT `+enrollmentColumns+` FROM enrollments
		WHERE state IN ($1, $2, $3) ORDER BY created_at, enrollment_id`, Invited, Challenged, Proved)
	if err != nil {
		return nil, fmt.Errorf("list enrolments: %w", err)
	}
	return out, nil
}

// CheckToken refuses a join token that this station was not given with TokenUnknown. It
// writes nothing, and nothing is to be done for a caller before it.
func (s *Store) CheckToken(ctx context.Context, tokenSHA256, station string) error {
	_, err := s.enrollment(ctx, s.db.Read, ofToken, "", tokenSHA256, station)
	if errors.Is(err, sql.ErrNoRows) {
		return refuse(TokenUnknown, "this station was not given this join token")
	}
	return err
}

// Challenged is CheckToken for who answers a challenge: it gives the station's name, or
// NotFound.
func (s *Store) Challenged(ctx context.Context, id string) (station string, err error) {
	e, err := s.enrollment(ctx, s.db.Read, `enrollment_id = $1`, "", id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && e.State == Invited {
		return "", refuse(NotFound, "there is no such enrolment")
	}
	return e.Station, err
}

// ofToken is the enrolment of a join token and a station.
const ofToken = `token_sha256 = $1 AND station = $2`

// Showing is what a station shows with its join token.
type Showing struct {
	TokenSHA256, Station string
	// EKSHA256 is its endorsement key. Certified says that the maker's certificate holds.
	EKSHA256  string
	Certified bool
	// AttestationKey and IdentityKey are public areas; KeySHA256 is of the identity key's SPKI.
	AttestationKey, IdentityKey []byte
	KeySHA256                   string
	// Nonce, and the SHA-256 of the secret, of the challenge that goes back.
	Nonce        []byte
	SecretSHA256 string
}

// BeginEnrollment uses a join token. It refuses with TokenUnknown, TokenUsed,
// TokenExpired, ProofInvalid for another endorsement key than the invitation's, and
// StationConflict for another station's key.
func (s *Store) BeginEnrollment(ctx context.Context, in Showing) (out Enrollment, err error) {
	err = s.write(ctx, "challenge station "+in.Station, func(t *txn) error {
		e, err := t.enrollment(ctx, ofToken, in.TokenSHA256, in.Station)
		if errors.Is(err, sql.ErrNoRows) {
			return refuse(TokenUnknown, "this station was not given this join token")
		}
		if err != nil {
			return err
		}
		same := e.EKSHA256 == in.EKSHA256 && bytes.Equal(e.attestationKey, in.AttestationKey) && bytes.Equal(e.identityKey, in.IdentityKey)
		switch {
		case e.State == Voided:
			return refuse(TokenUsed, "a later invitation has ended this one")
		case e.State != Invited && !same:
			return refuse(TokenUsed, "this join token was used with other keys")
		// A clock that was set back must not make a token good again.
		// One that was used in time may wait for a person for longer, and for an answer that was lost.
		case (e.State == Invited || e.State == Challenged) && t.now() >= millis(e.ExpiresAt), t.now() < millis(e.CreatedAt):
			return refuse(TokenExpired, "this join token was good until %s", e.ExpiresAt.Format(time.RFC3339))
		case e.PinnedEK != "" && e.PinnedEK != in.EKSHA256:
			return refuse(ProofInvalid, "the invitation is for the TPM with the endorsement key %s", e.PinnedEK)
		}
		if err := t.ownKey(ctx, in.Station, in.KeySHA256); err != nil {
			return err
		}
		if e.State == Invited {
			e.State = Challenged
		}
		switch {
		case e.Trust != "":
		case e.PinnedEK != "":
			e.Trust = TrustPinned
		case in.Certified:
			e.Trust = TrustCertificate
		}
		out = e
		out.EKSHA256 = in.EKSHA256
		return t.One(ctx, "write challenge",
			`UPDATE enrollments SET state = $2, ek_sha256 = $3, attestation_key = $4, identity_key = $5, key_sha256 = $6, nonce = $7,
				secret_sha256 = $8, challenge_until = $9, trust = $10 WHERE enrollment_id = $1`,
			e.ID, e.State, in.EKSHA256, in.AttestationKey, in.IdentityKey, in.KeySHA256, in.Nonce, in.SecretSHA256,
			t.now()+challengeTTL.Milliseconds(), e.Trust)
	})
	return out, err
}

// CheckCertified checks an attestation over a nonce, by public areas; its error is the
// reason for a refusal.
type CheckCertified func(attestationKey, identityKey, nonce []byte) error

// ProveEnrollment takes the answer to a challenge. Once the TPM is believed, the
// station is recorded and comes back; before, it is zero and the enrolment waits for
// a person. The same again gives the same. It refuses with NotFound, TokenUsed,
// TokenExpired (the challenge is too old), ProofInvalid and StationConflict.
func (s *Store) ProveEnrollment(ctx context.Context, id, secretSHA256 string, check CheckCertified, sign SignStation) (out Enrollment, st Station, err error) {
	err = s.write(ctx, "take the proof of enrolment "+id, func(t *txn) error {
		out, st = Enrollment{}, Station{}
		e, err := t.enrollment(ctx, `enrollment_id = $1`, id)
		if errors.Is(err, sql.ErrNoRows) || err == nil && e.State == Invited {
			return refuse(NotFound, "there is no such enrolment")
		}
		if err != nil {
			return err
		}
		switch {
		case e.State == Voided:
			return refuse(TokenUsed, "a later invitation has ended this one")
		case subtle.ConstantTimeCompare([]byte(secretSHA256), []byte(e.secretSHA256)) != 1:
			return refuse(ProofInvalid, "this is not the secret of the challenge")
		case e.State == Challenged && t.now() >= e.challengeUntil, t.now() < millis(e.CreatedAt):
			return refuse(TokenExpired, "the challenge is too old; ask for another one")
		}
		if err := check(e.attestationKey, e.identityKey, e.nonce); err != nil {
			return refuse(ProofInvalid, "%s", err)
		}
		if e.State == Challenged {
			e.State = Proved
		}
		if e.State == Proved && e.Trust != "" {
			if st, err = t.enroll(ctx, e, sign); err != nil {
				return err
			}
			e.State = Enrolled
		} else if e.State == Enrolled {
			if st, err = t.keyHolder(ctx, e.Station, e.keySHA256, s.dialect.lock("st"), StationConflict); err != nil {
				return err
			}
		}
		out = e
		return t.One(ctx, "write state of enrolment", `UPDATE enrollments SET state = $2 WHERE enrollment_id = $1`, e.ID, e.State)
	})
	return out, st, err
}

// enroll records the station of an enrolment under its new key. One that was not there is
// only inserted: if it came meanwhile, with this name or this key, that is looked at again.
func (t *txn) enroll(ctx context.Context, e Enrollment, sign SignStation) (Station, error) {
	if err := t.ownKey(ctx, e.Station, e.keySHA256); err != nil {
		return Station{}, err
	}
	known, err := t.store.station(ctx, t, e.Station, t.store.dialect.lock("st"))
	exists := err == nil
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return Station{}, fmt.Errorf("read station: %w", err)
	case exists && known.Revoked:
		return Station{}, refuse(StationConflict, "station %s is revoked", e.Station)
	case exists && !e.Replaces && known.PublicKeySHA256 != e.keySHA256:
		return Station{}, refuse(StationConflict, "station %s is known with another key", e.Station)
	}
	der, notAfter, err := sign(e.Station, fromMillis(t.now()))
	if err != nil {
		return Station{}, err
	}
	st := Station{
		Name: e.Station, PublicKeySHA256: e.keySHA256, Certificate: der, CertificateSHA256: hexSum(der), NotAfter: notAfter,
		Tier: TierTPM, EKSHA256: e.EKSHA256,
	}
	if exists {
		return st, t.One(ctx, "enrol known station",
			`UPDATE stations SET public_key_sha256 = $2, certificate = $3, certificate_sha256 = $4, not_after = $5, tier = $6, ek_sha256 = $7,
				attestation_key = $8, identity_key = $9, renew_nonce = NULL, renew_until = 0 WHERE name = $1`,
			st.Name, st.PublicKeySHA256, der, st.CertificateSHA256, millis(notAfter), TierTPM, e.EKSHA256, e.attestationKey, e.identityKey)
	}
	return st, t.One(ctx, "write station",
		`INSERT INTO stations (name, public_key_sha256, certificate, certificate_sha256, not_after, tier, ek_sha256, attestation_key, identity_key, added_at)
		 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		st.Name, st.PublicKeySHA256, der, st.CertificateSHA256, millis(notAfter), TierTPM, e.EKSHA256, e.attestationKey, e.identityKey, t.now())
}

// ApproveEnrollment is a person's word that a station's TPM, which has proved its key,
// is the one with this endorsement key. Another key is ProofInvalid, a station that
// waits for nobody NotFound. The same again changes nothing.
func (s *Store) ApproveEnrollment(ctx context.Context, station, ekSHA256, operator string) (out Enrollment, err error) {
	err = s.write(ctx, "approve station "+station, func(t *txn) error {
		// An invitation that is open ended those before it, save the one that was done.
		e, err := t.enrollment(ctx, `station = $1 AND state <> $2 ORDER BY CASE state WHEN $3 THEN 1 ELSE 0 END, created_at DESC LIMIT 1`,
			station, Voided, Enrolled)
		asked := e.State == Proved || e.State == Enrolled && e.Trust == TrustPerson
		if errors.Is(err, sql.ErrNoRows) || err == nil && !asked {
			return refuse(NotFound, "no station %s waits for approval", station)
		}
		if err != nil {
			return err
		}
		if e.EKSHA256 != ekSHA256 {
			return refuse(ProofInvalid, "the TPM that waits has the endorsement key %s", e.EKSHA256)
		}
		if e.Trust == "" {
			e.Trust, e.ApprovedBy = TrustPerson, operator
		}
		out = e
		return t.One(ctx, "write approval", `UPDATE enrollments SET trust = $2, approved_by = $3 WHERE enrollment_id = $1`, e.ID, e.Trust, e.ApprovedBy)
	})
	return out, err
}

// enrollment reads and locks one row.
func (t *txn) enrollment(ctx context.Context, where string, args ...any) (Enrollment, error) {
	return t.store.enrollment(ctx, t, where, t.store.dialect.lock("enrollments"), args...)
}

func (s *Store) enrollment(ctx context.Context, q queryer, where, lock string, args ...any) (Enrollment, error) {
	e, err := scanEnrollment(q.QueryRowContext(ctx, `SELECT `+enrollmentColumns+` FROM enrollments WHERE `+where+` `+lock, args...))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Enrollment{}, fmt.Errorf("read enrolment: %w", err)
	}
	return e, err
}
