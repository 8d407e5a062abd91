package store

import (
	"context"
	"fmt"
)

// Tiers of a station's identity: where its key is.
const (
	TierFile = "file"
	TierTPM  = "tpm"
)

// ChallengeStation keeps the nonce over which a station's TPM is to prove its key
// again; it takes the place of an earlier one. A station that is revoked, or has another
// key now than the caller, is NotYours.
func (s *Store) ChallengeStation(ctx context.Context, name, keySHA256 string, nonce []byte) error {
	return s.write(ctx, "challenge station "+name, func(t *txn) error {
		if _, err := t.askCaller(ctx, name, keySHA256, s.dialect.lock("st"))(); err != nil {
			return err
		}
		return t.One(ctx, "write nonce", `UPDATE stations SET renew_nonce = $2, renew_until = $3 WHERE name = $1`,
			name, nonce, t.now()+challengeTTL.Milliseconds())
	})
}

// RenewStation gives a station another certificate over its key, which must be the
// caller's; see ChallengeStation. In the tier tpm check sees the attestation and the
// nonce, which is used up; none that is in time, and an attestation that does not hold,
// are ProofInvalid.
func (s *Store) RenewStation(ctx context.Context, name, keySHA256 string, check CheckCertified, sign SignStation) (out Station, err error) {
	err = s.write(ctx, "renew station "+name, func(t *txn) error {
		known, err := t.askCaller(ctx, name, keySHA256, s.dialect.lock("st"))()
		if err != nil {
			return err
		}
		if known.Tier == TierTPM {
			if err := t.checkRenewal(ctx, name, check); err != nil {
				return err
			}
		}
		der, notAfter, err := sign(name, fromMillis(t.now()))
		if err != nil {
			return err
		}
		out = known
		out.Certificate, out.CertificateSHA256, out.NotAfter = der, hexSum(der), notAfter
		return t.One(ctx, "renew station",
			`UPDATE stations SET certificate = $2, certificate_sha256 = $3, not_after = $4, renew_nonce = NULL, renew_until = 0 WHERE name = $1`,
			name, der, out.CertificateSHA256, millis(notAfter))
	})
	return out, err
}

func (t *txn) checkRenewal(ctx context.Context, name string, check CheckCertified) error {
	var attestationKey, identityKey, nonce []byte
	var until int64
	err := t.QueryRowContext(ctx, `SELECT attestation_key, identity_key, renew_nonce, renew_until FROM stations WHERE name = $1`, name).
		Scan(&attestationKey, &identityKey, &nonce, &until)
	if err != nil {
		return fmt.Errorf("read the station's keys: %w", err)
	}
	if len(nonce) == 0 || t.now() >= until {
		return refuse(ProofInvalid, "no nonce is out, or it is too old; ask for another one")
	}
	if err := check(attestationKey, identityKey, nonce); err != nil {
		return refuse(ProofInvalid, "%s", err)
	}
	return nil
}
