package agent

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker/workertest"
	"github.com/usbkeyd/usbkeyd/provision"
)

func TestMain(m *testing.M) {
	envelope.ChooseAES256()
	os.Exit(m.Run())
}

// rig is a real central server and a station with bays of software tokens.
type rig struct {
	t       *testing.T
	central *centraltest.Central
	ca      *testCA
	bays    []pkcs11test.Bay
	dir     string
	config  Config
	roots   *x509.CertPool
	journal *provision.Journal
	// pcsc is the socket that every bay's tokens are behind, "" for none; call bounds
	// its calls, 0 for as usual.
	pcsc string
	call time.Duration
}

// newRig starts the server and enrols the station; lease is the shortest lease.
func newRig(t *testing.T, bays int, lease time.Duration) *rig {
	t.Helper()
	return newRigWith(t, bays, func(c *central.Config) { c.LeaseBase = lease })
}

// newRigWith is newRig for a server that is configured otherwise.
func newRigWith(t *testing.T, bays int, change func(*central.Config)) *rig {
	t.Helper()
	r := &rig{t: t, ca: newTestCA(t), dir: t.TempDir()}
	r.central = centraltest.New(t, func(c *central.Config) { c.CA = r.ca; change(c) })
	credential, err := tls.LoadX509KeyPair(
		filepath.Join(r.central.StationDir, adminclient.StationCertificate), filepath.Join(r.central.StationDir, adminclient.StationKey))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(r.central.StationDir, adminclient.CentralRoot))
	if err != nil {
		t.Fatal(err)
	}
	r.roots = x509.NewCertPool()
	if !r.roots.AppendCertsFromPEM(pem) {
		t.Fatal("no root of the central server")
	}
	for range bays {
		r.bays = append(r.bays, pkcs11test.NewBay(t))
	}
	fingerprint := func(c *x509.Certificate) string { return fmt.Sprintf("%x", sha256.Sum256(c.Raw)) }
	r.config = Config{
		Products: []string{"CERT272353"}, Capabilities: []Capability{{"SoftHSM v2", []string{"ec-p256"}, time.Second}},
		UserPINRecipients: []string{fingerprint(r.central.Recipient)},
		SOPINRecipients:   []string{fingerprint(r.central.Recipient), fingerprint(r.central.SecondOfficer)},

		InstanceID: uuid.NewString(), BootID: "boot", Version: "test", Drain: true,
		WatchInterval: 20 * time.Millisecond, ConnectWithin: 2 * time.Second,
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		Label: func(string) (*csr.Text, error) { return csr.CompileText("{{.UnitID}}") },
		Runner: provision.Runner{
			Anchors: r.ca.Roots(), Product: sampleProduct(t), TokenProfile: sampleProfile, Now: time.Now,
		},
	}
	root, err := keyfile.ReadCertificate(filepath.Join(r.central.StationDir, adminclient.CentralRoot))
	if err != nil {
		t.Fatal(err)
	}
	r.config.Record = &RecordKeys{Signer: credential.PrivateKey.(crypto.Signer), Central: []crypto.PublicKey{root.PublicKey}}
	r.connect(credential, r.central.StationURL())
	r.openState()
	return r
}

// connect points the station at a server.
func (r *rig) connect(credential tls.Certificate, urls ...string) {
	r.t.Helper()
	c, err := NewCentral(urls, credential, r.roots)
	if err != nil {
		r.t.Fatal(err)
	}
	r.config.Central = c
}

func (r *rig) openState() {
	r.t.Helper()
	path := filepath.Join(r.dir, "journal.db")
	exists, err := provision.JournalExists(path)
	if err != nil {
		r.t.Fatal(err)
	}
	if r.config.Runner.Vault, err = provision.OpenVault(filepath.Join(r.dir, "journal.key"), !exists); err != nil {
		r.t.Fatal(err)
	}
	if r.journal, err = provision.OpenJournal(path); err != nil {
		r.t.Fatal(err)
	}
	r.config.Runner.Journal = r.journal
	if r.config.Runner.Keys, err = provision.NewKeyGate(r.journal); err != nil {
		r.t.Fatal(err)
	}
	j := r.journal
	r.t.Cleanup(func() { _ = j.Close() })
}

// testPool is worker.Pool as the agent wants it.
type testPool struct{ *worker.Pool }

