package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/console"
	"github.com/usbkeyd/usbkeyd/internal/floor"
	"github.com/usbkeyd/usbkeyd/internal/label"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cupstest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/provision"
)

// TestLabels writes everything that goes onto and into a parcel.
func TestLabels(t *testing.T) {
	r := &packRoom{newStation(t, 1, "ec-p256")}
	r.Central.Order(t, 1)
	r.drain(exitOK)
	key := r.keys()[0]
	for _, code := range []string{key.UnitID, key.OrderID, key.TokenSerial} {
		if page := r.want(exitOK, key.TokenSerial, "labels", "token", code, "--size", "60x40"); !strings.Contains(page, "60mm 40mm") || !strings.Contains(page, key.OrderID) || !strings.Contains(page, "第 1 把 / 共 1 把") {
			t.Errorf("token label:\n%s", page)
		}
	}
	r.want(exitOK, "50mm 30mm", "labels", "token", key.UnitID)
	r.want(exitOK, "%PDF", "labels", "token", key.UnitID, "--format", "pdf")
	r.want(exitOK, key.Company, "labels", "packing-list", key.OrderID)
	r.want(exitOK, "%PDF", "labels", "packing-list", key.OrderID, "--format", "pdf")
	r.want(exitOK, "到付", "labels", "shipping", key.OrderID)
	if with, without := r.want(exitOK, "", "labels", "shipping", key.OrderID), r.want(exitOK, "", "labels", "shipping", key.OrderID, "--bom=false"); with != "\ufeff"+without {
		t.Errorf("byte order mark: %q, %q", with, without)
	}
	r.want(exitFailure, "no finished key", "labels", "token", "NOWHERE-001")
	r.want(exitFailure, "no finished key", "labels", "packing-list", "NOWHERE")
	r.want(exitFailure, "no finished key", "labels", "shipping", key.OrderID, "NOWHERE")
	r.want(exitUsage, "an order is needed", "labels", "shipping")
	r.want(exitUsage, "--size", "labels", "token", key.UnitID, "--size", "1x1")
	r.want(exitUsage, "csv or json", "labels", "shipping", key.OrderID, "--format", "html")
	r.want(exitFailure, "labels.printer", "labels", "print", key.UnitID, "--by", "p1")
	r.want(exitOK, "No label is waited for", "labels", "list")
	r.want(exitFailure, "waits to be confirmed; see usbkeyd labels list", "labels", "confirm", key.TokenSerial, "--by", "p1")
	for _, code := range []string{key.OrderID, key.TokenSerial, sampleWaybill} {
		r.want(exitOK, code, "pack", "scan", code, "--by", "p1")
	}
	var rows []label.Shipping
	if err := json.Unmarshal([]byte(r.want(exitOK, "", "labels", "shipping", key.OrderID, "--format", "json")), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%+v (%v)", rows, err)
	}
	if s := rows[0]; s.Carrier != "SF" || !s.FreightCollect || s.Waybill != sampleWaybill || s.Keys != 1 || s.Name == "" || s.Phone == "" || s.Address == "" || s.Company != key.Company {
		t.Errorf("shipping: %+v", s)
	}
	r.CheckNoPIN()
}

// labelRoom is a station whose labels come one at a time, out of a real CUPS.
type labelRoom struct {
	*packRoom
	sheet string // what the printer printed last
}

func newLabelRoom(t *testing.T, bays int) *labelRoom {
	t.Helper()
	cups := cupstest.Start(t, true)
	r := &labelRoom{sheet: cups.Label("labels")}
	more := "labels: {printer: labels, server: " + cups.Socket + ", size: 50x30, oneAtATime: true}\n"
	r.packRoom = &packRoom{&station{stationtest.New(t, &centraltest.New(t, nil).Access, t.TempDir(), bays, "ec-p256", more), t}}
	return r
}

