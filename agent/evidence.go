package agent

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/evidence"
	"github.com/usbkeyd/usbkeyd/provision"
)

// statementBatch is how many statements are made before anything else is looked at.
const statementBatch = 64

// makeStatements signs a statement about every finished key whose end the central server
// has in its copy of the record. Each is one signature by the station's key. One that
// cannot be made waits, and holds up no other; the error is that the record is broken.
func (a *Agent) makeStatements() error {
	own := a.Central.leaf.Load()
	if a.Record == nil || own == nil { // without a certificate nobody would believe one
		return nil
	}
	signed, err := a.Runner.Journal.Anchor()
	if err != nil || signed == nil {
		return a.unstated(err)
	}
	anchor, err := a.openAnchor(signed)
	if err != nil {
		return a.unstated(err)
	}
	for after := int64(-1); ; {
		jobs, err := a.Runner.Journal.Unstated(after, anchor.Size, statementBatch)
		if err != nil || len(jobs) == 0 {
			return a.unstated(err)
		}
		for _, u := range jobs {
			if err := a.unstated(a.makeStatement(u, anchor, signed, own)); err != nil {
				return err
			}
			after = u.N
		}
	}
}

// unstated passes on that the record is broken, and leaves other errors in the log.
func (a *Agent) unstated(err error) error {
	if errors.Is(err, audit.ErrBroken) {
		return err
	}
	a.forget("the statement about a finished key waits", err)
	return nil
}

func (a *Agent) makeStatement(u provision.Unstated, anchor audit.Checkpoint, signed []byte, own *x509.Certificate) error {
	proof, err := a.Runner.Journal.ProveAct(anchor.Size, u.N)
	if err != nil {
		return err
	}
	s := a.statement(u.Record)
	s.Record = &evidence.Record{Index: u.N, Entry: string(u.Line), Proof: proof, Checkpoint: string(signed)}
	der, err := evidence.Sign(s, a.Record.Signer, own)
	if err != nil {
		return err
	}
	return a.Runner.Journal.SaveStatement(u.Record.Job.ID, der)
}

// statement is what the journal has of a finished key.
func (a *Agent) statement(r *provision.Record) evidence.Statement {
	f, order := r.Facts, r.Job.Subject
	s := evidence.Statement{
		Version: evidence.Version, MadeAt: time.Now(),
		Station: evidence.Station{Name: a.Central.station, Instance: a.InstanceID, Identity: a.keyIsIn(), Version: a.Version},
		Unit:    evidence.Unit{OrderID: order.OrderID, UnitID: order.UnitID, Generation: r.Job.Generation, Product: order.ProductCode, JobID: r.Job.ID},
		Token:   evidence.Token{Serial: string(r.Token.Identity.Serial), Label: string(r.TokenLabel()), Model: r.Token.Model},
		Key:     evidence.Key{ID: f.KeyID.String(), PublicKey: f.PublicKey},
		Certificate: evidence.Certificate{
			Serial: f.CertificateSerial, SHA256: f.CertificateSHA256,
		},
		Envelopes: []evidence.Envelope{{Of: evidence.OfSOPIN, SHA256: sha256Hex(f.SOPINEnvelope), Recipients: f.SOPINRecipients}},
	}
	if len(f.UserPINEnvelope) > 0 { // it may go by mailer, or be the holder's to set
		s.Envelopes = append(s.Envelopes, evidence.Envelope{Of: evidence.OfUserPIN, SHA256: sha256Hex(f.UserPINEnvelope), Recipients: f.UserPINRecipients})
	}
	for _, i := range a.Instances {
		if i.Name == r.Token.Module {
			s.Token.ModulePathSHA256, s.Token.ModuleSHA256 = sha256Hex([]byte(i.ModulePath)), i.ModuleSHA256
		}
	}
	if p, err := a.Runner.Product(order.ProductCode); err == nil { // else it was taken out of the configuration
		s.Key.Algorithm = p.Algorithm.Name
	}
	if p := f.Possession; p != nil {
		s.Possession = evidence.Possession{Challenge: p.Challenge, Hash: p.Hash, Signature: p.Signature}
	}
	s.Facts = facts(f)
	return s
}

// keyIsIn says where this station's key is.
func (a *Agent) keyIsIn() string {
	if t := a.tier(); t != nil {
		return string(*t)
	}
	return string(api.File)
}

// facts says what is known of a finished key, and how.
func facts(f provision.Facts) []evidence.Fact {
	out := []evidence.Fact{
		{What: "the token holds the private key of the certificate", Grade: evidence.Proved, By: "its signature over the challenge, once the certificate was on it"},
		{What: "the end of the unit is in the station's record", Grade: evidence.Proved, By: "the inclusion proof and the central server's signature"},
		{What: "the certificate was read back byte for byte", Grade: evidence.Declared, By: "the station"},
		{What: "the SO PIN was in escrow before it was set", Grade: evidence.Declared, By: "the order of entries in the station's record, escrow " + f.EscrowID},
		{What: "the public key passed the quality gate", Grade: evidence.Declared, By: "the station, at the time"},
	}
	for _, name := range slices.Sorted(maps.Keys(f.Claims)) {
		out = append(out, evidence.Fact{What: fmt.Sprintf("%s is %s", name, f.Claims[name]), Grade: evidence.Claimed, By: "the private key's attribute, as it was read"})
	}
	if f.Attestation != "" {
		out = append(out, evidence.Fact{What: "the key was made on this token", Grade: evidence.Attested, By: f.Attestation})
	}
	return out
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
