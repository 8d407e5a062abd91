package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
	"github.com/usbkeyd/usbkeyd/internal/stationload"
)

func TestMain(m *testing.M) {
	envelope.ChooseAES256()
	os.Exit(m.Run())
}

// A small load comes to its end with every check held; how fast is not asked.
func TestSmallLoad(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "usbkey-central")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../usbkey-central").CombinedOutput(); err != nil {
		t.Fatalf("build the server: %v\n%s", err, out)
	}
	data, report := filepath.Join(dir, "data"), filepath.Join(dir, "report.json")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	var out, progress strings.Builder
	err := run(t.Context(), []string{"--server", program, "--dir", data, "--stations", "50", "--units", "300", "--settle", "1s", "--json", report}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Rows) != 1 || got.FsyncsPerSecond <= 0 {
		t.Fatalf("got %s", text)
	}
	r := got.Rows[0]
	if r.Installed != 300 || r.LivesPerSecond <= 0 || r.ClaimsPerSecond <= 0 || r.Waiting.Claim99 <= 0 || r.BytesPerStation <= 0 || r.ReconnectSeconds <= 0 {
		t.Errorf("got %s", text)
	}
	if !strings.Contains(out.String(), "unit lives/s") {
		t.Errorf("printed\n%s", out.String())
	}
}

// Whatever is wrong in the end is found.
func TestDisagreements(t *testing.T) {
	text := func(s string) *string { return &s }
	life := func(n string) stationload.Life {
		return stationload.Life{Unit: "U" + n, Order: "O", Station: "s", TokenSerial: "t" + n, CertificateSerial: "c" + n, Fingerprint: "f" + n}
	}
	unit := func(n string) api.Unit {
		return api.Unit{UnitId: "U" + n, State: api.INSTALLED, TokenSerial: text("t" + n), CertificateSerial: text("c" + n), CertificateSha256: text("f" + n)}
	}
	certificate := func(n string) api.CertificateRecord {
		return api.CertificateRecord{UnitId: "U" + n, CertificateSerial: "c" + n, CertificateSha256: "f" + n, PublicKeySha256: "k" + n}
	}
	rows := []struct {
		name  string
		want  string // nothing when empty
		spoil func(lives []stationload.Life, units []api.Unit, certificates []api.CertificateRecord) int
	}{
		{"all well", "", func([]stationload.Life, []api.Unit, []api.CertificateRecord) int { return 2 }},
		{"a unit too few", "3 units were ordered", func([]stationload.Life, []api.Unit, []api.CertificateRecord) int { return 3 }},
		{"made twice", "made twice", func(l []stationload.Life, _ []api.Unit, _ []api.CertificateRecord) int { l[1] = l[0]; return 2 }},
		{"an order split", "was split", func(l []stationload.Life, _ []api.Unit, _ []api.CertificateRecord) int {
			l[1].Station = "other"
			return 2
		}},
		{"not installed", "is HELD", func(_ []stationload.Life, u []api.Unit, _ []api.CertificateRecord) int {
			u[1].State = api.HELD
			return 2
		}},
		{"nobody made it", "no station has made it", func(_ []stationload.Life, u []api.Unit, _ []api.CertificateRecord) int { u[1].UnitId = "U9"; return 2 }},
		{"another token", "another certificate or token", func(_ []stationload.Life, u []api.Unit, _ []api.CertificateRecord) int {
			u[1].TokenSerial = text("t9")
			return 2
		}},
		{"issued twice", "is the second one", func(_ []stationload.Life, _ []api.Unit, c []api.CertificateRecord) int { c[1].UnitId = "U1"; return 2 }},
		{"one key twice", "is the second one", func(_ []stationload.Life, _ []api.Unit, c []api.CertificateRecord) int {
			c[1].PublicKeySha256 = "k1"
			return 2
		}},
		{"one number twice", "is the second one", func(_ []stationload.Life, _ []api.Unit, c []api.CertificateRecord) int {
			c[1].CertificateSerial = "c1"
			return 2
		}},
		{"another certificate", "is not the one", func(_ []stationload.Life, _ []api.Unit, c []api.CertificateRecord) int {
			c[1].CertificateSha256 = "f9"
			return 2
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			lives := []stationload.Life{life("1"), life("2")}
			units := []api.Unit{unit("1"), unit("2")}
			certificates := []api.CertificateRecord{certificate("1"), certificate("2")}
			n := row.spoil(lives, units, certificates)
			got := strings.Join(disagreements(n, lives, units, certificates), "\n")
			if (got == "") != (row.want == "") || !strings.Contains(got, row.want) {
				t.Errorf("found %q, want %q", got, row.want)
			}
		})
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range [][]string{
		{"--stations", "0"}, {"--stations", "10,x"}, {"--stations", "5000"}, {"--units", "99"}, {"--order-size", "501"}, {"--rate", "0"},
		{"--nodes", "2"}, {"--store-file", "x", "--stations", "1,2"}, {"more"},
	} {
		if err := run(t.Context(), args, &strings.Builder{}, &strings.Builder{}); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}
