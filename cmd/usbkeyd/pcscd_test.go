package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
	"github.com/usbkeyd/usbkeyd/pkcs11/worker"
)

// openSC is a module whose libraries open pcscd's.
func openSC(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/opensc-pkcs11.so")
	if err != nil || len(found) == 0 {
		t.Fatalf("no opensc-pkcs11.so (apt-get install opensc): %v", err)
	}
	return found[0]
}

// behindPCSCD makes the first module of a station OpenSC's, which looks for pcscd at
// the socket that is returned.
func (s *station) behindPCSCD(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "comm")
	s.rewrite(moduleAt(openSC(t)))
	s.rewrite(func(y string) string {
		before, after, _ := strings.Cut(y, "env: {")
		_, after, _ = strings.Cut(after, "}")
		return before + "env: {PCSCLITE_CSOCK_NAME: " + socket + "}" + after
	})
	return socket
}

// answerAt plays pcscd at a socket, as far as it is asked for its version.
func answerAt(t *testing.T, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := io.ReadFull(conn, make([]byte, 20)); err != nil {
					return
				}
				var b []byte
				for _, word := range []uint32{4, 4, 0} {
					b = binary.NativeEndian.AppendUint32(b, word)
				}
				_, _ = conn.Write(b)
			}()
		}
	}()
}

// TestPCSCDIsNotRunning: tokens list says so once, beside the tokens of the module
// that does not need it, and a drain does not end as if all were well.
func TestPCSCDIsNotRunning(t *testing.T) {
	s := newStation(t, 2, "ec-p256")
	s.behindPCSCD(t)
	_, out, errOut := s.command("tokens", "list")
	if strings.Count(errOut, "ALARM") != 1 || !strings.Contains(errOut, "pcscd-not-running") || !strings.Contains(errOut, "systemctl restart pcscd") || !strings.Contains(out, "bay-02") {
		t.Errorf("tokens list: %s%s", out, errOut)
	}
	_, out, errOut = s.command("tokens", "list", "-o", "json")
	var list tokenList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Alarms) != 1 || list.Alarms[0].Code != "pcscd-not-running" || list.Alarms[0].Hint == "" || list.Alarms[0].Since.IsZero() || strings.Contains(errOut, "ALARM") {
		t.Errorf("tokens list -o json: %+v, %s", list, errOut)
	}

	s.Central.Order(t, 1)
	log := filepath.Join(s.Dir, "log")
	var said bytes.Buffer
	o := &runOptions{
		streams: streams{in: strings.NewReader(""), out: io.Discard, err: &said}, config: &s.Config, shutIn: notShutIn, drain: true, log: log,
		load: func() (*config.Station, error) { return config.Load(s.Config) }, alarmPatience: time.Second,
	}
	err := o.run(t.Context())
	if text := said.String(); exitCode(err) != exitUnfinished || strings.Count(text, "ALARM pcscd-not-running") != 1 || !strings.Contains(text, "1 finished") {
		t.Errorf("run: exit code %d: %s", exitCode(err), text)
	}
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), `"level":"ERROR"`); n != 1 || strings.Count(string(data), `"msg":"alarm"`) != 1 {
		t.Errorf("%d errors in the log:\n%s", n, data)
	}
}

func TestPCSCDThatAnswersIsNoAlarm(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	answerAt(t, s.behindPCSCD(t))
	_, out, _ := s.command("tokens", "list", "-o", "json")
	var list tokenList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Alarms) != 0 {
		t.Errorf("alarms: %+v", list.Alarms)
	}
}

// TestWatchTellsOfPCSCD starts and ends pcscd under a running tokens watch.
func TestWatchTellsOfPCSCD(t *testing.T) {
	s := newStation(t, 1, "ec-p256")
	socket := s.behindPCSCD(t)
	station, err := config.Load(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	var out lines
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	root := newTokensWatch(streams{in: strings.NewReader(""), out: &out, err: &out}, func() (*config.Station, error) { return station, nil })
	root.SetArgs([]string{"-o", "json"})
	done := make(chan error, 1)
	go func() { done <- root.ExecuteContext(ctx) }()
	told := func(event string, alarms int) {
		t.Helper()
		stationtest.Eventually(t, event, func() bool {
			for _, e := range out.events(t) {
				if e.Event == event && len(e.Alarms) == alarms {
					return true
				}
			}
			return false
		})
	}
	told("alarm", 1)
	answerAt(t, socket)
	told("alarm-ended", 0)
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTrustOwnerIsShown: wherever the station's state is.
func TestTrustOwnerIsShown(t *testing.T) {
	s := newStation(t, 2, "ec-p256")
	if code, out, errOut := s.command("config", "check"); code != exitOK || strings.Contains(out+errOut, "trust: owner") {
		t.Fatalf("without it: exit code %d: %s%s", code, out, errOut)
	}
	s.rewrite(func(y string) string { return strings.Replace(y, "{name: bay-02,", "{name: bay-02, trust: owner,", 1) })
	log := filepath.Join(s.Dir, "log")
	for _, args := range [][]string{{"config", "check"}, {"tokens", "list"}, {"run", "--drain", "--log", "-"}} {
		code, out, errOut := s.command(args...)
		if code != exitOK || strings.Count(out+errOut, "trust: owner") != 1 || !strings.Contains(out+errOut, "bay-02") {
			t.Errorf("%s: exit code %d: %s%s", strings.Join(args, " "), code, out, errOut)
		}
	}
	_, out, _ := s.command("tokens", "list", "-o", "json")
	var list tokenList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Notes) != 1 || list.Notes[0].Module != "bay-02" || list.Notes[0].Code != "trust-owner" {
		t.Errorf("tokens list -o json: %+v", list.Notes)
	}
	if code, _, errOut := s.command("run", "--drain", "--log", log); code != exitOK {
		t.Fatal(errOut)
	}
	data, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(data), `"level":"WARN","msg":"module","station":"sample-station","module":"bay-02","code":"trust-owner"`) {
		t.Errorf("log: %s (%v)", data, err)
	}
}

// TestWarmStartsNoMoreThanThereMayBe counts the starts of a module.
func TestWarmStartsNoMoreThanThereMayBe(t *testing.T) {
	for most, want := range map[int]int{2: 2, 0: 3} {
		shim := pkcs11test.NewShim(t, pkcs11test.NewBay(t))
		p := pool{worker.NewPool(worker.Spec{Path: shim.Path, Env: shim.Env, Trust: worker.TrustUnchecked, MaxProcesses: most}), most, slog.New(slog.DiscardHandler)}
		if err := p.Warm(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		starts := 0
		for _, call := range shim.Calls(t) {
			if call == "C_Initialize" {
				starts++
			}
		}
		if starts != want {
			t.Errorf("of at most %d processes %d were started for 3 jobs, want %d", most, starts, want)
		}
	}
}
