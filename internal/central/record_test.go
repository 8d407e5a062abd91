package central_test

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
)

// act adds to the station's record.
func (s *station) act(e audit.Entry) {
	s.t.Helper()
	e.Time = time.Unix(1767600000, 0)
	if _, err := (audit.Log{Storage: s.record}).Append(e); err != nil {
		s.t.Fatal(err)
	}
}

// signed is a checkpoint of the station's record at a size, signed with a key.
func (s *station) signed(size int, key crypto.Signer) string {
	s.t.Helper()
	root, err := (audit.Log{Storage: s.record}).Root(int64(size))
	if err != nil {
		s.t.Fatal(err)
	}
	signer, err := audit.NewSigner(s.name, key)
	if err != nil {
		s.t.Fatal(err)
	}
	note, err := audit.Checkpoint{Origin: audit.Origin(s.name, s.instance), Size: int64(size), Root: root}.Sign(signer)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(note)
}

// part is the record from one entry on, up to another.
func (s *station) part(first, size int) api.RecordRequest {
	s.t.Helper()
	out := api.RecordRequest{First: int64(first), Entries: []api.RecordEntry{}, Checkpoint: s.signed(size, s.key)}
	for _, row := range s.record.Rows[first:size] {
		out.Entries = append(out.Entries, string(row.Line))
	}
	return out
}

func (s *station) putRecord(part api.RecordRequest) answer {
	s.t.Helper()
	return s.send(http.MethodPut, "/records/"+s.instance, part)
}

// anchored opens an answer as the station does: signed by the server too, of this size.
func (s *station) anchored(a answer, size int) api.RecordAnchor {
	s.t.Helper()
	anchor := must[api.RecordAnchor](s.t, a, http.StatusOK)
	if anchor.Size != int64(size) || anchor.Forked || anchor.Checkpoint == nil {
		s.t.Fatalf("the server has %+v, want %d entries", anchor, size)
	}
	root, err := x509.ParseCertificate(s.credential.ServerTrust)
	if err != nil {
		s.t.Fatal(err)
	}
	central, err := audit.NewVerifier(audit.Cosigner, root.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	own, err := audit.NewVerifier(s.name, s.key.Public())
	if err != nil {
		s.t.Fatal(err)
	}
	c, by, err := audit.Open([]byte(*anchor.Checkpoint), audit.Origin(s.name, s.instance), own, central)
	if err != nil || !slices.Equal(by.By, []string{s.name, audit.Cosigner}) || len(by.Unknown) != 0 {
		s.t.Fatalf("the note is signed by %+v: %v", by, err)
	}
	if _, err := audit.Verify((&audit.Memory{Rows: s.record.Rows[:size]}).All(), c); err != nil {
		s.t.Fatal(err)
	}
	return anchor
}

// anchor records that the unit is finished, and has the server keep that.
func (w *work) anchor() {
	w.t.Helper()
	w.act(audit.Entry{
		Kind: audit.KindInstalled, Unit: w.lease.UnitId, Generation: int(w.lease.Generation),
		Hashes: map[string]string{"certificate": *w.result.CertificateSha256},
	})
	w.anchored(w.putRecord(w.part(len(w.record.Rows)-1, len(w.record.Rows))), len(w.record.Rows))
}

// A record grows part by part; repeats and overlaps change nothing, and what is wrong is refused.
func TestRecordGrows(t *testing.T) { onBothEngines(t, testRecordGrows) }

func testRecordGrows(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s, other := r.station("bay-1"), r.station("bay-2")
	get := func() answer { return s.send(http.MethodGet, "/records/"+s.instance, nil) }
	if a := must[api.RecordAnchor](t, get(), http.StatusOK); a.Size != 0 || a.Checkpoint != nil || a.Forked {
		t.Errorf("of nothing: %+v", a)
	}
	for n := range 30 {
		s.act(audit.Entry{Kind: audit.KindStep, Unit: fmt.Sprintf("UNIT-%03d", n), Epoch: 1})
	}
	first := s.anchored(s.putRecord(s.part(0, 11)), 11)
	if again := s.anchored(s.putRecord(s.part(0, 11)), 11); *again.Checkpoint != *first.Checkpoint {
		t.Error("a repeat has another answer")
	}
	s.anchored(s.putRecord(s.part(7, 20)), 20)
	s.anchored(s.putRecord(s.part(0, 11)), 20) // late
	s.anchored(s.putRecord(s.part(20, 20)), 20)
	s.anchored(get(), 20)

	wrong := func(change func(*api.RecordRequest)) api.RecordRequest {
		p := s.part(20, 25)
		change(&p)
		return p
	}
	elsewhere := *s
	elsewhere.instance = uuid.NewString()
	for name, row := range map[string]struct {
		part    api.RecordRequest
		pointer string
	}{
		"a gap":                     {s.part(21, 25), "/first"},
		"another station's key":     {wrong(func(p *api.RecordRequest) { p.Checkpoint = s.signed(25, other.key) }), "/checkpoint"},
		"another installation's":    {wrong(func(p *api.RecordRequest) { p.Checkpoint = elsewhere.signed(25, s.key) }), "/checkpoint"},
		"another size":              {wrong(func(p *api.RecordRequest) { p.Checkpoint = s.signed(26, s.key) }), "/checkpoint"},
		"no note":                   {wrong(func(p *api.RecordRequest) { p.Checkpoint = "usbkeyd" }), "/checkpoint"},
		"signed by the server, too": {wrong(func(p *api.RecordRequest) { p.Checkpoint += strings.SplitAfter(*first.Checkpoint, "\n")[5] }), "/checkpoint"},
		"no entry":                  {wrong(func(p *api.RecordRequest) { p.Entries[2] = "{}" }), "/entries/2"},
		"another index":             {wrong(func(p *api.RecordRequest) { p.Entries[1], p.Entries[2] = p.Entries[2], p.Entries[1] }), "/entries/1"},
		"a name": {wrong(func(p *api.RecordRequest) {
			p.Entries[0] = strings.Replace(p.Entries[0], "UNIT-020", "经办人甲", 1)
		}), "/entries/0"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.putRecord(row.part)
			wantProblem(t, a, http.StatusUnprocessableEntity, api.ProblemInvalidContent)
			if !slices.Contains(a.pointers(), row.pointer) {
				t.Errorf("got %s, want %s named", a, row.pointer)
			}
		})
	}
	s.anchored(get(), 20)
	s.anchored(s.putRecord(s.part(20, 30)), 30)

	records, err := r.admin.Records(t.Context(), "bay-1")
	if err != nil || len(records) != 1 || records[0].Size != 30 || records[0].ForkedAt != nil {
		t.Fatalf("the administration sees %+v (%v)", records, err)
	}
	lines, err := r.admin.RecordEntries(t.Context(), "bay-1", s.instance)
	if err != nil || len(lines) != 30 || lines[29] != string(s.record.Rows[29].Line) {
		t.Fatalf("the administration sees %d entries (%v)", len(lines), err)
	}
}

