package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestQuarantineOfAWorkingStation: a job that failed half way is given up, its token is
// wiped and released by an account that the kernel vouches for, while the daemon runs, and
// the next unit is written on it.
func TestQuarantineOfAWorkingStation(t *testing.T) {
	at := newPageAt(t)
	s := &station{stationtest.New(t, &centraltest.New(t, nil).Access, t.TempDir(), 1, "ec-p256", at.setting("supervisor")), t}
	run := func(rule string) (stop func()) {
		station := s.load()
		for i := range station.TokenProfiles {
			station.TokenProfiles[i].FactorySOPINFile = privateFile(t, "factory.pin", "87654321\n")
		}
		if rule != "" {
			s.behindShim(station, 0, rule)
		}
		return s.serve(station)
	}
	stop := run("C_InitPIN return 0x30") // CKR_DEVICE_ERROR
	s.Central.Order(t, 1)
	parked := ""
	stationtest.Eventually(t, "the job to be parked", func() bool {
		_, parked, _ = s.command("jobs", "list", "--state", "parked")
		return strings.Contains(parked, "set-user-pin")
	})
	stop()
	job := strings.Fields(strings.Split(parked, "\n")[1])[0]
	_, _, errOut := s.command("jobs", "abandon", job)
	_, serial, _ := strings.Cut(strings.TrimSpace(errOut), "--token-serial ")
	if code, out, errOut := s.command("jobs", "abandon", job, "--yes", "--token-serial", serial); code != exitOK || !strings.Contains(out, "quarantined") {
		t.Fatalf("exit code %d: %s%s", code, out, errOut)
	}

	stop = run("")
	defer func() { stop() }()
	list := func() (rows []isolatedRow) {
		code, out, _ := s.command("quarantine", "list", "--socket", at.socket, "-o", "json")
		var answer struct {
			Tokens []isolatedRow `json:"tokens"`
		}
		if code == exitOK {
			if err := json.Unmarshal([]byte(out), &answer); err != nil {
				t.Fatal(err)
			}
		}
		return answer.Tokens
	}
	expect := func(on, next string) {
		t.Helper()
		stationtest.Eventually(t, next, func() bool {
			rows := list()
			return len(rows) == 1 && rows[0].TokenSerial == serial && rows[0].On == on && rows[0].Next == next && rows[0].Bay == "bay-01"
		})
	}
	expect("nothing", "wipe")
	if got, whole := s.completed(chinese(), "quarantine", "wipe", "--socket", at.socket, ""); !slices.Contains(got, serial) || !strings.Contains(whole, "擦除 ") {
		t.Errorf("what may be wiped is completed as\n%s", whole)
	}
	if code, _, errOut := s.command("quarantine", "release", serial, "--socket", at.socket, "--yes"); code != exitFailure || !strings.Contains(errOut, "not proved blank") {
		t.Errorf("released unproved: %d: %s", code, errOut)
	}
	if code, out, errOut := s.command("quarantine", "wipe", serial, "--socket", at.socket); code != exitFailure || !strings.Contains(out, "Wipe token "+serial) || !strings.Contains(errOut, "nothing was done") {
		t.Errorf("without a yes: %d: %s%s", code, out, errOut)
	}
	expect("nothing", "wipe")
	if code, out, errOut := s.commandIn(chinese(), "quarantine", "wipe", serial, "--socket", at.socket, "--yes"); code != exitOK || !strings.Contains(out, "已完成") {
		t.Fatalf("wipe: %d: %s%s", code, out, errOut)
	}
	expect("blank", "release")
	if code, out, _ := s.command("quarantine", "show", serial, "--socket", at.socket); code != exitOK || !strings.Contains(out, job) {
		t.Errorf("show: %d: %s", code, out)
	}
	if _, err := console.AskTeach(t.Context(), at.socket, console.TeachBegin); err != nil {
		t.Fatal(err)
	}
	s.Central.Order(t, 1) // nobody may write the token yet
	if code, out, errOut := s.command("quarantine", "release", serial, "--socket", at.socket, "--yes"); code != exitOK {
		t.Fatalf("release: %d: %s%s", code, out, errOut)
	}
	time.Sleep(1500 * time.Millisecond) // the scheduler looks once a second
	if _, out, _ := s.command("jobs", "list"); strings.Contains(out, "-g1-2") || strings.Contains(out, "finished") {
		t.Errorf("work was begun while bays are taught:\n%s", out)
	}
	var said strings.Builder
	teach := newBaysTeach(streams{in: strings.NewReader("skip\nundo\nnonsense\ncancel\n"), out: &said, err: &said})
	teach.SetArgs([]string{"--socket", at.socket})
	if err := teach.ExecuteContext(t.Context()); err != nil {
		t.Error(err)
	}
	if out := said.String(); !strings.Contains(out, "Put a token into bay 2") || !strings.Contains(out, "is none of") || !strings.Contains(out, "Numbers that count now: 0") {
		t.Errorf("bays teach says:\n%s", out)
	}
	stationtest.Eventually(t, "the token to be written", func() bool {
		_, out, _ := s.command("jobs", "list", "--state", "finished")
		return strings.Contains(out, serial)
	})
	if rows := list(); len(rows) != 0 {
		t.Errorf("in quarantine are %+v", rows)
	}
	_, out, _ := s.command("audit", "show")
	for _, want := range []string{"wipe", "wiped", "released"} {
		if !strings.Contains(out, want) {
			t.Errorf("the record lacks %s:\n%s", want, out)
		}
	}
	if code, _, errOut := s.command("confirm", "AAAA-AAAA", "--socket", at.socket); code != exitFailure || !strings.Contains(errOut, "no such code") {
		t.Errorf("confirm: %d: %s", code, errOut)
	}
	if code, _, errOut := s.command("approve", "AAAA-AAAA", "--socket", filepath.Join(at.dir, "none")); code != exitFailure || !strings.Contains(errOut, "no usbkeyd") {
		t.Errorf("approve: %d: %s", code, errOut)
	}
}
