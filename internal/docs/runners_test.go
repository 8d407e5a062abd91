//go:build rig && linux

package docs_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/docs"
)

// runner is what runs a command that is not run by following the documents: a file, and what
// stands in it.
type runner struct{ command, file, contains string }

// runners are the commands that something else runs: scripts that are the tests themselves, and what
// needs a Windows, a printer, a desktop, two persons or a database server.
func runners() []runner {
	return []runner{
		{"usbkeyd.exe version", "pkcs11/worker/wine_test.go", `{"version"}`},
		{`usbkeyd.exe config check --config C:\ProgramData\usbkeyd\station.yaml`, "pkcs11/worker/wine_test.go", `{"config", "check", "--config",`},
		{`usbkeyd.exe module qualify --module C:\Windows\System32\maker.dll`, "pkcs11/worker/wine_test.go", `{"module", "qualify", "--module",`},
		{`usbkeyd.exe service install --config C:\ProgramData\usbkeyd\station.yaml`, "pkcs11/worker/wine_test.go", `{"service", "install", "--config",`},
		{"usbkeyd.exe service start", "pkcs11/worker/wine_test.go", `{"service", "start"}`},
		{"usbkeyd.exe service status", "pkcs11/worker/wine_test.go", `{"service", "status"}`},
		{"usbkeyd bays teach", "cmd/usbkeyd/quarantine_test.go", `newBaysTeach(streams{`},
		{"usbkeyd jobs abandon", "cmd/usbkeyd/abandon_test.go", `s.command("jobs", "abandon", job)`},
		{"usbkeyd pack verify --by", "cmd/usbkeyd/pack_test.go", `"pack", "verify", "--by"`},
		{"usbkeyd labels print --by", "cmd/usbkeyd/labels_test.go", `"labels", "print", first, "--by"`},
		{"usbkeyd labels confirm --by", "cmd/usbkeyd/labels_test.go", `"labels", "confirm", first, "--by"`},
		{"usbkeyd mailers preview", "cmd/usbkeyd/mailers_test.go", `"mailers", "preview", unit`},
		{"usbkeyd mailers print --by", "cmd/usbkeyd/mailers_test.go", `"mailers", "print", unit, "--by"`},
		{"usbkeyd mailers confirm --by", "cmd/usbkeyd/mailers_test.go", `"mailers", "confirm", unit, "--by"`},
		{"usbkeyd mailers reprint --by", "cmd/usbkeyd/mailers_test.go", `"mailers", "reprint", unit, "--by"`},
		{"usbkeyd approve", "cmd/usbkeyd/quarantine_test.go", `s.command("approve",`},
		{"usbkeyd enroll --new-key --join-token-file", "cmd/usbkeyd/identity_linux_test.go", `"enroll", "--new-key", "--join-token-file"`},
		{"usbkeyd service unit", "scripts/package.d/make.sh", "service unit --user usbkeyd"},
		{"usbkey-central serve --store --ca --retain-days", "cmd/usbkey-central/testdata/script/decide.txtar", "serve --retain-days 30"},
		{"usbkey-central serve --store", "cmd/usbkey-central/testdata/script/store.txtar", "serve --store $STORE"},
		{"usbkey-central recover --folder-too", "cmd/usbkey-central/testdata/script/recover.txtar", "recover --folder-too"},
		{"usbkey-central calendar show", "cmd/usbkey-central/testdata/script/calendar.txtar", "usbkey-central calendar show"},
		{"usbkey-central serve --tpm-maker", "scripts/demo-tpm.sh", `believes=(--tpm-maker "$out/tpm-maker.pem")`},
		{"usbkey-central units resolve", "cmd/usbkey-central/testdata/script/decide.txtar", "units resolve"},
		{"usbkey-central station approve --operator --ek-sha256", "cmd/usbkey-central/testdata/script/enrol.txtar", "station approve bay-1 --operator p1 --ek-sha256"},
		{"usbkeyd quarantine wipe A0000001", "cmd/usbkeyd/quarantine_test.go", `"quarantine", "wipe", serial`},
		{"usbkeyd quarantine release A0000001", "cmd/usbkeyd/quarantine_test.go", `"quarantine", "release", serial`},
		{"usbkeyd console", "cmd/usbkeyd/served_test.go", `s.command("console", "--socket"`},
		{"usbkeyd confirm 7K2M-QX4D", "cmd/usbkeyd/quarantine_test.go", `s.command("confirm",`},
		{"lpadmin -p labels -v DEVICE -m DRIVER -o printer-error-policy=abort-job -E", "internal/mailer/cupstest/daemon.go", `d.tool("lpadmin"`},
		{"usbkeyd --config station.yaml central conformance --admin-url https://central.example/v1 --admin-token-file admin.token --second ./station-2", "cmd/usbkeyd/conformance_test.go", `"central", "conformance"`},
		{"usbkey-central --data central serve --ca est --ca-config est.json", "cmd/usbkey-central/testdata/script/ca.txtar", "serve --ca est --ca-config"},
		{"usbkey-central ca check --ca est --ca-config est.json", "cmd/usbkey-central/testdata/script/ca.txtar", "usbkey-central ca check --ca est --ca-config"},
		{"scripts/test", ".ci/run", "scripts/test"},
		{"scripts/demo", ".ci/run", "scripts/demo"},
		{"scripts/demo --tokens 4 --key ec-p256 --out /tmp/usbkeyd-demo", ".ci/run", "scripts/demo"},
		{"scripts/demo --tokens 4 --key ec-p256 --out /tmp/usb-keys", ".ci/run", "scripts/demo"},
		{"scripts/demo --tokens 4 --key ec-p256 --keep", ".ci/run", "scripts/demo"},
		{"scripts/demo --tpm --tokens 4 --key ec-p256", ".ci/run", "scripts/demo --tpm --tokens 4 --key ec-p256"},
		{"scripts/bench", "cmd/usbkey-bench/bench_test.go", "func Test"},
		{"CGO_ENABLED=1 go build -o bin/ ./cmd/usbkeyd ./cmd/usbkeyd-module ./cmd/usbkey-central", "scripts/demo", "CGO_ENABLED=1 go build -o bin/ ./cmd/usbkeyd ./cmd/usbkeyd-module ./cmd/usbkey-central"},
	}
}

func TestRunnersRun(t *testing.T) {
	all, err := docs.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	var said []ran
	for _, d := range all {
		d.Each(func(c docs.Command, _ bool) {
			there[c.Text] = true
			said = append(said, parts(c.Text)...)
		})
	}
	for _, r := range runners() {
		mentioned := slices.ContainsFunc(parts(r.command), func(p ran) bool {
			return slices.ContainsFunc(said, func(m ran) bool { return m.covers(p) })
		})
		if !there[r.command] && !mentioned {
			t.Errorf("%s is in no document any more", r.command)
		}
		text, err := os.ReadFile("../../" + r.file)
		if err != nil || !strings.Contains(string(text), r.contains) {
			t.Errorf("%s is not run by %s: it has no %s (%v)", r.command, r.file, r.contains, err)
		}
	}
}