// read is what a scanner reads on the sheet.
func (r *labelRoom) read() string {
	dots := filepath.Join(r.t.TempDir(), "dots")
	if out, err := exec.Command("pdftoppm", "-r", "203", "-gray", "-aa", "no", "-aaVector", "no", "-singlefile", r.sheet, dots).CombinedOutput(); err != nil {
		return fmt.Sprint(err, string(out))
	}
	out, err := exec.Command("zbarimg", "--quiet", dots+".pgm").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// awaitSheet wants a token's label to come out of the printer.
func (r *labelRoom) awaitSheet(serial string) {
	r.t.Helper()
	stationtest.Eventually(r.t, "the label of "+serial, func() bool { return r.read() == "QR-Code:"+serial })
	if err := os.Remove(r.sheet); err != nil {
		r.t.Fatal(err)
	}
}

// carry moves the token of a key out of its bay, or back.
func (r *labelRoom) carry(key jobRow, out bool) {
	r.t.Helper()
	var n int
	if _, err := fmt.Sscanf(key.Module, "bay-%02d", &n); err != nil {
		r.t.Fatal(err)
	}
	from, to := filepath.Join(r.Bays[n-1].Dir, "tokens"), filepath.Join(r.Bays[n-1].Dir, "out")
	if !out {
		from, to = to, from
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		r.t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(from, "*"))
	if err != nil || len(found) != 1 {
		r.t.Fatalf("tokens in %s: %v (%v)", from, found, err)
	}
	if err := os.Rename(found[0], filepath.Join(to, filepath.Base(found[0]))); err != nil {
		r.t.Fatal(err)
	}
}

// listed is what labels list says, key by key.
func (r *labelRoom) listed() string {
	r.t.Helper()
	var rows []labelRow
	if err := json.Unmarshal([]byte(r.want(exitOK, "", "labels", "list", "-o", "json")), &rows); err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, row := range rows {
		out = append(out, fmt.Sprintf("%d/%d %s", row.Sequence, row.Of, row.State))
	}
	return strings.Join(out, ", ")
}

func (r *labelRoom) await(want string) {
	r.t.Helper()
	stationtest.Eventually(r.t, "labels: "+want, func() bool { return r.listed() == want })
}

// TestLabelsComeOneAtATime takes a token out, with the daemon at work: its label comes out of the
// printer and is scanned, and the key may be packed from then on. A SoftHSM that is loaded does
// not notice that a token is gone, so that it is taken out as the daemon begins; package agent
// tries what follows.
func TestLabelsComeOneAtATime(t *testing.T) {
	r := newLabelRoom(t, 2)
	r.Central.Order(t, 2)
	r.drain(exitOK)
	keys := r.keys()
	first, second := keys[0].TokenSerial, keys[1].TokenSerial
	if got := r.listed(); got != "1/2 in-bay, 2/2 in-bay" {
		t.Error(got)
	}
	r.want(exitFailure, "is in its bay", "labels", "confirm", first, "--by", "p1")
	r.want(exitOK, "", "pack", "open", keys[0].OrderID, "--by", "p1")
	r.want(exitFailure, "has no label that was scanned", "pack", "scan", first, "--by", "p1")
	r.carry(keys[0], true)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	daemon := r.start(ctx, filepath.Join(r.Dir, "daemon.log"), "run")
	r.awaitSheet(first)
	r.await("1/2 printed, 2/2 in-bay")
	r.want(exitFailure, "Wrong label", "labels", "confirm", second, "--by", "p1")
	r.want(exitOK, "CUPS says", "labels", "print", first, "--by", "p2") // nobody found the first sheet
	r.awaitSheet(first)
	r.want(exitOK, "the next token", "labels", "confirm", first, "--by", "p1")
	r.await("2/2 in-bay")

	r.want(exitOK, "1 of 2", "pack", "scan", first, "--by", "p1")
	if out := r.want(exitOK, "label", "audit", "show", "--unit", keys[0].UnitID); strings.Count(out, "printed") != 2 || strings.Count(out, "stuck") != 1 {
		t.Errorf("on record:\n%s", out)
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := daemon.Wait(); err != nil {
		t.Errorf("the daemon: %v", err)
	}
}

// TestLabelDesk: what the page asks for is done, and what went wrong has its answer.
func TestLabelDesk(t *testing.T) {
	r := newLabelRoom(t, 1)
	r.Central.Order(t, 1)
	r.drain(exitOK)
	key := r.keys()[0]
	station, err := config.Load(r.Config)
	if err != nil {
		t.Fatal(err)
	}
	printed, err := newLabels(station, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	j, err := provision.OpenJournal(r.Journal())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	told := 0
	d := &floor.Labels{Journal: j, PrintLabels: printed.print, Changed: func() { told++ }, Log: slog.New(slog.DiscardHandler)}
	look := func(sight provision.Sight) {
		t.Helper()
		if _, _, err := j.Sighted(time.Now(), time.Now(), func(*provision.Record) provision.Sight { return sight }); err != nil {
			t.Fatal(err)
		}
	}
	answer := func(got, want console.LabelAnswer) {
		t.Helper()
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	answer(d.Confirm(key.TokenSerial, "p1"), console.LabelInBay)
	answer(d.Print(t.Context(), "nothing", "p1"), console.LabelNoKey)
	answer(d.Print(t.Context(), key.OrderID, "p1"), console.LabelNoKey) // a token is wanted
	answer(d.Print(t.Context(), key.TokenSerial, "p1"), console.LabelPrinted)
	r.awaitSheet(key.TokenSerial)
	look(provision.Absent)
	answer(d.Confirm(key.TokenSerial, "p1"), console.LabelUnprinted)
	answer(d.Confirm("nothing", "p1"), console.LabelWrong)
	printed.printer.Name = "none"
	answer(d.Print(t.Context(), key.TokenSerial, "p1"), console.LabelNotSent)
	answer(d.Confirm(key.TokenSerial, "p1"), console.LabelUnprinted)
	printed.printer.Name = "labels"
	answer(d.Print(t.Context(), key.TokenSerial, "p1"), console.LabelPrinted)
	answer(d.Confirm(key.TokenSerial, "p1"), console.LabelStuck)
	answer(d.Confirm(key.TokenSerial, "p1"), console.LabelUnknown)
	if told != 9 {
		t.Errorf("the agent was told %d times", told)
	}
	for _, f := range []provision.LabelFault{provision.LabelWrong, provision.LabelUnprinted, provision.LabelUnseen, provision.LabelMixedUp, provision.LabelTokenInBay, provision.LabelUnknown} {
		if !strings.Contains(fmt.Sprint(console.LabelAnswers()), string(f)) {
			t.Errorf("the page has no answer %q", f)
		}
	}
}

func TestNewLabels(t *testing.T) {
	notFont := filepath.Join(t.TempDir(), "sample.ttf")
	if err := os.WriteFile(notFont, []byte("sample"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := func() error { return nil }
	elsewhere := func() error { return errors.New("not on this system") }
	for _, row := range []struct {
		name, printer, font string
		supported           func() error
		field               string
	}{
		{"no printer needs nothing", "", notFont, elsewhere, ""},
		{"a printer", "labels", mailerFont, here, ""},
		{"a printer where none is used", "labels", mailerFont, elsewhere, "labels"},
		{"a font that is none", "labels", notFont, here, "labels.font"},
	} {
		l, err := newLabels(&config.Station{Labels: config.Labels{Printer: row.printer, Font: row.font, Size: "50x30"}}, row.supported)
		var field *config.FieldError
		if got := errors.As(err, &field); got != (row.field != "") || got && field.Field != row.field || (l == nil) != (row.printer == "" || got) {
			t.Errorf("%s: %v, %v", row.name, l, err)
		}
		if l.oneAtATime(&config.Station{}) != nil {
			t.Errorf("%s: one at a time although nobody said so", row.name)
		}
	}
}
