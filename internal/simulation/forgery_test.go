//go:build !race

package simulation

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
)

// forge sends, just before a message, one like it that no station in its right mind
// would: a key that was bound before, the certificate of another unit, a proof that is none.
// The server has to refuse it; if it does not the model says so.
func (w *world) forge(m message, chance int) {
	part := strings.Split(strings.TrimPrefix(m.path, "/v1/"), "/")
	if len(part) != 5 {
		return
	}
	id := part[1] + "-g" + part[3]
	m.header = m.header.Clone()
	var body any
	switch part[4] {
	case "csr":
		var q api.CsrRequest
		w.must(json.Unmarshal(m.body, &q))
		old := w.model.boundBy(m.from.name, id)
		if old == "" {
			return
		}
		q.Csr = []byte(w.model.bound[old])
		body = q
	case "result":
		var q api.ResultRequest
		w.must(json.Unmarshal(m.body, &q))
		for _, other := range slices.Sorted(maps.Keys(w.model.certificates)) {
			c := w.model.certificates[other]
			serial, sum := ca.SerialText(c.SerialNumber), ca.Digest(c)
			if other != id && q.CertificateSha256 != nil {
				q.Epoch, q.CertificateSerial, q.CertificateSha256 = max(q.Epoch-1, 1), &serial, &sum
				body = q
			}
		}
	case "certificate":
		m.from = w.stations[(slices.Index(w.stations, m.from)+1)%len(w.stations)]
		m.method, m.path = http.MethodPost, "/v1/units/"+part[1]+"/adopt"
		m.uri = m.path
		m.header.Set("Content-Type", "application/json")
		body = w.falseProof(m.from, part[1], chance)
	}
	if body == nil {
		return
	}
	var err error
	m.body, err = json.Marshal(body)
	w.must(err)
	w.serve(m)
}

// falseProof asks for a unit that another station has the key of: with a signature that
// is not that key's, or with a key that is not the unit's.
func (w *world) falseProof(s *station, unit string, chance int) any {
	generation := w.model.generations[unit]
	bound, session := w.model.bound[requestID(unit, generation)], w.model.sessions[s.name]
	if bound == "" || session == "" {
		return nil
	}
	request, err := x509.ParseCertificateRequest([]byte(bound))
	w.must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	public := request.RawSubjectPublicKeyInfo
	if chance%2 == 0 {
		public, err = x509.MarshalPKIXPublicKey(key.Public())
		w.must(err)
	}
	claim := api.Adoption{
		Station: s.name, SessionID: session, UnitID: unit, Generation: generation,
		Epoch: w.model.epochs[unit], TokenSerial: w.model.tokens[requestID(unit, generation)], PublicKey: public,
	}
	sum := sha256.Sum256(claim.Statement())
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	w.must(err)
	return api.AdoptRequest{
		SessionId: claim.SessionID, Generation: claim.Generation, Epoch: claim.Epoch, TokenSerial: claim.TokenSerial,
		PublicKey: claim.PublicKey, Hash: api.AdoptSHA256, Signature: signature,
	}
}
