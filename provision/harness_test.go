package provision

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker/workertest"
)

func TestMain(m *testing.M) {
	envelope.ChooseAES256()
	os.Exit(m.Run())
}

// station is one bay, one journal and a central server that lives in the test.
type station struct {
	t       *testing.T
	bay     pkcs11test.Bay
	dir     string
	central *central
	pinKey  *rsa.PrivateKey
	runner  Runner
}

func newStation(t *testing.T) *station {
	t.Helper()
	s := &station{t: t, bay: pkcs11test.NewBay(t), dir: t.TempDir(), central: newCentral(t)}
	recipient, key := newRecipient(t)
	s.pinKey = key
	s.runner = Runner{
		Central: s.central, Anchors: []*x509.Certificate{s.central.root},
		Product: func(string) (Product, error) { return sampleProduct(t, "ec-p256"), nil },
		TokenProfile: func(pkcs11.TokenInfo) (TokenProfile, error) {
			return TokenProfile{Name: "softhsm2", SOPIN: PINPolicy{Length: 16, Alphabet: "0123456789"}, WorstKeyGeneration: time.Minute}, nil
		},
		Recipients: func() (Recipients, error) {
			return Recipients{UserPIN: []envelope.Recipient{recipient}, SOPIN: []envelope.Recipient{recipient}}, nil
		},
		Now: time.Now,
	}
	s.reopen()
	return s
}

// reopen opens journal and vault as a restarted daemon does.
func (s *station) reopen() {
	s.t.Helper()
	path := filepath.Join(s.dir, "journal.db")
	exists, err := JournalExists(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if s.runner.Vault, err = OpenVault(filepath.Join(s.dir, "journal.key"), !exists); err != nil {
		s.t.Fatal(err)
	}
	if s.runner.Journal, err = OpenJournal(path); err != nil {
		s.t.Fatal(err)
	}
	if s.runner.Keys, err = NewKeyGate(s.runner.Journal); err != nil {
		s.t.Fatal(err)
	}
	j := s.runner.Journal
	s.t.Cleanup(func() { _ = j.Close() })
}

// module starts a fresh process for the bay.
func (s *station) module() pkcs11.Module {
	s.t.Helper()
	m, err := worker.Start(s.t.Context(), workertest.With(s.t, worker.Spec{Path: s.bay.Path, Env: s.bay.Env}))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = m.Close() })
	return m
}

