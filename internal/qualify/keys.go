package qualify

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/usbkeyd/usbkeyd/pkcs11"
)

const keyLabel = "usbkeyd qualification"

// keys tries every algorithm that the token claims.
func (w *writing) keys(ctx context.Context) {
	if !w.hasUser {
		return
	}
	works := 0
	for i := range w.report.Algorithms {
		entry := &w.report.Algorithms[i]
		a, err := pkcs11.AlgorithmByName(entry.Name)
		if err != nil || !entry.Claimed || !w.wanted(a) || w.stopped() {
			continue
		}
		w.Say("making %s keys", a.Name)
		entry.Tried = true
		if err := w.algorithm(ctx, a, entry); err != nil {
			w.fault(Note, "keys "+a.Name, err)
			w.clear(ctx)
			continue
		}
		entry.Works = true
		works++
		w.report.add(OK, "keys "+a.Name, "made (%.2f s), read, used, certified and destroyed", entry.Generation.Median)
	}
	if works == 0 && !w.stopped() {
		w.report.add(Unfit, "keys", "no key that was tried can be made and used")
	}
	w.agree(ctx)
}

func (w *writing) wanted(a pkcs11.Algorithm) bool {
	return w.Write.Algorithms == nil || slices.ContainsFunc(w.Write.Algorithms, func(o pkcs11.Algorithm) bool { return o.Name == a.Name })
}

// writer is who makes keys and writes certificates on this token.
func (w *writing) writer() login {
	if w.profile.KeyLogin == keyLoginSO {
		return officer
	}
	return user
}

// algorithm does with one kind of key what the daemon will do.
func (w *writing) algorithm(ctx context.Context, a pkcs11.Algorithm, entry *Algorithm) error {
	key, took, err := w.firstKey(ctx, a, entry)
	if err != nil {
		return err
	}
	if err := w.checkClaims(ctx, key, entry); err != nil {
		return err
	}
	if err := w.checkPublic(ctx, a, key); err != nil {
		return err
	}
	if err := w.checkSigning(ctx, a, key); err != nil {
		return err
	}
	if err := w.checkDestroy(ctx, key.ID); err != nil {
		return err
	}
	return w.moreKeys(ctx, a, entry, key.ID, took)
}

// firstKey makes the first key: it finds out who may make it, and by which template.
func (w *writing) firstKey(ctx context.Context, a pkcs11.Algorithm, entry *Algorithm) (key pkcs11.Object, took time.Duration, err error) {
	asked := randomID()
	try := func(omit []string) (err error) {
		if len(key.ID) > 0 { // an attempt that went well before: two keys must not have one CKA_ID
			if err := w.destroy(ctx, key.ID); err != nil {
				return err
			}
		}
		took, err = w.timedAs(ctx, kindKeyGeneration, w.writer(), func(t pkcs11.Token) (err error) {
			key, err = t.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: a, ID: asked, Label: keyLabel, Omit: omit})
			return err
		})
		return err
	}
	names := omittable(a)
	first := slices.DeleteFunc(slices.Clone(w.profile.OmitAttributes), func(n string) bool { return !slices.Contains(names, n) })
	omit, err := minimalOmission(first, names, try)
	if errors.Is(err, pkcs11.ErrNotLoggedIn) && w.profile.KeyLogin == keyLoginUser {
		w.profile.KeyLogin = keyLoginSO
		if omit, err = minimalOmission(first, names, try); err == nil {
			w.report.add(Note, "keys "+a.Name, "the user may not make keys, the SO may (keyLogin: so)")
		} else {
			w.profile.KeyLogin = keyLoginUser
		}
	}
	if err != nil {
		return key, took, err
	}
	entry.Login, entry.Omit = w.profile.KeyLogin, append([]string{}, omit...)
	if len(omit) > 0 {
		w.report.add(Note, "keys "+a.Name, "the key template must do without %s", strings.Join(omit, ", "))
	}
	w.omit(omit)
	entry.KeyID = "kept"
	if !key.ID.Equal(asked) {
		entry.KeyID = "rewritten"
	}
	return key, took, nil
}

// omit takes attributes into the profile.
func (w *writing) omit(names []string) {
	for _, n := range names {
		if !slices.Contains(w.profile.OmitAttributes, n) {
			w.profile.OmitAttributes = append(w.profile.OmitAttributes, n)
		}
	}
}

// claimsWanted are what usbkeyd demands that a module claims of a private key.
func claimsWanted(c pkcs11.KeyClaims) []struct {
	name      string
	got, want pkcs11.Claim
} {
	return []struct {
		name      string
		got, want pkcs11.Claim
	}{
		{"CKA_PRIVATE", c.Private, pkcs11.ClaimYes},
		{"CKA_SENSITIVE", c.Sensitive, pkcs11.ClaimYes},
		{"CKA_EXTRACTABLE", c.Extractable, pkcs11.ClaimNo},
		{"CKA_NEVER_EXTRACTABLE", c.NeverExtractable, pkcs11.ClaimYes},
		{"CKA_ALWAYS_SENSITIVE", c.AlwaysSensitive, pkcs11.ClaimYes},
		{"CKA_LOCAL", c.Local, pkcs11.ClaimYes},
		{"CKA_SIGN", c.Sign, pkcs11.ClaimYes},
	}
}

