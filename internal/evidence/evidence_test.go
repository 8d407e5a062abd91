package evidence

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/usbkeyd/usbkeyd/csr"
	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// world is a root, a station under it, and a customer's key with its certificate.
type world struct {
	t                *testing.T
	rootKey, station *ecdsa.PrivateKey
	root, signer     *x509.Certificate
	customer         *ecdsa.PrivateKey
	certificate      []byte
	log              *audit.Memory
	statement        Statement
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issue(t *testing.T, template, parent *x509.Certificate, key crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	t.Helper()
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, rootKey: newKey(t), station: newKey(t), customer: newKey(t), log: &audit.Memory{}}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "stations' root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	w.root = issue(t, root, root, w.rootKey.Public(), w.rootKey)
	w.signer = w.stationCertificate("bay-1", x509.ExtKeyUsageClientAuth)
	customer := &x509.Certificate{SerialNumber: big.NewInt(0x40aa), Subject: pkix.Name{CommonName: "经办人甲"}}
	w.certificate = issue(t, customer, customer, w.customer.Public(), w.customer).Raw
	w.statement = w.sample()
	return w
}

func (w *world) stationCertificate(name string, usage x509.ExtKeyUsage) *x509.Certificate {
	w.t.Helper()
	return issue(w.t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{usage}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, w.root, w.station.Public(), w.rootKey)
}

// sample is a statement that holds.
func (w *world) sample() Statement {
	w.t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(w.customer.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	challenge, err := csr.NewChallenge(rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	digest := sha256.Sum256(challenge)
	signature, err := w.customer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		w.t.Fatal(err)
	}
	s := Statement{
		Version: Version, MadeAt: time.Now().UTC().Truncate(time.Second),
		Station: Station{Name: "bay-1", Instance: "5a1c8a2e-0000-4000-8000-000000000001", Identity: "file", Version: "sample"},
		Unit:    Unit{OrderID: "SAMPLE-1", UnitID: "SAMPLE-1-001", Generation: 1, Product: "CERT272353", JobID: "SAMPLE-1-001-g1-1"},
		Token:   Token{Serial: "16b6c3a2", Label: "SAMPLE-1-001", Model: "SoftHSM v2", ModulePathSHA256: sum([]byte("/usr/lib/module.so"))},
		Key:     Key{Algorithm: "ec-p256", ID: "01", PublicKey: spki}, Certificate: Certificate{Serial: "40aa", SHA256: sum(w.certificate)},
		Envelopes:  []Envelope{{"SO PIN", sum([]byte("so")), []string{sum([]byte("officer"))}}, {"user PIN", sum([]byte("user")), []string{sum([]byte("mail house"))}}},
		Possession: Possession{challenge, "SHA-256", signature},
		Facts:      []Fact{{"the token holds the private key of the certificate", Proved, "challenge and signature"}, {"CKA_SENSITIVE is true", Claimed, "read from the token"}},
	}
	s.Record = w.record(s)
	return s
}

// record puts an entry about the statement among others, and proves it.
func (w *world) record(s Statement) *Record {
	w.t.Helper()
	log := audit.Log{Storage: w.log}
	entry := audit.Entry{
		Time: time.Now(), Kind: audit.KindInstalled, Unit: s.Unit.UnitID, Generation: s.Unit.Generation, Job: s.Unit.JobID, TokenSerial: s.Token.Serial,
		IDs: map[string]string{"certificateSerial": s.Certificate.Serial},
		Hashes: map[string]string{
			"publicKey": sum(s.Key.PublicKey), "certificate": s.Certificate.SHA256, "soPinEnvelope": s.Envelopes[0].SHA256, "userPinEnvelope": s.Envelopes[1].SHA256,
		},
	}
	other := audit.Entry{Time: time.Now(), Kind: audit.KindSession}
	var index int64
	for i, e := range []audit.Entry{other, other, entry, other, other} {
		added, err := log.Append(e)
		if err != nil {
			w.t.Fatal(err)
		}
		if i == 2 {
			index = added.Index
		}
	}
	return w.prove(index, w.rootKey)
}

func (w *world) prove(index int64, by crypto.Signer) *Record {
	w.t.Helper()
	log := audit.Log{Storage: w.log}
	size := int64(len(w.log.Rows))
	proof, err := log.ProveEntry(size, index)
	if err != nil {
		w.t.Fatal(err)
	}
	root, err := log.Root(size)
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := audit.NewSigner(audit.Cosigner, by)
	if err != nil {
		w.t.Fatal(err)
	}
	checkpoint, err := audit.Checkpoint{Origin: audit.Origin("bay-1", "5a1c8a2e-0000-4000-8000-000000000001"), Size: size, Root: root}.Sign(signer)
	if err != nil {
		w.t.Fatal(err)
	}
	r := &Record{Index: index, Entry: string(w.log.Rows[index].Line), Checkpoint: string(checkpoint)}
	for _, h := range proof {
		r.Proof = append(r.Proof, h[:])
	}
	return r
}

func (w *world) trust() Trust {
	return Trust{Stations: []*x509.Certificate{w.root}, Certificate: w.certificate}
}

// elsewhere is a key that is not in this process: it signs, and is no key of the library's.
type elsewhere struct{ crypto.Signer }

func (w *world) sign(s Statement) []byte {
	w.t.Helper()
	der, err := Sign(s, elsewhere{w.station}, w.signer)
	if err != nil {
		w.t.Fatal(err)
	}
	return der
}

// What is signed here openssl verifies, and gives the same text.
func TestStatement(t *testing.T) {
	w := newWorld(t)
	der := w.sign(w.statement)
	got, err := Verify(der, w.trust())
	if err != nil || !cmp.Equal(got.Statement, w.statement) || !got.Anchored || !got.Compared || got.Signer.Subject.CommonName != "bay-1" ||
		time.Since(got.SignedAt) > time.Minute {
		t.Fatalf("%+v (%v)", got, err)
	}
	dir := t.TempDir()
	signed, root := filepath.Join(dir, "s.p7s"), filepath.Join(dir, "root.pem")
	for path, data := range map[string][]byte{signed: der, root: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.root.Raw})} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", signed, "-CAfile", root, "-purpose", "any")
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	want, _ := w.statement.encode()
	if err != nil || !bytes.Equal(text, want) || !strings.Contains(said.String(), "successful") {
		t.Fatalf("openssl: %v: %s\n%s", err, said.String(), text)
	}
	printed, err := exec.Command("openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", signed).Output()
	if err != nil || !bytes.Contains(printed, []byte("algorithm: sha256")) || bytes.Contains(printed, []byte("sha1")) {
		t.Errorf("openssl shows (%v):\n%s", err, printed)
	}
}

