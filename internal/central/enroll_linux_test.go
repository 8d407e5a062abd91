package central_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/identity"
	"github.com/usbkeyd/usbkeyd/internal/identity/proof"
	"github.com/usbkeyd/usbkeyd/internal/identity/tpmtest"
)

// applicant is a station with a TPM that is about to be enrolled.
type applicant struct {
	*rig
	name    string
	key     *identity.Key
	request proof.Request
	ek      string // SHA-256
	token   string
	root    []byte
	http    *http.Client // without a certificate
}

// applicant invites a station whose TPM is soft.
func (r *rig) applicant(name string, soft *tpmtest.TPM, i adminclient.Invitation) *applicant {
	r.t.Helper()
	tpm := identity.New(soft.Device, 0)
	r.t.Cleanup(func() {
		if err := tpm.Close(); err != nil {
			r.t.Error(err)
		}
	})
	kept, err := tpm.MakeKeys()
	if err != nil {
		r.t.Fatal(err)
	}
	a := &applicant{rig: r, name: name}
	if a.key, err = tpm.LoadKey(kept); err != nil {
		r.t.Fatal(err)
	}
	if a.request, err = a.key.Request(); err != nil {
		r.t.Fatal(err)
	}
	parsed, err := proof.Parse(a.request)
	if err != nil {
		r.t.Fatal(err)
	}
	a.ek = parsed.EKSHA256
	a.invite(i)
	a.http = r.client(a.root, nil)
	return a
}

func (a *applicant) invite(i adminclient.Invitation) {
	a.t.Helper()
	if i.Valid == 0 {
		i.Valid = time.Hour
	}
	got, err := a.admin.InviteStation(a.t.Context(), a.name, filepath.Join(a.t.TempDir(), "out"), i)
	if err != nil {
		a.t.Fatal(err)
	}
	a.token, a.root = got.JoinToken, got.ServerTrust
}

func (a *applicant) post(client *http.Client, path string, body any) answer {
	a.t.Helper()
	return send(a.t, a.spec, client, a.srv.StationURL(), http.MethodPost, path, body)
}

func (a *applicant) begin() answer {
	a.t.Helper()
	req := api.EnrollmentRequest{JoinToken: a.token, Station: a.name, Tpm: api.TpmKeys{
		EndorsementKey: a.request.EK, AttestationKey: a.request.AK, IdentityKey: a.request.Key,
	}}
	if len(a.request.EKCertificate) > 0 {
		req.Tpm.EndorsementCertificate = &a.request.EKCertificate
	}
	return a.post(a.http, "/enrollments", req)
}

// prove answers a challenge truly; change may spoil the answer.
func (a *applicant) prove(begun answer, change func(*api.EnrollmentProof)) answer {
	a.t.Helper()
	var c api.EnrollmentChallenge
	decode(a.t, begun, &c)
	secret, err := a.key.Answer(c.Credential, c.EncryptedSecret)
	if err != nil {
		a.t.Fatal(err)
	}
	p := api.EnrollmentProof{Secret: secret, Certified: a.certify(c.Nonce)}
	if change != nil {
		change(&p)
	}
	return a.post(a.http, "/enrollments/"+c.EnrollmentId+"/proof", p)
}

func (a *applicant) certify(nonce []byte) api.Certified {
	a.t.Helper()
	c, err := a.key.Certify(nonce)
	if err != nil {
		a.t.Fatal(err)
	}
	return api.Certified{Attestation: c.Attestation, Signature: c.Signature}
}

func decode(t *testing.T, a answer, into any) {
	t.Helper()
	if a.status != http.StatusOK && a.status != http.StatusAccepted {
		t.Fatalf("%v", a)
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatal(err)
	}
}

// enrol goes the whole way, and gives a client with the certificate.
func (a *applicant) enrol() (*http.Client, *x509.Certificate) {
	a.t.Helper()
	return a.with(a.prove(a.begin(), nil))
}

func (a *applicant) with(enrolled answer) (*http.Client, *x509.Certificate) {
	a.t.Helper()
	var c struct{ Certificate []byte }
	decode(a.t, enrolled, &c)
	cert, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.client(a.root, &tls.Certificate{Certificate: [][]byte{c.Certificate}, PrivateKey: a.key}), cert
}

func (a *applicant) works(client *http.Client) answer {
	a.t.Helper()
	return send(a.t, a.spec, client, a.srv.StationURL(), http.MethodGet, "/trust", nil)
}