// checkClaims reads what the module says of the private key.
func (w *writing) checkClaims(ctx context.Context, key pkcs11.Object, entry *Algorithm) error {
	private, err := w.objects(ctx, pkcs11.ClassPrivateKey, key.ID)
	if err != nil {
		return err
	}
	if len(private) != 1 {
		return fmt.Errorf("after one key was made %d private keys have its CKA_ID %s", len(private), key.ID)
	}
	entry.Claims = map[string]string{}
	var wrong []string
	for _, c := range claimsWanted(private[0].Claims) {
		got := string(c.got)
		if c.got == pkcs11.ClaimAbsent {
			got = "absent"
		}
		entry.Claims[c.name] = got
		if c.got != c.want {
			wrong = append(wrong, fmt.Sprintf("%s is %s", c.name, got))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("the private key is not what usbkeyd wants: %s", strings.Join(wrong, ", "))
	}
	return nil
}

func (w *writing) objects(ctx context.Context, class pkcs11.ObjectClass, id pkcs11.KeyID) (found []pkcs11.Object, err error) {
	err = w.as(ctx, user, func(t pkcs11.Token) (err error) {
		found, err = t.Objects(ctx, pkcs11.Query{Class: &class, ID: id})
		return err
	})
	return found, err
}

// checkPublic reads the public key again and wants the one that was ordered.
func (w *writing) checkPublic(ctx context.Context, a pkcs11.Algorithm, key pkcs11.Object) error {
	public, err := w.objects(ctx, pkcs11.ClassPublicKey, key.ID)
	if err != nil {
		return err
	}
	if len(public) != 1 || !bytes.Equal(public[0].PublicKey, key.PublicKey) {
		return fmt.Errorf("the public key that is read back is not the one that was made (%d found)", len(public))
	}
	parsed, err := x509.ParsePKIXPublicKey(key.PublicKey)
	if err != nil {
		return fmt.Errorf("the public key cannot be parsed: %w", err)
	}
	if bits := publicBits(parsed); bits != int(keyBits(a)) {
		return fmt.Errorf("a public key of %d bits was made, ordered were %d", bits, keyBits(a))
	}
	return nil
}

func publicBits(key crypto.PublicKey) int {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen()
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize
	}
	return 0
}

// checkSigning has the key sign its own certificate, checks that outside the module,
// and has the certificate stored and read back.
func (w *writing) checkSigning(ctx context.Context, a pkcs11.Algorithm, key pkcs11.Object) error {
	var der []byte
	err := w.as(ctx, user, func(t pkcs11.Token) (err error) {
		der, err = selfSigned(ctx, t, a, key)
		return err
	})
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if err := c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return fmt.Errorf("a signature made by the token is wrong: %w", err)
	}
	if err := w.storeCertificate(ctx, key.ID, der); err != nil {
		return fmt.Errorf("storing a certificate: %w", err)
	}
	stored, err := w.objects(ctx, pkcs11.ClassCertificate, key.ID)
	if err != nil {
		return err
	}
	if len(stored) != 1 || !bytes.Equal(stored[0].Certificate, der) {
		return fmt.Errorf("the certificate that is read back is not the one that was stored (%d found)", len(stored))
	}
	return nil
}

// storeCertificate writes as the profile has it so far; what only the SO may write
// is written by the SO.
func (w *writing) storeCertificate(ctx context.Context, id pkcs11.KeyID, der []byte) error {
	store := func(t pkcs11.Token) error {
		return t.WriteCertificate(ctx, pkcs11.CertificateObject{ID: id, Label: keyLabel, DER: der})
	}
	err := w.as(ctx, w.writer(), store)
	if errors.Is(err, pkcs11.ErrNotLoggedIn) && w.writer() == user {
		if err = w.as(ctx, officer, store); err == nil {
			w.profile.KeyLogin = keyLoginSO
			w.report.add(Note, "certificate", "the user may not write certificates, the SO may (keyLogin: so)")
		}
	}
	return err
}

// selfSigned is a certificate of the key by itself, plainly a sample.
func selfSigned(ctx context.Context, t pkcs11.Token, a pkcs11.Algorithm, key pkcs11.Object) ([]byte, error) {
	signer, err := pkcs11.NewSigner(ctx, t, key, a)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "示例证书 Qualification"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		SignatureAlgorithm: signatureAlgorithm(a),
	}
	return x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
}

func signatureAlgorithm(a pkcs11.Algorithm) x509.SignatureAlgorithm {
	switch {
	case a.Form == pkcs11.SignatureRSAPKCS1:
		return x509.SHA256WithRSA
	case a.Hash == crypto.SHA384:
		return x509.ECDSAWithSHA384
	}
	return x509.ECDSAWithSHA256
}

