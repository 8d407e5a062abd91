//go:build !race

package simulation

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/canary"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"github.com/usbkeyd/usbkeyd/provision"
)

// model is what must be true of the world, kept beside it from what can be seen from
// outside: messages, cards and what the CA has made. Its methods are for one goroutine
// at a time, which the gate sees to.
type model struct {
	w            *world
	epochs       map[string]int64                   // by unit: the latest that any lease named
	generations  map[string]int32                   // by unit: likewise
	bound        map[string]string                  // by request id: the CSR that the server took
	by           map[string]string                  // by request id: the station that bound
	tokens       map[string]string                  // by request id: the serial of the bound token
	sessions     map[string]string                  // by station: its latest
	certificates map[string]*x509.Certificate       // by request id
	keys         map[string]string                  // by public key: request id
	escrowed     map[string]bool                    // by unit: an SO PIN is in escrow
	installed    map[string]bool                    // by request id
	taken        map[string]string                  // by path: the result that the server took
	pins         map[*card]map[string][]canary.Form // all that it ever had, as they may be written
}

func newModel(w *world) *model {
	return &model{
		w: w, epochs: map[string]int64{}, generations: map[string]int32{}, bound: map[string]string{}, by: map[string]string{},
		tokens: map[string]string{}, sessions: map[string]string{},
		certificates: map[string]*x509.Certificate{}, keys: map[string]string{}, escrowed: map[string]bool{},
		installed: map[string]bool{}, taken: map[string]string{}, pins: map[*card]map[string][]canary.Form{},
	}
}

func requestID(unit string, generation int32) string { return fmt.Sprintf("%s-g%d", unit, generation) }

// unitOf is the unit of a request id.
func unitOf(id string) string { return id[:strings.LastIndex(id, "-g")] }

// issued: a generation of a unit has one certificate, and a key is of one generation.
func (m *model) issued(id string, c *x509.Certificate) {
	if m.certificates[id] != nil {
		m.w.violate("two certificates for %s", id)
	}
	for other, before := range m.certificates {
		if unitOf(other) == unitOf(id) && !m.w.ca.revoked[before.SerialNumber.String()] {
			m.w.violate("%s is issued while the certificate of %s still stands", id, other)
		}
	}
	m.certificates[id] = c
	key := string(c.RawSubjectPublicKeyInfo)
	if other, ok := m.keys[key]; ok {
		m.w.violate("%s and %s have the same key", other, id)
	}
	m.keys[key] = id
}

// answered looks at what the server has decided, whether or not the answer arrives.
func (m *model) answered(st *station, method, path string, body []byte, status int, answer []byte) {
	part := strings.Split(strings.TrimPrefix(path, "/v1/"), "/")
	if status >= 500 && status != 503 {
		m.w.violate("%s %s is answered with %d %s", method, path, status, answer)
	}
	if part[0] == "records" && status >= 400 {
		m.w.violate("the record of %s is answered with %d %s", st.name, status, answer)
	}
	if taken, told := m.taken[path]; told && status == 409 && taken == string(body) {
		m.w.violate("a result that was taken is refused when it is told again: %s: %s", path, answer)
	}
	if status >= 300 {
		return
	}
	if m.w.heard != nil {
		m.w.heard(method, path, body)
	}
	switch {
	case part[0] == "claims" && status == 200:
		var a struct{ Leases []api.Lease }
		m.w.must(json.Unmarshal(answer, &a))
		for _, l := range a.Leases {
			m.leased(st, l, true)
		}
	case part[0] == "session":
		var a api.Session
		m.w.must(json.Unmarshal(answer, &a))
		m.sessions[st.name] = a.SessionId
		for _, l := range a.Held {
			m.leased(st, l, false)
		}
	case part[0] == "escrows" && len(part) == 2:
		var q api.EscrowRequest
		m.w.must(json.Unmarshal(body, &q))
		m.escrowed[q.UnitId] = true
	case len(part) == 5 && part[4] == "csr":
		m.binds(st, part[1], part[3], body)
	case len(part) == 5 && part[4] == "result":
		m.taken[path] = string(body)
		m.result(part[1], part[3], body)
	case len(part) == 3 && part[2] == "adopt":
		var a api.AdoptAnswer
		m.w.must(json.Unmarshal(answer, &a))
		if a.Lease.Epoch <= m.epochs[part[1]] {
			m.w.violate("%s is adopted under epoch %d, there was %d before", part[1], a.Lease.Epoch, m.epochs[part[1]])
		}
		if by := m.by[requestID(part[1], a.Lease.Generation)]; by != st.name {
			m.w.violate("%s is adopted by %s, its key was bound by %s", part[1], st.name, by)
		}
		m.epochs[part[1]] = a.Lease.Epoch
	}
}

