package main

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/audit"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/central/keyfile"
)

const enrolled = "sample-station"

// send has the station send so many entries of a record, the last of them different.
func send(t *testing.T, c *centraltest.Central, instance string, n int, last audit.Kind) int {
	t.Helper()
	credential, err := tls.LoadX509KeyPair(filepath.Join(c.StationDir, adminclient.StationCertificate), filepath.Join(c.StationDir, adminclient.StationKey))
	if err != nil {
		t.Fatal(err)
	}
	root, err := keyfile.ReadCertificate(filepath.Join(c.StationDir, adminclient.CentralRoot))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{credential}}}
	defer transport.CloseIdleConnections()
	client, err := api.NewClient(c.URL, api.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	rows := &audit.Memory{}
	log := audit.Log{Storage: rows}
	part := api.RecordRequest{}
	for i := range n {
		e := audit.Entry{Time: time.Unix(1767600000, 0), Kind: audit.KindStep, Unit: fmt.Sprintf("UNIT-%03d", i)}
		if i == n-1 {
			e.Kind = last
		}
		if _, err := log.Append(e); err != nil {
			t.Fatal(err)
		}
		part.Entries = append(part.Entries, string(rows.Rows[i].Line))
	}
	rootHash, err := log.Root(int64(n))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(enrolled, credential.PrivateKey.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	note, err := audit.Checkpoint{Origin: audit.Origin(enrolled, instance), Size: int64(n), Root: rootHash}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	part.Checkpoint = string(note)
	resp, err := client.PutRecord(t.Context(), instance, part)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestAuditCommands: what is on record at the server is verified, shown and exported; an
// edit of the server's own database is found, and a fork is told.
func TestAuditCommands(t *testing.T) {
	c := centraltest.New(t, nil)
	command := func(args ...string) (code int, out, errOut string) {
		var o, e bytes.Buffer
		at := []string{"--admin-url", c.AdminURL(), "--token-file", filepath.Join(c.DataDir, "admin.token")}
		code = execute(append(at, args...), strings.NewReader(""), &o, &e)
		return code, o.String(), e.String()
	}
	must := func(want string, args ...string) string {
		t.Helper()
		code, out, errOut := command(args...)
		if code != exitOK || !strings.Contains(out, want) {
			t.Fatalf("%v: exit code %d, %s%s; want %q", args, code, out, errOut, want)
		}
		return out
	}
	trust := filepath.Join(c.StationDir, adminclient.CentralRoot)
	must("has sent no record yet", "audit", "verify", "--station", enrolled, "--trust", trust)
	one, two := uuid.NewString(), uuid.NewString()
	for instance, n := range map[string]int{one: 5, two: 3} {
		if status := send(t, c, instance, n, audit.KindInstalled); status != http.StatusOK {
			t.Fatal(status)
		}
	}
	must("8 entries of 2 installations", "station", "list")
	early := filepath.Join(t.TempDir(), "early.note")
	lines := must(`"unit":"UNIT-004"`, "audit", "export", "--station", enrolled, "--installation", one, "--checkpoint", early)
	if n := strings.Count(lines, "\n"); n != 5 {
		t.Errorf("%d lines are exported", n)
	}
	if out := must("holds", "audit", "verify", "--station", enrolled, "--trust", trust); strings.Count(out, "holds") != 2 {
		t.Errorf("audit verify: %s", out)
	}
	must("holds", "audit", "verify", "--station", enrolled, "--installation", one, "--trust", trust, "--against", early)
	if out := must("UNIT-001", "audit", "show", "--station", enrolled, "--unit", "UNIT-001"); strings.Count(out, "step") != 2 {
		t.Errorf("audit show: %s", out)
	}
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"audit", "verify"}, exitUsage, "--trust"},
		{[]string{"audit", "verify", "--trust", trust}, exitUsage, "--station"},
		{[]string{"audit", "verify", "--trust", trust, "--station", "nowhere"}, exitRefused, "no station"},
		{[]string{"audit", "verify", "--trust", early, "--station", enrolled}, exitFailure, "--trust"},
		{[]string{"audit", "verify", "--trust", trust, "--station", enrolled, "--against", early}, exitUsage, "--installation"},
		{[]string{"audit", "verify", "--trust", trust, "--station", enrolled, "--installation", two, "--against", early}, exitFailure, "it is of "},
		{[]string{"audit", "show"}, exitUsage, "--station"},
		{[]string{"audit", "export", "--station", enrolled}, exitUsage, "--installation"},
		{[]string{"audit", "export", "--station", enrolled, "--installation", uuid.NewString()}, exitFailure, "no installation"},
	} {
		if code, out, errOut := command(row.args...); code != row.code || !strings.Contains(out+errOut, row.says) {
			t.Errorf("%v: exit code %d, %s%s; want %d and %q", row.args, code, out, errOut, row.code, row.says)
		}
	}

	db, err := sql.Open("sqlite", filepath.Join(c.DataDir, "central.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	for what, query := range map[string]string{
		"an entry edited":     `UPDATE record_entries SET line = replace(line, 'UNIT-001', 'UNIT-009') WHERE n = 1 AND instance_id = $1`,
		"the last cut off":    `DELETE FROM record_entries WHERE n = 4 AND instance_id = $1`,
		"the note edited":     `UPDATE records SET note = replace(note, 'usbkeyd', 'usbkeye') WHERE instance_id = $1`,
		"another key claimed": `UPDATE records SET station_key = x'' WHERE instance_id = $1`,
	} {
		for _, q := range []string{`CREATE TABLE kept_e AS SELECT * FROM record_entries`, `CREATE TABLE kept_r AS SELECT * FROM records`} {
			if _, err := db.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.Exec(query, one); err != nil {
			t.Fatal(err)
		}
		code, out, _ := command("audit", "verify", "--station", enrolled, "--trust", trust, "-o", "json")
		var verdicts []verdict
		if err := json.Unmarshal([]byte(out), &verdicts); err != nil {
			t.Fatal(err)
		}
		for _, v := range verdicts {
			if edited := strings.HasSuffix(v.Record, one); edited != (v.Broken != "") {
				t.Errorf("%s: %+v", what, v)
			}
		}
		if code != exitFailure || len(verdicts) != 2 {
			t.Errorf("%s: exit code %d, %s", what, code, out)
		}
		for _, q := range []string{
			`DELETE FROM record_entries`, `DELETE FROM records`, `INSERT INTO records SELECT * FROM kept_r`,
			`INSERT INTO record_entries SELECT * FROM kept_e`, `DROP TABLE kept_e`, `DROP TABLE kept_r`,
		} {
			if _, err := db.Exec(q); err != nil {
				t.Fatal(err)
			}
		}
	}
	must("holds", "audit", "verify", "--station", enrolled, "--trust", trust)
	if status := send(t, c, two, 3, audit.KindReleased); status != http.StatusConflict {
		t.Fatalf("a fork is answered %d", status)
	}
	must("FORKED since", "station", "list")
	if code, out, _ := command("audit", "verify", "--station", enrolled, "--trust", trust); code != exitFailure || !strings.Contains(out, "does not go on from here") {
		t.Errorf("a fork: exit code %d, %s", code, out)
	}
}