func TestEnrolmentByTPM(t *testing.T) { onBothEngines(t, testEnrolmentByTPM) }

// testEnrolmentByTPM goes the three ways by which a TPM is believed.
func testEnrolmentByTPM(t *testing.T, e engine) {
	t.Parallel()
	certified, bare := tpmtest.NewCertified(t), tpmtest.New(t)
	r := newRig(t, e, func(c *central.Config) { c.TPMMakers = certified.Makers })

	t.Run("by its maker's certificate", func(t *testing.T) {
		a := r.applicant("bay-1", certified, adminclient.Invitation{})
		client, cert := a.enrol()
		if got := a.works(client); got.status != http.StatusOK {
			t.Errorf("the certificate is not taken: %v", got)
		}
		if days := cert.NotAfter.Sub(cert.NotBefore).Hours() / 24; days != 30 || cert.Subject.CommonName != "bay-1" || !a.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(cert.PublicKey) {
			t.Errorf("a certificate for %q over %v for %.1f days", cert.Subject.CommonName, cert.PublicKey, days)
		}
	})
	t.Run("by a person", func(t *testing.T) {
		a := r.applicant("bay-2", bare, adminclient.Invitation{})
		begun := a.begin()
		waits := a.prove(begun, nil)
		var w api.EnrollmentWaits
		if decode(t, waits, &w); waits.status != http.StatusAccepted || w.EndorsementKeySha256 != a.ek || waits.header.Get("Retry-After") == "" {
			t.Fatalf("%v, want 202 with the endorsement key %s", waits, a.ek)
		}
		pending, err := r.admin.Enrollments(t.Context())
		if err != nil || len(pending) != 1 || pending[0].Station != "bay-2" || pending[0].State != api.Proved || pending[0].Trust != nil || *pending[0].EndorsementKeySha256 != a.ek {
			t.Fatalf("%+v, %v", pending, err)
		}
		var p *api.Problem
		if _, err := r.admin.ApproveStation(t.Context(), "bay-2", strings.Repeat("0", 64), "p1"); !errors.As(err, &p) || p.Type != api.ProblemProofInvalid {
			t.Errorf("another endorsement key: %v", err)
		}
		if _, err := r.admin.ApproveStation(t.Context(), "bay-9", a.ek, "p1"); !errors.As(err, &p) || p.Type != api.ProblemNotFound {
			t.Errorf("a station that does not wait: %v", err)
		}
		for range 2 {
			if got, err := r.admin.ApproveStation(t.Context(), "bay-2", a.ek, "p1"); err != nil || *got.ApprovedBy != "p1" || *got.Trust != api.Person {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		r.clock.advance(time.Hour) // persons take their time
		enrolled := a.prove(begun, nil)
		client, _ := a.with(enrolled)
		if got := a.works(client); got.status != http.StatusOK {
			t.Errorf("the certificate is not taken: %v", got)
		}
		// The answer was lost, and the challenge is older than it may be.
		if again := a.prove(begun, nil); string(again.body) != string(enrolled.body) {
			t.Errorf("the same proof again: %v", again)
		}
	})
	t.Run("by its invitation", func(t *testing.T) {
		soft := tpmtest.New(t)
		a := r.applicant("bay-3", soft, adminclient.Invitation{})
		a.invite(adminclient.Invitation{EKSHA256: strings.Repeat("0", 64)})
		wantProblem(t, a.begin(), http.StatusUnprocessableEntity, api.ProblemProofInvalid)
		a.invite(adminclient.Invitation{EKSHA256: a.ek})
		if got := a.works(first(a.enrol())); got.status != http.StatusOK {
			t.Errorf("the certificate is not taken: %v", got)
		}
	})
	stations, err := r.admin.Stations(t.Context())
	if err != nil || len(stations) != 3 {
		t.Fatalf("%v, %v", stations, err)
	}
	for _, s := range stations {
		if s.Identity != api.Tpm || s.EndorsementKeySha256 == nil {
			t.Errorf("station %s: %+v", s.Name, s)
		}
	}
	// Nothing of a join token is on the disk.
	a := r.applicant("bay-4", tpmtest.New(t), adminclient.Invitation{})
	if got := a.begin(); got.status != http.StatusOK {
		t.Fatal(got)
	}
	for name, text := range filesIn(t, r.dir) {
		if bytes.Contains(text, []byte(a.token)) {
			t.Errorf("%s holds a join token", name)
		}
	}
}

// filesIn reads the files of a folder in which a server is at work: one that has another
// name by the time it is read holds nothing, and is looked for under that.
func filesIn(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	for range 100 {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%v, %v", files, err)
		}
		if out, err := readAll(files); err == nil {
			return out
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Fatalf("the files of %s are never at rest", dir)
	return nil
}

// readAll reads those of the files that are regular ones.
func readAll(files []string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, f := range files {
		info, err := os.Stat(f)
		if err == nil && info.Mode().IsRegular() {
			out[f], err = os.ReadFile(f)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func first[A, B any](a A, _ B) A { return a }

func TestJoinTokens(t *testing.T) { onBothEngines(t, testJoinTokens) }

// testJoinTokens uses join tokens twice, late, and those that are none.
func testJoinTokens(t *testing.T, e engine) {
	t.Parallel()
	one, other := tpmtest.NewCertified(t), tpmtest.NewCertified(t)
	r := newRig(t, e, func(c *central.Config) { c.TPMMakers = append(one.Makers, other.Makers...) })
	a := r.applicant("bay-1", one, adminclient.Invitation{})
	b := r.applicant("bay-2", other, adminclient.Invitation{})

	wrong := *a
	wrong.token = strings.Repeat("A", 43)
	wantProblem(t, wrong.begin(), http.StatusUnauthorized, api.ProblemUnauthenticated)
	wrong.token = b.token
	wantProblem(t, wrong.begin(), http.StatusUnauthorized, api.ProblemUnauthenticated)

	lost := a.begin() // its answer gets lost
	begun := a.begin()
	thief := *b
	thief.name, thief.token = "bay-1", a.token
	wantProblem(t, thief.begin(), http.StatusConflict, api.ProblemJoinTokenUsed)
	// Only the last challenge counts.
	wantProblem(t, a.prove(lost, nil), http.StatusUnprocessableEntity, api.ProblemProofInvalid)
	enrolled := a.prove(begun, nil)
	again := a.prove(begun, nil)
	if enrolled.status != http.StatusOK || string(enrolled.body) != string(again.body) {
		t.Errorf("the same proof again: %v, then %v", enrolled, again)
	}
	wantProblem(t, thief.begin(), http.StatusConflict, api.ProblemJoinTokenUsed)
	// The same station begins again, as after a crash, and gets the same certificate.
	if resumed := a.prove(a.begin(), nil); string(resumed.body) != string(enrolled.body) {
		t.Errorf("begun again: %v", resumed)
	}

	late := b.begin()
	r.clock.advance(11 * time.Minute)
	wantProblem(t, b.prove(late, nil), http.StatusGone, api.ProblemJoinTokenExpired)
	r.clock.advance(time.Hour)
	wantProblem(t, b.begin(), http.StatusGone, api.ProblemJoinTokenExpired)
	// Who is enrolled has lost an answer at most.
	if resumed := a.prove(a.begin(), nil); string(resumed.body) != string(enrolled.body) {
		t.Errorf("begun again when the token is past: %v", resumed)
	}
	// A clock set back does not make it good again.
	r.clock.advance(-365 * 24 * time.Hour)
	wantProblem(t, b.begin(), http.StatusGone, api.ProblemJoinTokenExpired)
	r.clock.advance(365 * 24 * time.Hour)

	// A later invitation ends the earlier one.
	earlier := *b
	earlier.invite(adminclient.Invitation{})
	b.invite(adminclient.Invitation{})
	wantProblem(t, earlier.begin(), http.StatusConflict, api.ProblemJoinTokenUsed)
	b.enrol()
}

func TestEnrolmentIsRefused(t *testing.T) { onBothEngines(t, testEnrolmentIsRefused) }

// testEnrolmentIsRefused spoils one thing of a good enrolment a row.
func testEnrolmentIsRefused(t *testing.T, e engine) {
	t.Parallel()
	soft, other := tpmtest.NewCertified(t), tpmtest.NewCertified(t)
	r := newRig(t, e, func(c *central.Config) { c.TPMMakers = soft.Makers })
	a := r.applicant("bay-1", soft, adminclient.Invitation{})
	b := r.applicant("bay-2", other, adminclient.Invitation{})

	swapped := *a
	swapped.request.EKCertificate = b.request.EKCertificate
	wantProblem(t, swapped.begin(), http.StatusUnprocessableEntity, api.ProblemProofInvalid)
	swapped = *a
	swapped.request.AK = swapped.request.Key
	wantProblem(t, swapped.begin(), http.StatusUnprocessableEntity, api.ProblemProofInvalid)

	begun := a.begin()
	for name, spoil := range map[string]func(*api.EnrollmentProof){
		"another secret": func(p *api.EnrollmentProof) { p.Secret = make([]byte, 32) },
		"another nonce":  func(p *api.EnrollmentProof) { p.Certified = a.certify(make([]byte, 32)) },
		"another TPM's": func(p *api.EnrollmentProof) {
			var c api.EnrollmentChallenge
			decode(t, begun, &c)
			p.Certified = b.certify(c.Nonce)
		},
		"nothing certified": func(p *api.EnrollmentProof) {
			p.Certified = api.Certified{Attestation: []byte{1}, Signature: []byte{1}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantProblem(t, a.prove(begun, spoil), http.StatusUnprocessableEntity, api.ProblemProofInvalid)
		})
	}
	if a.prove(begun, nil).status != http.StatusOK {
		t.Error("the rows above show nothing: the good one is refused, too")
	}
	// A key that is another station's.
	b.request, b.key = a.request, a.key
	wantProblem(t, b.begin(), http.StatusConflict, api.ProblemStationConflict)
	wantProblem(t, a.post(a.http, "/enrollments/00000000-0000-0000-0000-000000000000/proof",
		api.EnrollmentProof{Secret: []byte{1}, Certified: api.Certified{Attestation: []byte{1}, Signature: []byte{1}}}), http.StatusNotFound, api.ProblemNotFound)

	// A name that is taken, and one that is shut out.
	var p *api.Problem
	invite := func(name string, replace bool) error {
		_, err := r.admin.InviteStation(t.Context(), name, filepath.Join(t.TempDir(), "out"), adminclient.Invitation{Valid: time.Hour, Replace: replace})
		return err
	}
	if err := invite("bay-1", false); !errors.As(err, &p) || p.Type != api.ProblemStationConflict {
		t.Errorf("a name that is taken: %v", err)
	}
	// Its TPM was replaced: the old key is worth nothing any more.
	last := a.begin()
	old := first(a.with(a.prove(last, nil)))
	next := r.applicant("bay-1", tpmtest.New(t), adminclient.Invitation{Replace: true})
	if got := a.works(old); got.status != http.StatusOK {
		t.Errorf("the invitation alone took the key away: %v", got)
	}
	waiting := next.begin()
	next.prove(waiting, nil)
	if _, err := r.admin.ApproveStation(t.Context(), "bay-1", next.ek, "p1"); err != nil {
		t.Fatal(err)
	}
	client := first(next.with(next.prove(waiting, nil)))
	if got := a.works(client); got.status != http.StatusOK {
		t.Errorf("the new key is not taken: %v", got)
	}
	wantProblem(t, a.works(old), http.StatusForbidden, api.ProblemForbidden)
	wantProblem(t, a.prove(last, nil), http.StatusConflict, api.ProblemStationConflict)
	wantProblem(t, a.post(old, "/station/renew", api.RenewalRequest{}), http.StatusForbidden, api.ProblemForbidden)
	if _, err := r.admin.RevokeStation(t.Context(), "bay-1"); err != nil {
		t.Fatal(err)
	}
	if err := invite("bay-1", true); !errors.As(err, &p) || p.Type != api.ProblemStationConflict {
		t.Errorf("a station that is revoked: %v", err)
	}
	wantProblem(t, a.post(client, "/station/renew", api.RenewalRequest{}), http.StatusForbidden, api.ProblemForbidden)
	wantProblem(t, next.prove(waiting, nil), http.StatusConflict, api.ProblemStationConflict)
}

func TestRenewal(t *testing.T) { onBothEngines(t, testRenewal) }

func testRenewal(t *testing.T, e engine) {
	t.Parallel()
	soft := tpmtest.NewCertified(t)
	r := newRig(t, e, func(c *central.Config) { c.TPMMakers = soft.Makers })
	a := r.applicant("bay-1", soft, adminclient.Invitation{})
	other := r.applicant("bay-2", tpmtest.New(t), adminclient.Invitation{})
	client, cert := a.enrol()

	challenge := func() []byte {
		t.Helper()
		got := a.post(client, "/station/renew", api.RenewalRequest{})
		var c api.RenewalChallenge
		if decode(t, got, &c); got.status != http.StatusAccepted || len(c.Nonce) != proof.SecretLen {
			t.Fatalf("%v, want 202 with a nonce", got)
		}
		return c.Nonce
	}
	renew := func(c api.Certified) answer {
		return a.post(client, "/station/renew", api.RenewalRequest{Certified: &c})
	}
	refused := func(c api.Certified) {
		t.Helper()
		wantProblem(t, renew(c), http.StatusUnprocessableEntity, api.ProblemProofInvalid)
	}
	refused(a.certify(make([]byte, 32))) // no nonce is out
	earlier := challenge()
	nonce := challenge()
	refused(a.certify(earlier))
	refused(other.certify(nonce))
	renewed := renew(a.certify(nonce))
	fresh, after := a.with(renewed)
	if after.Equal(cert) || !after.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(cert.PublicKey) {
		t.Error("not another certificate over the same key")
	}
	refused(a.certify(nonce)) // a nonce is good once
	old := a.certify(challenge())
	r.clock.advance(11 * time.Minute)
	refused(old) // and not for long
	for name, c := range map[string]*http.Client{"the certificate before": client, "the new one": fresh} {
		if got := a.works(c); got.status != http.StatusOK {
			t.Errorf("%s: %v", name, got)
		}
	}

	// Expired, it is good for nothing but to be renewed.
	r.clock.advance(40 * 24 * time.Hour)
	wantProblem(t, a.works(fresh), http.StatusUnauthorized, api.ProblemUnauthenticated)
	client = fresh
	if got := a.works(first(a.with(renew(a.certify(challenge()))))); got.status != http.StatusOK {
		t.Errorf("after expiry: %v", got)
	}
	// Before its time it is good for nothing at all.
	r.clock.advance(-365 * 24 * time.Hour)
	wantProblem(t, a.post(client, "/station/renew", api.RenewalRequest{}), http.StatusUnauthorized, api.ProblemUnauthenticated)
	r.clock.advance(365 * 24 * time.Hour)
	wantProblem(t, a.post(a.http, "/station/renew", api.RenewalRequest{}), http.StatusUnauthorized, api.ProblemUnauthenticated)

	// A key in a file renews while it can, and has nothing to prove later.
	file := r.station("bay-3")
	got := file.send(http.MethodPost, "/station/renew", api.RenewalRequest{})
	var f api.RenewedCertificate
	if decode(t, got, &f); got.status != http.StatusOK || bytes.Equal(f.Certificate, file.credential.Certificate) {
		t.Errorf("a key in a file: %v", got)
	}
	r.clock.advance(366 * 24 * time.Hour)
	wantProblem(t, file.send(http.MethodPost, "/station/renew", api.RenewalRequest{}), http.StatusUnauthorized, api.ProblemCertificateExpired)
	// The same key again, by hand, is not how a TPM is enrolled.
	var p *api.Problem
	if _, err := r.admin.EnrollStation(t.Context(), "bay-1", a.key); !errors.As(err, &p) || p.Type != api.ProblemStationConflict {
		t.Errorf("a TPM's key by hand: %v", err)
	}
}

// TestSessionTellsTheTier: a station is told how it is known.
func TestSessionTellsTheTier(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(t *testing.T) (none database.Postgres) { return none }, nil)
	s := r.station("bay-1")
	var got api.Session
	decode(t, s.send(http.MethodPut, "/session", s.sessionRequest()), &got)
	if got.Identity == nil || *got.Identity != api.File {
		t.Errorf("a key in a file is told to be %v", got.Identity)
	}
}

// TestRandomTokens: two invitations never give the same token.
func TestRandomTokens(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(t *testing.T) (none database.Postgres) { return none }, nil)
	seen := map[string]bool{}
	for range 20 {
		got, err := r.admin.InviteStation(t.Context(), "bay-1", filepath.Join(t.TempDir(), rand.Text()), adminclient.Invitation{Valid: time.Hour})
		if err != nil || seen[got.JoinToken] || len(got.JoinToken) != 43 {
			t.Fatalf("%q, %v", got.JoinToken, err)
		}
		seen[got.JoinToken] = true
	}
}