// leased: whoever claims a unit gets a generation without a bound key, and no certificate
// of an earlier one stands.
func (m *model) leased(st *station, l api.Lease, claimed bool) {
	id := requestID(l.UnitId, l.Generation)
	if claimed && m.bound[id] != "" && l.Epoch > m.epochs[l.UnitId] {
		m.w.violate("%s is given out to %s under epoch %d although a key is bound to it", id, st.name, l.Epoch)
	}
	if !claimed && m.bound[id] != "" && m.by[id] != st.name {
		m.w.violate("%s is held by %s, its key was bound by %s", id, st.name, m.by[id])
	}
	for other, before := range m.certificates {
		if claimed && unitOf(other) == l.UnitId && other != id && !m.w.ca.revoked[before.SerialNumber.String()] {
			m.w.violate("%s is given out to %s while the certificate of %s still stands", id, st.name, other)
		}
	}
	m.epochs[l.UnitId] = max(m.epochs[l.UnitId], l.Epoch)
	m.generations[l.UnitId] = max(m.generations[l.UnitId], l.Generation)
}

// binds: the first request of a generation is the one of who has the lease; after it no
// other is taken.
func (m *model) binds(st *station, unit, generation string, body []byte) {
	var q api.CsrRequest
	m.w.must(json.Unmarshal(body, &q))
	id := unit + "-g" + generation
	switch had := m.bound[id]; {
	case had == "" && q.Epoch != m.epochs[unit]:
		m.w.violate("%s binds a key to %s under epoch %d, the present one is %d", st.name, id, q.Epoch, m.epochs[unit])
	case had != "" && had != string(q.Csr):
		m.w.violate("a second key is bound to %s, by %s", id, st.name)
	}
	for other, csr := range m.bound {
		if other != id && csr == string(q.Csr) {
			m.w.violate("one key is bound to %s and to %s", other, id)
		}
	}
	if m.bound[id] == "" {
		m.bound[id], m.by[id], m.tokens[id] = string(q.Csr), st.name, q.TokenSerial
	}
}

// boundBy is the first request that a station bound but this one, or "".
func (m *model) boundBy(station, but string) (first string) {
	for id, by := range m.by {
		if by == station && id != but && (first == "" || id < first) {
			first = id
		}
	}
	return first
}

// result: what is INSTALLED is on the token that it names.
func (m *model) result(unit, generation string, body []byte) {
	var q api.ResultRequest
	m.w.must(json.Unmarshal(body, &q))
	id := unit + "-g" + generation
	if q.Outcome != api.ResultRequestOutcome("installed") {
		return
	}
	if c := m.certificates[id]; c == nil || *q.CertificateSha256 != ca.Digest(c) {
		m.w.violate("the result of %s is taken with the certificate of something else", id)
	}
	if m.installed[id] {
		return
	}
	m.installed[id] = true
	m.holds(id, q.TokenSerial)
}

// holds: an installed token holds exactly its key, with the certificate.
func (m *model) holds(id, serial string) {
	i := slices.IndexFunc(m.w.cards, func(c *card) bool { return string(c.serial) == serial && c.initialised })
	c := m.certificates[id]
	if i < 0 || c == nil {
		m.w.violate("%s is installed on token %q, which there is not, or has no certificate", id, serial)
		return
	}
	t := m.w.cards[i]
	private, leaf := 0, false
	for _, o := range t.objects {
		if o.key != nil {
			private++
		}
		leaf = leaf || bytes.Equal(o.Certificate, c.Raw)
	}
	if private != 1 || !leaf || t.user == "" || t.so == "" {
		m.w.violate("%s is installed on token %s, which holds %d private keys; its certificate is there: %v", id, serial, private, leaf)
	}
}

