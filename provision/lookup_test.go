package provision

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/packing"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

// foundRoom is a packing table whose keys have every number that there is.
func foundRoom(t *testing.T) *packRoom {
	r := newPackRoom(t)
	r.must(r.Journal.TakeIn(supplied(t, "LOT-1", "sample", "D1,KX-0001", "D2,KX-0002", "D3,KX-0003"), "hand.1", time.Now()))
	for i, serial := range []string{"A1F0", "A2F0"} {
		rec := r.job("P-1001", i+1, 3, 1, token(serial), StateQueued, "")
		rec.State, rec.Facts.CertificateSerial, rec.Facts.DeliveredAs = StateFinished, fmt.Sprintf("0a%02x77", i), pkcs11.TokenSerial(fmt.Sprintf("D%d", i+1))
		r.must(r.Journal.Finish(rec, nil))
	}
	r.job("P-1002", 1, 1, 1, token("B1F0"), StateFailed, "")
	r.job("P-1002", 1, 1, 1, token("B2F0"), StateQueued, "")
	act := func(kind packing.ActKind, n, parcel, undoes int64, job, code string) {
		_, err := r.Journal.db.Exec("INSERT INTO parcel_act (n, parcel, kind, unit_id, job_id, code, undoes, by_whom, at) VALUES ($1, $2, $3, '', $4, $5, $6, 'p.1', $7)",
			n, parcel, string(kind), job, code, undoes, time.Now().UnixMilli())
		r.must(err)
	}
	act(packing.Opened, 1, 1, 0, "", "P-1001")
	act(packing.Scanned, 2, 1, 0, "P-1001-001-g1-1", "A1F0")
	act(packing.Scanned, 3, 1, 0, "P-1001-002-g1-1", "A2F0")
	act(packing.Undone, 4, 1, 3, "", "")
	act(packing.Waybill, 5, 1, 0, "", "SF999999999999")
	act(packing.Undone, 6, 1, 5, "", "")
	act(packing.Waybill, 7, 1, 0, "", sampleWaybill)
	act(packing.Closed, 8, 1, 0, "", "")
	return r
}

// TestFind: whatever is printed on a key or beside it leads to its job, in whatever case it is
// written; else what begins with it does, from 4 characters on.
func TestFind(t *testing.T) {
	r := foundRoom(t)
	const one, two = "P-1001-001-g1-1", "P-1001-002-g1-1"
	for _, row := range []struct {
		code string
		want []string
	}{
		{"P-1001", []string{"order " + one, "order " + two}},
		{"p-1001", []string{"order " + one, "order " + two}},
		{"P-1001-002", []string{"unit " + two}},
		{"P-1002-001", []string{"unit P-1002-001-g1-1", "unit P-1002-001-g1-2"}},
		{one, []string{"job " + one}},
		{"A1F0", []string{"token " + one}},
		{"a1f0", []string{"token " + one}},
		{"D2", []string{"token " + two}},
		{"KX-0001", []string{"casing " + one}},
		{"0a0177", []string{"certificate " + two}},
		{"0A:01:77", []string{"certificate " + two}},
		{sampleWaybill, []string{"waybill " + one}},
		{"SF999999999999", nil},
		{"P-10", []string{"order " + one, "order " + two, "order P-1002-001-g1-1", "order P-1002-001-g1-2"}},
		{"KX-0", []string{"casing " + one, "casing " + two}},
		{"SF12", []string{"waybill " + one}},
		{"0A01", []string{"certificate " + two}},
		{"P-1", nil},
		{"A1F", nil},
		{"001", nil},
		{"%", nil},
		{"' OR 1=1", nil},
		{"KX-0003", nil}, // no job has had it
	} {
		found, err := r.Journal.Find(row.code, 50)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range found {
			got = append(got, string(m.By)+" "+m.Job.ID)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%q: %v, wanted %v", row.code, got, row.want)
		}
	}
	if found, err := r.Journal.Find("P-10", 2); err != nil || len(found) != 3 {
		t.Errorf("of more than two: %d, %v", len(found), err)
	}
	for code, want := range map[string]StockState{"KX-0003": StockBlank, "D3": StockBlank, "D1": StockWritten} {
		if stock, err := r.Journal.DeliveredAs(code); err != nil || len(stock) != 1 || stock[0].State != want {
			t.Errorf("%s: %+v, %v", code, stock, err)
		}
	}
	if acts, err := r.Journal.PackingOf("P-1001"); err != nil || len(acts) != 8 || acts[7].Kind != packing.Closed {
		t.Errorf("%+v, %v", acts, err)
	}
	if acts, err := r.Journal.PackingOf("P-1002"); err != nil || len(acts) != 0 {
		t.Errorf("%+v, %v", acts, err)
	}
}

// TestLookingUpIsByIndex: no question of a person's goes through a whole table, so that it
// costs the same after years.
func TestLookingUpIsByIndex(t *testing.T) {
	j, _ := openTestJournal(t)
	queries := map[string][]any{endedQuery: {1, 2}, unsentQuery: {"x", "y"}}
	for _, w := range ways() {
		queries["SELECT rowid FROM job WHERE "+w.exact] = []any{"x"}
		queries["SELECT rowid FROM job WHERE "+w.begins] = []any{"x", "y"}
	}
	for query, args := range queries {
		rows, err := j.db.Query("EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			n++
			if strings.HasPrefix(detail, "SCAN") && !strings.HasSuffix(detail, "USING INDEX job_pins") {
				t.Errorf("%s:\n%s", query, detail)
			}
		}
		if err := rows.Err(); err != nil || n == 0 {
			t.Fatal(err)
		}
	}
}

// TestEnded: a job ends once, when it does, whatever is noted of it afterwards.
func TestEnded(t *testing.T) {
	r := newPackRoom(t)
	r.job("P-1", 1, 3, 1, token("A1"), StateFinished, "")
	r.job("P-1", 2, 3, 1, token("A2"), StateFailed, "")
	r.job("P-1", 3, 3, 1, token("A3"), StateQueued, "")
	at := func(job string, when time.Time) {
		_, err := r.Journal.db.Exec("UPDATE entry SET at = $1 WHERE job_id = $2 AND state IN "+final, when.UnixMilli(), job)
		r.must(err)
	}
	noon := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	at("P-1-001-g1-1", noon)
	at("P-1-002-g1-1", noon.Add(time.Hour-time.Millisecond))
	rec, err := r.Journal.Job("P-1-001-g1-1")
	r.must(err)
	r.must(r.Journal.amendLetters(rec, "letter handed to the printer", nil, func(*Facts) {}))
	_, err = r.Journal.db.Exec("UPDATE entry SET at = $1 WHERE note LIKE 'letter%'", noon.Add(30*time.Minute).UnixMilli())
	r.must(err)
	for _, row := range []struct {
		from, to time.Duration
		want     string
	}{
		{0, time.Hour, "P-1-001-g1-1 finished, P-1-002-g1-1 failed"},
		{time.Millisecond, time.Hour, "P-1-002-g1-1 failed"},
		{0, time.Hour - time.Millisecond, "P-1-001-g1-1 finished"},
		{time.Hour, 24 * time.Hour, ""},
	} {
		ends, err := r.Journal.Ended(noon.Add(row.from), noon.Add(row.to))
		r.must(err)
		var got []string
		for _, e := range ends {
			got = append(got, e.JobID+" "+string(e.State))
		}
		if s := strings.Join(got, ", "); s != row.want {
			t.Errorf("%s to %s: %q, wanted %q", row.from, row.to, s, row.want)
		}
	}
}