// checkDestroy removes key and certificate and wants them gone.
func (w *writing) checkDestroy(ctx context.Context, id pkcs11.KeyID) error {
	if err := w.destroy(ctx, id); err != nil {
		return fmt.Errorf("destroying the key: %w", err)
	}
	var left []pkcs11.Object
	err := w.as(ctx, user, func(t pkcs11.Token) (err error) {
		left, err = t.Objects(ctx, pkcs11.Query{ID: id})
		return err
	})
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d objects are left after the key was destroyed", len(left))
	}
	return err
}

func (w *writing) destroy(ctx context.Context, id pkcs11.KeyID) error {
	return w.as(ctx, w.writer(), func(t pkcs11.Token) error {
		_, err := t.Destroy(ctx, pkcs11.Query{ID: id})
		return err
	})
}

// clear removes what a question that failed has left.
func (w *writing) clear(ctx context.Context) {
	for _, class := range []pkcs11.ObjectClass{pkcs11.ClassPrivateKey, pkcs11.ClassPublicKey, pkcs11.ClassCertificate} {
		err := w.as(ctx, w.writer(), func(t pkcs11.Token) error {
			_, err := t.Destroy(ctx, pkcs11.Query{Class: &class})
			return err
		})
		if err != nil {
			return // the token is initialised again at the end
		}
	}
}

// moreKeys makes further keys, for the time it takes and for what becomes of a CKA_ID.
func (w *writing) moreKeys(ctx context.Context, a pkcs11.Algorithm, entry *Algorithm, first pkcs11.KeyID, took time.Duration) error {
	all := []time.Duration{took}
	ids := []pkcs11.KeyID{first}
	n := cmp.Or(w.Write.KeyGenerations, 3)

	for len(all) < n || entry.KeyID == "rewritten" && len(all) < 2 {
		var key pkcs11.Object
		took, err := w.timedAs(ctx, kindKeyGeneration, w.writer(), func(t pkcs11.Token) (err error) {
			key, err = t.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: a, ID: randomID(), Label: keyLabel, Omit: entry.Omit})
			return err
		})
		if err != nil {
			return fmt.Errorf("key %d: %w", len(all)+1, err)
		}
		all, ids = append(all, took), append(ids, key.ID)
		if err := w.destroy(ctx, key.ID); err != nil {
			return fmt.Errorf("destroying key %d: %w", len(all), err)
		}
	}
	t := newTiming("key generation "+a.Name, all)
	entry.Generation = &t
	w.report.Timings = append(w.report.Timings, t)
	if entry.KeyID == "rewritten" {
		w.ownIDs(a, ids)
	}
	return nil
}

// ownIDs draws the conclusion from the CKA_IDs that a token gives by itself.
func (w *writing) ownIDs(a pkcs11.Algorithm, ids []pkcs11.KeyID) {
	fixed := ids[0].String()
	same := !slices.ContainsFunc(ids, func(id pkcs11.KeyID) bool { return !id.Equal(ids[0]) })
	if same && fixed != "" && (w.profile.KeyID == "" || w.profile.KeyID == fixed) {
		w.profile.KeyID = fixed
		w.report.add(Note, "keys "+a.Name, "every key has the CKA_ID %s, whatever is asked for (keyId)", fixed)
		return
	}
	w.report.add(Note, "keys "+a.Name, "the token chooses CKA_IDs of its own, such as %s: a key whose making was cut off is not found again, and its token goes aside", fixed)
}

// agree sees to it that one list of omitted attributes serves all algorithms,
// because a profile has only one.
func (w *writing) agree(ctx context.Context) {
	for i := range w.report.Algorithms {
		entry := &w.report.Algorithms[i]
		if !entry.Works || len(entry.Omit) == len(w.profile.OmitAttributes) || w.stopped() {
			continue
		}
		a, err := pkcs11.AlgorithmByName(entry.Name)
		if err != nil {
			continue
		}
		entry.Omit = slices.Clone(w.profile.OmitAttributes)
		err = w.omittedAll(ctx, a, entry)
		if err != nil {
			entry.Works = false
			w.report.add(Note, "keys "+a.Name, "not with the attributes left out that other algorithms must do without: %s", blame(err))
		}
	}
}

func (w *writing) omittedAll(ctx context.Context, a pkcs11.Algorithm, entry *Algorithm) error {
	var key pkcs11.Object
	_, err := w.timedAs(ctx, kindKeyGeneration, w.writer(), func(t pkcs11.Token) (err error) {
		key, err = t.GenerateKeyPair(ctx, pkcs11.KeyPairTemplate{Algorithm: a, ID: randomID(), Label: keyLabel, Omit: entry.Omit})
		return err
	})
	if err != nil {
		return err
	}
	return errors.Join(w.checkClaims(ctx, key, entry), w.destroy(ctx, key.ID))
}

// randomID is a CKA_ID as the daemon draws it.
func randomID() pkcs11.KeyID {
	id := make(pkcs11.KeyID, 8)
	_, _ = rand.Read(id) // never fails
	return id
}