// wrote looks at a card that was just written.
func (m *model) wrote(st *station, op string, c *card) {
	if m.pins[c] == nil {
		m.pins[c] = map[string][]canary.Form{}
	}
	for _, p := range c.pins() {
		if m.pins[c][p] == nil {
			m.pins[c][p] = canary.Forms(p)
		}
	}
	if op == "C_InitToken" {
		c.by = st.name
	}
	if op == "C_InitToken" && !m.escrowed[string(c.label)] {
		m.w.violate("%s sets the SO PIN of %s for %s, and it is in nobody's escrow", st.name, c.serial, c.label)
	}
	if op == "C_InitToken" || op == "C_DestroyObject" {
		c.wiping = op == "C_DestroyObject"
	}
	if c.wrong > 0 {
		m.w.violate("%s has tried a wrong PIN on %s", st.name, c.serial)
	}
	m.matches(c)
}

// matches: a token has one private key at most, and no certificate of a user but its own.
func (m *model) matches(c *card) {
	var keys []*ecdsa.PrivateKey
	for _, o := range c.objects {
		if o.key != nil {
			keys = append(keys, o.key)
		}
	}
	if len(keys) > 1 {
		m.w.violate("token %s holds %d private keys", c.serial, len(keys))
	}
	seen := map[string]bool{}
	for _, o := range c.objects {
		if o.Class != pkcs11.ClassCertificate {
			continue
		}
		if seen[string(o.Certificate)] {
			m.w.violate("token %s holds a certificate twice", c.serial)
		}
		seen[string(o.Certificate)] = true
		if bytes.Equal(o.Certificate, m.w.ca.root.Raw) {
			continue
		}
		if c.wiping && len(keys) == 0 {
			continue // its key went first
		}
		leaf, err := x509.ParseCertificate(o.Certificate)
		m.w.must(err)
		if len(keys) != 1 || !keys[0].PublicKey.Equal(leaf.PublicKey) {
			m.w.violate("token %s holds a certificate of a key that it does not have", c.serial)
		}
	}
}

// sent: no PIN of a station's cards is in what leaves it or what it is answered.
func (m *model) sent(st *station, text []byte) {
	for _, c := range st.hub.slots {
		if c == nil {
			continue
		}
		for _, forms := range m.pins[c] {
			for _, f := range forms {
				if bytes.Contains(text, f.Bytes) {
					m.w.violate("a PIN of %s is in what %s says or hears (%s)", c.serial, st.name, f.Name)
				}
			}
		}
	}
}

// gone: no certificate of a cancelled unit stands.
func (m *model) gone(unit string) {
	for id, c := range m.certificates {
		if unitOf(id) == unit && !m.w.ca.revoked[c.SerialNumber.String()] {
			m.w.violate("%s is CANCELLED while the certificate of %s still stands", unit, id)
		}
	}
}

// wiped: in the end the key of a job that was withdrawn is on no token.
func (m *model) wiped(jobs []*provision.Record) {
	for _, j := range jobs {
		for _, c := range m.w.cards {
			if !j.Facts.Withdrawn || c.dead || !c.initialised || c.label != j.Job.TokenLabel {
				continue
			}
			for _, o := range c.objects {
				if o.Class == pkcs11.ClassPublicKey && bytes.Equal(o.PublicKey, j.Facts.PublicKey) && j.Reason != givenUp {
					m.w.violate("job %s was withdrawn, and its key is still on token %s", j.Job.ID, c.serial)
				}
			}
		}
	}
}

// look compares what the server says of every unit with the model.
func (m *model) look() []api.Unit {
	units := m.w.units()
	for _, u := range units {
		id := requestID(u.UnitId, u.Generation)
		if u.Epoch < m.epochs[u.UnitId] {
			m.w.violate("%s is at epoch %d and was at %d", u.UnitId, u.Epoch, m.epochs[u.UnitId])
		}
		if (u.State == api.INSTALLED) != m.installed[id] && u.State != api.HELD && u.State != api.SHIPPED && u.State != api.CANCELLING && u.State != api.CANCELLED {
			m.w.violate("%s is %s; installed, as was seen: %v", id, u.State, m.installed[id])
		}
		if u.State == api.INSTALLED && u.TokenSerial != nil {
			m.holds(id, *u.TokenSerial)
		}
		if u.State == api.CANCELLED {
			m.gone(u.UnitId)
		}
		if slices.Contains([]api.UnitStateName{api.READY, api.LEASED}, u.State) && m.bound[id] != "" {
			m.w.violate("%s is %s although a key is bound to it", id, u.State)
		}
	}
	for _, c := range m.w.cards {
		m.matches(c)
	}
	return units
}