// Whatever byte is changed, no other statement is believed.
func TestStatementChanged(t *testing.T) {
	w := newWorld(t)
	der := w.sign(w.statement)
	for i := range der {
		changed := bytes.Clone(der)
		changed[i] ^= 1
		if got, err := Verify(changed, w.trust()); err == nil && !cmp.Equal(got.Statement, w.statement) {
			t.Errorf("byte %d may be changed", i)
		}
	}
	for n := range len(der) {
		if _, err := Verify(der[:n], w.trust()); err == nil {
			t.Errorf("the first %d bytes are enough", n)
		}
	}
}

// A station that signs something which is not so is found out by what it shows.
func TestContradictions(t *testing.T) {
	w := newWorld(t)
	otherKey, err := x509.MarshalPKIXPublicKey(newKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change func(*Statement)
		want   error
	}{
		"another station":            {func(s *Statement) { s.Station.Name = "bay-2" }, ErrContradiction},
		"another instance":           {func(s *Statement) { s.Station.Instance = "x" }, ErrContradiction},
		"another key":                {func(s *Statement) { s.Key.PublicKey = otherKey }, ErrContradiction},
		"no key":                     {func(s *Statement) { s.Key.PublicKey = nil }, ErrContradiction},
		"another challenge":          {func(s *Statement) { s.Possession.Challenge = append([]byte("x"), s.Possession.Challenge...) }, ErrContradiction},
		"a hash that is none":        {func(s *Statement) { s.Possession.Hash = "MD5" }, ErrContradiction},
		"another hash":               {func(s *Statement) { s.Possession.Hash = "SHA-384" }, ErrContradiction},
		"another certificate":        {func(s *Statement) { s.Certificate.SHA256 = sum(nil) }, ErrContradiction},
		"another certificate serial": {func(s *Statement) { s.Certificate.Serial = "40ab" }, ErrContradiction},
		"another unit":               {func(s *Statement) { s.Unit.UnitID = "SAMPLE-1-002" }, ErrContradiction},
		"another generation":         {func(s *Statement) { s.Unit.Generation = 2 }, ErrContradiction},
		"another job":                {func(s *Statement) { s.Unit.JobID = "SAMPLE-1-001-g1-2" }, ErrContradiction},
		"another token":              {func(s *Statement) { s.Token.Serial = "16b6c3a3" }, ErrContradiction},
		"another SO PIN envelope":    {func(s *Statement) { s.Envelopes[0].SHA256 = sum(nil) }, ErrContradiction},
		"another user PIN envelope":  {func(s *Statement) { s.Envelopes[1].SHA256 = sum(nil) }, ErrContradiction},
		"an envelope of what":        {func(s *Statement) { s.Envelopes[0].Of = "PUK" }, ErrContradiction},
		"another entry":              {func(s *Statement) { s.Record.Entry = string(w.log.Rows[0].Line) }, ErrContradiction},
		"another index":              {func(s *Statement) { s.Record.Index = 1 }, ErrContradiction},
		"no proof":                   {func(s *Statement) { s.Record.Proof = nil }, ErrContradiction},
		"half a hash":                {func(s *Statement) { s.Record.Proof[0] = s.Record.Proof[0][:16] }, ErrContradiction},
		"a checkpoint of nobody":     {func(s *Statement) { s.Record = w.prove(2, newKey(t)) }, ErrContradiction},
		"another version":            {func(s *Statement) { s.Version = 2 }, ErrStatement},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.sample()
			s.Record = w.prove(s.Record.Index, w.rootKey)
			row.change(&s)
			if got, err := Verify(w.sign(s), w.trust()); !errors.Is(err, row.want) {
				t.Errorf("%v, wanted %v: %+v", err, row.want, got)
			}
		})
	}
}