// blank is the bay's uninitialised slot.
func (s *station) blank(m pkcs11.Module) TokenRef {
	s.t.Helper()
	slots, err := m.Slots(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, slot := range slots {
		if slot.Token != nil && !slot.Token.Initialized() {
			return TokenRef{Module: "bay", Identity: slot.Identity(), Model: slot.Token.Model}
		}
	}
	s.t.Fatal("the bay shows no blank slot")
	return TokenRef{}
}

func sampleJob(sequence int) Job {
	d := csr.SubjectData{OrderID: "SAMPLE-0001", UnitID: fmt.Sprintf("SAMPLE-0001-%03d", sequence), Sequence: sequence, Of: 8, ProductCode: "CERT272353"}
	d.Company.Name, d.Company.USCC = "示例客车配件有限公司", "91350200M0000000XX"
	d.Handler.Name = "经办人甲"
	return Job{
		Kind: KindInitial, Subject: d, Generation: 1, ValidityYears: 1,
		TokenLabel: pkcs11.TokenLabel(d.UnitID), CreatedAt: time.Now(), DueAt: time.Now().Add(72 * time.Hour),
	}
}

func sampleProduct(t *testing.T, algorithm string) Product {
	t.Helper()
	alg, err := pkcs11.AlgorithmByName(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	profile, err := csr.Profile{
		Subject: csr.SubjectTemplate{
			{Type: "C", Value: "CN"}, {Type: "O", Value: "{{.Company.Name}}"}, {Type: "CN", Value: "{{.UnitID}}"},
		},
		KeyUsage: []string{"digitalSignature", "contentCommitment"}, ExtKeyUsage: []string{"clientAuth"},
		ValidityTolerance: time.Hour, ClockTolerance: time.Minute,
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return Product{Code: "CERT272353", Algorithm: alg, Profile: profile, UserPIN: PINPolicy{Length: 8, Alphabet: "0123456789", Deny: PINRules()}}
}

var recipientKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newRecipient(t *testing.T) (envelope.Recipient, *rsa.PrivateKey) {
	t.Helper()
	key, err := recipientKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sample PIN recipient"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := envelope.ParseRecipient(der, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return r, key
}

// alwaysOurs is a lease that never ends.
type alwaysOurs struct{}

func (alwaysOurs) Epoch() int64                    { return 1 }
func (alwaysOurs) Check(time.Duration, bool) error { return nil }
func (alwaysOurs) Cancelled() bool                 { return false }

// central is the other side of the contract, in memory: it remembers what it was
// told and has a CA that issues once per unit and generation.
type central struct {
	t       *testing.T
	mu      sync.Mutex
	root    *x509.Certificate
	rootKey crypto.Signer
	ca      *x509.Certificate
	caKey   crypto.Signer

	escrowed map[string]Escrow
	named    map[string]pkcs11.TokenSerial
	bound    map[string]Bind
	bundles  map[string][]byte
	issued   int
	// onEscrow happens once the escrow is durable, onBind when a request arrives.
	onEscrow, onBind func()
	// bindError is the answer to every request when set.
	bindError error
	// misissue changes a certificate's template, or the bundle, before it is given out.
	misissue func(*x509.Certificate)
	rebundle func([]*x509.Certificate) []byte
	// issuer signs instead of the issuing CA when set.
	issuer crypto.Signer
}

func newCentral(t *testing.T) *central {
	t.Helper()
	c := &central{
		t: t, escrowed: map[string]Escrow{}, named: map[string]pkcs11.TokenSerial{}, bound: map[string]Bind{}, bundles: map[string][]byte{},
	}
	authority := func(name string, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(20, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	c.root, c.rootKey = authority("sample root", nil, nil)
	c.ca, c.caKey = authority("sample issuing CA", c.root, c.rootKey)
	return c
}

func (c *central) Escrow(_ context.Context, e Escrow) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.escrowed[e.ID] = e
	if c.onEscrow != nil {
		c.onEscrow()
	}
	return nil
}

func (c *central) NameEscrow(_ context.Context, id string, serial pkcs11.TokenSerial) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.escrowed[id]; !ok {
		return fmt.Errorf("%w: no escrow %s", ErrRefused, id)
	}
	c.named[id] = serial
	return nil
}

func (c *central) Bind(_ context.Context, b Bind) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onBind != nil {
		c.onBind()
	}
	if c.bindError != nil {
		return nil, c.bindError
	}
	if old, ok := c.bound[b.UnitID]; ok {
		if string(old.CSR) != string(b.CSR) {
			return nil, fmt.Errorf("%w: another request is bound", ErrRefused)
		}
		return nil, nil
	}
	if c.named[b.EscrowID] != b.TokenSerial {
		return nil, fmt.Errorf("%w: the escrow is not for this token", ErrRefused)
	}
	c.bound[b.UnitID] = b
	c.bundles[b.UnitID] = c.issue(b.CSR)
	c.issued++
	return nil, nil
}

func (c *central) Collect(_ context.Context, unitID string, _ int) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bundles[unitID], nil
}

func (c *central) issue(der []byte) []byte {
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), RawSubject: request.RawSubject,
		NotBefore: now.Add(-time.Minute), NotAfter: now.Add(-time.Minute).AddDate(1, 0, 0),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true, PublicKey: request.PublicKey,
	}
	if c.misissue != nil {
		c.misissue(template)
	}
	signer := c.caKey
	parent := *c.ca
	if c.issuer != nil {
		signer = c.issuer
		parent.PublicKey = signer.Public()
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, template, &parent, template.PublicKey, signer)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	leaf, err := x509.ParseCertificate(leafDER)
	if err != nil {
		c.t.Error(err)
		return nil
	}
	certs := []*x509.Certificate{leaf, c.ca}
	if c.rebundle != nil {
		return c.rebundle(certs)
	}
	bundle, err := csr.EncodeBundle(certs)
	if err != nil {
		c.t.Error(err)
	}
	return bundle
}

// oidCommonName is 2.5.4.3.
func oidCommonName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 4, 3} }