func (p testPool) Acquire(ctx context.Context) (pkcs11.Module, error) {
	m, err := p.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (p testPool) Release(m pkcs11.Module) { _ = p.Pool.Release(m.(*worker.Process)) }

// run lets a fresh agent work on the bays, as a restarted daemon does.
func (r *rig) run(ctx context.Context) (Summary, error) {
	r.t.Helper()
	a, end := r.newAgent()
	defer end()
	return a.Run(ctx)
}

// newAgent makes one over the bays; end closes what it has of them.
func (r *rig) newAgent() (a *Agent, end func()) {
	pools := r.instances()
	return New(r.config), func() {
		for _, p := range pools {
			if err := p.Close(); err != nil {
				r.t.Error(err)
			}
		}
	}
}

// instances puts fresh pools of the bays into the configuration.
func (r *rig) instances() (pools []*worker.Pool) {
	r.t.Helper()
	r.config.Instances = nil
	for i, b := range r.bays {
		p := worker.NewPool(workertest.With(r.t, worker.Spec{
			Path: b.Path, Env: b.Env, Trust: worker.TrustUnchecked, MaxProcesses: 1, Deadlines: worker.Deadlines{Call: r.call},
		}))
		pools = append(pools, p)
		r.config.Instances = append(r.config.Instances, Instance{Name: fmt.Sprintf("bay-%02d", i+1), Pool: testPool{p}, Tokens: 1, PCSC: r.pcsc})
	}
	return pools
}

// order submits an order of n keys.
func (r *rig) order(n int) { r.t.Helper(); r.central.Order(r.t, n) }

func (r *rig) units() []api.Unit { r.t.Helper(); return r.central.Units(r.t) }

// installed checks that every unit is INSTALLED, on a token and with a key of its own.
func (r *rig) installed(want int) {
	r.t.Helper()
	serials := map[string]bool{}
	for _, u := range r.units() {
		if u.State != api.INSTALLED {
			r.t.Errorf("%s is %s %s", u.UnitId, u.State, text(u.HeldReason))
			continue
		}
		serials[text(u.TokenSerial)] = true
	}
	if len(serials) != want {
		r.t.Errorf("%d tokens for %d units", len(serials), want)
	}
	if issued, keys := r.ca.record(); issued != want || keys != want {
		r.t.Errorf("the CA issued %d certificates for %d keys, wanted %d", issued, keys, want)
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func certificate(t *testing.T, template, parent *x509.Certificate, pub crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sampleProduct(t *testing.T) func(string) (provision.Product, error) {
	t.Helper()
	alg, err := pkcs11.AlgorithmByName("ec-p256")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := csr.Profile{
		Subject: csr.SubjectTemplate{
			{Type: "C", Value: "CN"}, {Type: "O", Value: "{{.Company.Name}}"}, {Type: "CN", Value: "{{.UnitID}}"},
		},
		KeyUsage: []string{"digitalSignature", "contentCommitment"}, ExtKeyUsage: []string{"clientAuth", "emailProtection"},
		ValidityTolerance: time.Hour, ClockTolerance: time.Minute,
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	p := provision.Product{
		Code: "CERT272353", Algorithm: alg, Profile: profile,
		UserPIN: provision.PINPolicy{Length: 8, Alphabet: "0123456789", Deny: provision.PINRules()},
	}
	return func(code string) (provision.Product, error) {
		if code != p.Code {
			return provision.Product{}, errors.New("unknown product")
		}
		return p, nil
	}
}

func sampleProfile(pkcs11.TokenInfo) (provision.TokenProfile, error) {
	return provision.TokenProfile{
		Name: "softhsm2", SOPIN: provision.PINPolicy{Length: 16, Alphabet: "0123456789"}, WorstKeyGeneration: time.Second,
	}, nil
}

// testCA issues once per request id, and wrongly when asked to.
type testCA struct {
	t       *testing.T
	root    *x509.Certificate
	rootKey crypto.Signer

	mu     sync.Mutex
	byID   map[string]ca.Certificate
	issued int
	keys   map[string]bool
	// wrong changes a certificate's template before it is signed; signer signs in the root's place.
	wrong  func(*x509.Certificate)
	signer crypto.Signer
	// always is handed out instead when set.
	always []*x509.Certificate
	// revoked are serial numbers, as text.
	revoked map[string]bool
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return &testCA{
		t: t, root: certificate(t, template, template, key.Public(), key), rootKey: key,
		byID: map[string]ca.Certificate{}, keys: map[string]bool{}, revoked: map[string]bool{},
	}
}

func (c *testCA) CanLookup() bool            { return true }
func (c *testCA) CanRevoke() bool            { return true }
func (c *testCA) Roots() []*x509.Certificate { return []*x509.Certificate{c.root} }

func (c *testCA) Revoke(_ context.Context, r ca.Revocation) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoked[r.Serial.String()] = true
	return nil
}

func (c *testCA) Lookup(_ context.Context, id string) (ca.Certificate, bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.byID[id]
	return found, ok, nil
}

func (c *testCA) Issue(_ context.Context, r ca.Request) (ca.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.byID[r.ID]; ok {
		return known, nil
	}
	request, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return ca.Certificate{}, err
	}
	from := time.Now().Add(-time.Minute)
	c.issued++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(1000 + c.issued)), RawSubject: request.RawSubject, PublicKey: request.PublicKey,
		NotBefore: from, NotAfter: from.AddDate(r.Profile.ValidityYears, 0, 0),
		KeyUsage: r.Profile.KeyUsage, ExtKeyUsage: r.Profile.ExtKeyUsage, BasicConstraintsValid: true,
	}
	if c.wrong != nil {
		c.wrong(template)
	}
	signer, parent := c.rootKey, *c.root
	if c.signer != nil {
		signer, parent.PublicKey = c.signer, c.signer.Public()
	}
	leaf := certificate(c.t, template, &parent, template.PublicKey, signer)
	certs := []*x509.Certificate{leaf}
	if c.always != nil {
		certs = c.always
	}
	c.keys[string(request.RawSubjectPublicKeyInfo)] = true
	bundle, err := csr.EncodeBundle(certs)
	if err != nil {
		return ca.Certificate{}, err
	}
	c.byID[r.ID] = ca.Certificate{PKCS7: bundle, Leaf: certs[0]}
	return c.byID[r.ID], nil
}

func (c *testCA) record() (issued, keys int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.issued, len(c.keys)
}