// A record that was changed, or put back and gone on, is refused from then on, and the
// administration is told.
func TestForkedRecord(t *testing.T) { onBothEngines(t, testForkedRecord) }

func testForkedRecord(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	for name, fork := range map[string]func(s *station) api.RecordRequest{
		"an entry changed": func(s *station) api.RecordRequest {
			p := s.part(3, 10)
			p.Entries[0] = strings.Replace(p.Entries[0], "UNIT", "UNITS", 1)
			return p
		},
		"put back, and gone on": func(s *station) api.RecordRequest {
			s.record.Rows = s.record.Rows[:6]
			s.act(audit.Entry{Kind: audit.KindRefusal})
			return s.part(6, 7)
		},
		"an old entry changed, with all hashes": func(s *station) api.RecordRequest {
			was := s.record.Rows
			s.record.Rows = nil
			s.act(audit.Entry{Kind: audit.KindRefusal})
			for _, row := range was[1:] {
				if _, err := (audit.Log{Storage: s.record}).AppendLine(row.Line); err != nil {
					t.Fatal(err)
				}
			}
			s.act(audit.Entry{Kind: audit.KindDrain})
			return s.part(10, 11)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.station("bay-" + uuid.NewString()[:8])
			for n := range 10 {
				s.act(audit.Entry{Kind: audit.KindStep, Unit: fmt.Sprintf("UNIT-%03d", n)})
			}
			s.anchored(s.putRecord(s.part(0, 10)), 10)
			good := *s.record
			wantProblem(t, s.putRecord(fork(s)), http.StatusConflict, api.ProblemRecordForked)
			if a := must[api.RecordAnchor](t, s.send(http.MethodGet, "/records/"+s.instance, nil), http.StatusOK); !a.Forked || a.Size != 10 {
				t.Errorf("the server has %+v", a)
			}
			*s.record = good
			s.act(audit.Entry{Kind: audit.KindStep})
			wantProblem(t, s.putRecord(s.part(10, 11)), http.StatusConflict, api.ProblemRecordForked)
			stations, err := r.admin.Stations(t.Context())
			at := slices.IndexFunc(stations, func(st api.Station) bool { return st.Name == s.name })
			if err != nil || at < 0 || stations[at].RecordForkedAt == nil || *stations[at].RecordEntries != 10 || *stations[at].Records != 1 {
				t.Errorf("the administration is not told: %+v (%v)", stations, err)
			}
		})
	}
}