// TestWhoSigns: only a station under the roots counts.
func TestWhoSigns(t *testing.T) {
	w := newWorld(t)
	server := w.stationCertificate("bay-1", x509.ExtKeyUsageServerAuth)
	stranger := newWorld(t)
	for name, der := range map[string]func() ([]byte, error){
		"a server's certificate":    func() ([]byte, error) { return Sign(w.statement, w.station, server) },
		"a station under no root":   func() ([]byte, error) { return Sign(w.statement, stranger.station, stranger.signer) },
		"a key without certificate": func() ([]byte, error) { return Sign(w.statement, newKey(t), w.signer) },
	} {
		signed, err := der()
		if err != nil {
			continue // it did not even sign
		}
		if got, err := Verify(signed, w.trust()); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %+v (%v)", name, got, err)
		}
	}
	if got, err := Verify(w.sign(w.statement), Trust{}); !errors.Is(err, ErrSignature) {
		t.Errorf("without any root: %+v (%v)", got, err)
	}
	s := w.statement
	s.Record = nil
	if got, err := Verify(w.sign(s), Trust{Stations: []*x509.Certificate{w.root}}); err != nil || got.Anchored || got.Compared {
		t.Errorf("without a record and a certificate: %+v (%v)", got, err)
	}
	if got, err := Verify(w.sign(w.statement), Trust{Stations: []*x509.Certificate{w.root}, Certificate: w.root.Raw}); !errors.Is(err, ErrContradiction) {
		t.Errorf("beside another certificate: %+v (%v)", got, err)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		if got, err := Verify(der, Trust{}); err == nil {
			t.Errorf("nobody signed %+v", got)
		}
	})
}