// A record that is forked from its first part on is none that the server has failed at.
func TestForkedFromTheFirst(t *testing.T) { onBothEngines(t, testForkedFromTheFirst) }

func testForkedFromTheFirst(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	s := r.station("bay-1")
	for range 3 {
		s.act(audit.Entry{Kind: audit.KindStep, Unit: "UNIT-001"})
	}
	bad, good := s.part(0, 3), s.part(0, 3)
	bad.Entries[2] = strings.Replace(bad.Entries[2], "UNIT", "UNITS", 1)
	for _, part := range []api.RecordRequest{bad, bad, good} {
		wantProblem(t, s.putRecord(part), http.StatusConflict, api.ProblemRecordForked)
	}
	if a := must[api.RecordAnchor](t, s.send(http.MethodGet, "/records/"+s.instance, nil), http.StatusOK); !a.Forked || a.Size != 0 || a.Checkpoint != nil {
		t.Errorf("the server has %+v", a)
	}
	if stations, err := r.admin.Stations(t.Context()); err != nil || stations[0].RecordForkedAt == nil {
		t.Errorf("the administration is not told: %+v (%v)", stations, err)
	}
}

// A parcel is not closed before the end of its unit, with this very certificate, is on
// record here.
func TestShipmentWaitsForTheRecord(t *testing.T) { onBothEngines(t, testShipmentWaitsForTheRecord) }

func testShipmentWaitsForTheRecord(t *testing.T, e engine) {
	t.Parallel()
	r := newRig(t, e, nil)
	w := r.station("bay-1").one("SHIP").issued()
	must[api.UnitState](t, w.putResult(), http.StatusOK)
	ship := func() answer {
		return w.send("PUT", "/units/SHIP-001/shipment", api.ShipmentRequest{
			Generation: 1, Waybill: "SF0000000001", Scans: []api.TokenSerial{w.csr.TokenSerial}, PackedBy: "packer-1",
		})
	}
	refused := func(what string) {
		t.Helper()
		a := ship()
		wantProblem(t, a, http.StatusConflict, api.ProblemNotAnchored)
		if !a.problem.Retryable {
			t.Errorf("%s: %s is for good", what, a)
		}
		r.wantState("SHIP-001", api.INSTALLED)
	}
	refused("nothing is on record")
	for _, act := range []audit.Entry{
		{Kind: audit.KindTokenWrite, Unit: "SHIP-001", Generation: 1, Hashes: map[string]string{"certificate": *w.result.CertificateSha256}},
		{Kind: audit.KindInstalled, Unit: "SHIP-001", Generation: 1, Hashes: map[string]string{"certificate": fmt.Sprintf("%064d", 1)}},
		{Kind: audit.KindInstalled, Unit: "SHIP-001", Generation: 2, Hashes: map[string]string{"certificate": *w.result.CertificateSha256}},
		{Kind: audit.KindInstalled, Unit: "SHIP-002", Generation: 1, Hashes: map[string]string{"certificate": *w.result.CertificateSha256}},
	} {
		w.act(act)
		n := len(w.record.Rows)
		w.anchored(w.putRecord(w.part(n-1, n)), n)
		refused(fmt.Sprintf("%+v is on record", act))
	}
	stranger := *w
	stranger.station = r.station("bay-2")
	stranger.anchor()
	refused("another station has it on record")
	w.anchor()
	must[api.UnitState](t, ship(), http.StatusOK)
	r.wantState("SHIP-001", api.SHIPPED)
}
