package cups

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/internal/canary"
	"github.com/usbkeyd/usbkeyd/internal/mailer"
	"github.com/usbkeyd/usbkeyd/internal/mailer/cupstest"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
	"github.com/usbkeyd/usbkeyd/pkcs11"
)

const pin = "52075369"

// page is a letter as stations print it.
func page(t *testing.T) []byte {
	t.Helper()
	const file = "/usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	font, err := typeface.Parse(file, data)
	if err != nil {
		t.Fatal(err)
	}
	out, err := mailer.Render(font, mailer.Letter{
		Company: "示例客车𠮷配件有限公司", Name: "经办人甲", OrderID: "SAMPLE-0001", Unit: 2, Of: 8,
		TokenLabel: "SAMPLE-0001-002", PIN: pkcs11.NewUserPIN(pin), Language: mailer.Chinese,
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p Printer) printed(t *testing.T) Outcome {
	t.Helper()
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, err := p.Print(t.Context(), page(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Log(o.Says)
	return o
}

func printer(s *cupstest.Server, name string) Printer {
	return Printer{Name: name, Server: s.Socket, Spool: s.Spool, Media: "A4", Title: "letter", Patience: 20 * time.Second}
}

// empty waits for cupsd to clear up after a job.
func empty(t *testing.T, s *cupstest.Server) {
	t.Helper()
	var left []string
	for range 50 {
		if left = append(s.Documents(), s.Working()...); len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("left in the spool: %v", left)
}

// clears: of a job that was cancelled CUPS removes the document, and Ghostscript, which it
// kills, leaves a working file; that goes when cupsd is restarted.
func clears(t *testing.T, s *cupstest.Server) {
	t.Helper()
	for range 50 {
		if len(s.Documents()) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Restart()
	empty(t, s)
}

// TestPaper: what comes out of the printer is the page, once, and nothing of it stays.
func TestPaper(t *testing.T) {
	s := cupstest.Start(t, true)
	sheet := s.Paper("paper", cupstest.PDF)
	for _, server := range []string{s.Socket, s.Address} {
		p := printer(s, "paper")
		p.Server = server
		if o := p.printed(t); o.Job == 0 || o.End != Completed || !strings.Contains(o.Says, "completed, which it also says of sheets that never came out") {
			t.Errorf("got %+v", o)
		}
		out, err := exec.Command("pdftotext", "-raw", sheet, "-").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		got := strings.Join(strings.Fields(string(out)), "")
		if strings.Count(got, pin) != 1 || !strings.Contains(got, "有限公司") || !strings.Contains(got, "SAMPLE-0001-002") {
			t.Errorf("on the sheet is %q", got)
		}
		empty(t, s)
	}
}

// TestFileDevice: CUPS's own file device, behind a driver.
func TestFileDevice(t *testing.T) {
	s := cupstest.Start(t, true)
	dir, err := os.MkdirTemp("/var/tmp", "cups-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	sheet := filepath.Join(dir, "sheet.pcl")
	s.File("file", cupstest.PCL, sheet)
	printer(s, "file").printed(t)
	info, err := os.Stat(sheet)
	if err != nil || info.Size() < 10_000 {
		t.Errorf("the sheet is %v (%v)", info, err)
	}
	empty(t, s)
}

// TestUnknown: a printer that jams, loses the job or says nothing. Nothing of that can be
// told from a sheet that came out, and nothing stays in the spool.
func TestUnknown(t *testing.T) {
	s := cupstest.Start(t, true)
	s.Jam("jam")
	s.Hang("hang")
	s.Bare("bare")
	t.Run("jams", func(t *testing.T) {
		if o := printer(s, "jam").printed(t); o.Job == 0 || o.End != GivenUp || !strings.Contains(o.Says, "CUPS gave up job") || !strings.Contains(o.Says, "destroy it") {
			t.Errorf("got %+v", o)
		}
		empty(t, s)
	})
	t.Run("says nothing", func(t *testing.T) {
		p := printer(s, "hang")
		p.Patience = time.Second
		if o := p.printed(t); o.Job == 0 || o.End != TooLate || !strings.Contains(o.Says, "did not finish it within 1s") || !strings.Contains(o.Says, "It was cancelled.") {
			t.Errorf("got %+v", o)
		}
		clears(t, s)
	})
	t.Run("asks for paper", func(t *testing.T) {
		p := printer(s, "bare")
		p.Patience = 2 * time.Second
		if o := p.printed(t); o.Job == 0 || o.End != NoPaper || !strings.Contains(o.Says, "which asks for paper, did not finish it within 2s") {
			t.Errorf("got %+v", o)
		}
		clears(t, s)
	})
	t.Run("is told to stop", func(t *testing.T) {
		p, sheet := printer(s, "hang"), page(t)
		if err := p.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		type end struct {
			Outcome
			error
		}
		done := make(chan end, 1)
		go func() {
			o, err := p.Print(t.Context(), sheet)
			done <- end{o, err}
		}()
		for begun := time.Now(); len(s.Documents()) == 0; time.Sleep(50 * time.Millisecond) {
			if time.Since(begun) > 10*time.Second {
				t.Fatal("no document came into the spool")
			}
		}
		s.Tool("cancel", "-a", "hang")
		if e := <-done; e.error != nil || e.Job == 0 || e.End != Cancelled || !strings.Contains(e.Says, "was cancelled") {
			t.Errorf("got %+v (%v)", e.Outcome, e.error)
		}
		clears(t, s)
	})
	t.Run("loses the job", func(t *testing.T) {
		// Without a history a job that is done with is not known any more.
		s := cupstest.Start(t, false)
		s.Paper("paper", cupstest.PCL)
		if o := printer(s, "paper").printed(t); o.Job == 0 || o.End != Lost || !strings.Contains(o.Says, "does not know job") {
			t.Errorf("got %+v", o)
		}
		empty(t, s)
	})
	search := canary.Search{}
	search.Add("PIN", pin)
	s.Search(&search)
	if len(search.Found) > 0 || search.Files == 0 {
		t.Errorf("in %d files: %v", search.Files, search.Found)
	}
}

// TestNotSent: what is known to be wrong before lp is started costs no PIN.
func TestNotSent(t *testing.T) {
	s := cupstest.Start(t, true)
	good := s.Paper("good", cupstest.PCL)
	raw := s.Paper("raw", cupstest.Raw)
	s.Paper("again", cupstest.PCL, "-o", "printer-error-policy=retry-job")
	s.Paper("closed", cupstest.PCL)
	s.Tool("cupsreject", "closed")
	s.Paper("stopped", cupstest.PCL)
	s.Tool("cupsdisable", "stopped")
	rows := []struct {
		name   string
		change func(*Printer)
		want   string
	}{
		{"no such printer", func(p *Printer) { p.Name = "none" }, "no printer of that name"},
		{"no driver", func(p *Printer) { p.Name = "raw" }, "has no driver"},
		{"tries again by itself", func(p *Printer) { p.Name = "again" }, `error policy is "retry-job"`},
		{"takes no jobs", func(p *Printer) { p.Name = "closed" }, "does not accept jobs"},
		{"stopped", func(p *Printer) { p.Name = "stopped" }, "is stopped"},
		{"no server", func(p *Printer) { p.Server = filepath.Join(t.TempDir(), "none") }, "cannot be reached"},
		{"a server elsewhere", func(p *Printer) { p.Server = "192.0.2.1:631" }, "not on this machine"},
		{"a spool on a disk", func(p *Printer) { p.Spool = "/usr" }, "is on a disk"},
		{"no spool", func(p *Printer) { p.Spool = filepath.Join(t.TempDir(), "none") }, "spool"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := printer(s, "good")
			row.change(&p)
			if err := p.Ready(t.Context()); !errors.Is(err, ErrNotSent) || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	t.Run("lp is not there", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		p := printer(s, "good")
		if err := p.Ready(t.Context()); !errors.Is(err, ErrNotSent) {
			t.Errorf("ready: %v", err)
		}
		if _, err := p.Print(t.Context(), []byte("%PDF")); !errors.Is(err, ErrNotSent) {
			t.Errorf("print: %v", err)
		}
	})
	for _, file := range []string{good, raw} {
		if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was printed on: %v", file, err)
		}
	}
}

// TestServerGone: a cupsd that dies between the last look and lp, and one that stops
// answering afterwards. Both leave it unknown.
func TestServerGone(t *testing.T) {
	t.Run("before lp", func(t *testing.T) {
		p := Printer{Name: "paper", Server: filepath.Join(t.TempDir(), "none"), Patience: time.Second}
		o, err := p.Print(t.Context(), []byte("%PDF"))
		if err != nil || o.Job != 0 || !strings.Contains(o.Says, "lp ended without naming a job") {
			t.Errorf("got %+v, %v", o, err)
		}
	})
	t.Run("after it", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // it takes connections and never answers
		p := Printer{Name: "paper", Server: l.Addr().String(), Patience: 200 * time.Millisecond}
		if end, says := p.watch(t.Context(), 7); end != TooLate || !strings.Contains(says, "CUPS did not answer") || !strings.Contains(says, "could not be cancelled") {
			t.Errorf("got %q", says)
		}
	})
}

// TestPrintIsNotBrokenOff: a page that is on its way is followed to its end.
func TestPrintIsNotBrokenOff(t *testing.T) {
	s := cupstest.Start(t, true)
	sheet := s.Paper("paper", cupstest.PCL)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	o, err := printer(s, "paper").Print(ctx, page(t))
	if err != nil || !strings.Contains(o.Says, "completed") {
		t.Errorf("got %+v, %v", o, err)
	}
	if info, err := os.Stat(sheet); err != nil || info.Size() == 0 {
		t.Errorf("no sheet: %v", err)
	}
}

// TestPageStaysOffTheCommandLine: neither arguments nor environment of lp, while it runs,
// tell the page, and it opens no file.
func TestPageStaysOffTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	seen := filepath.Join(dir, "seen")
	script := "#!/bin/sh\n{ tr '\\0' '\\n' < /proc/$$/cmdline; tr '\\0' '\\n' < /proc/$$/environ; ls -l /proc/$$/fd/0; } > " + seen + "\ncat >/dev/null\necho 'request id is paper-7 (0 file(s))'\n"
	if err := os.WriteFile(filepath.Join(dir, "lp"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	p := Printer{Name: "paper", Server: filepath.Join(dir, "none"), Patience: 10 * time.Millisecond}
	if o, err := p.Print(t.Context(), []byte("the page with "+pin)); err != nil || o.Job != 7 {
		t.Fatalf("got %+v, %v", o, err)
	}
	data, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), pin) || !strings.Contains(string(data), "pipe:") {
		t.Errorf("lp was started with\n%s", data)
	}
}

func TestLocal(t *testing.T) {
	for server, want := range map[string]bool{
		"/run/cups/cups.sock": true, "127.0.0.1:631": true, "[::1]:631": true,
		"": false, "localhost:631": false, "127.0.0.1": false, "192.0.2.1:631": false, "cups.sock": false, "print.example.com:631": false,
	} {
		if Local(server) != want {
			t.Errorf("%q: %v", server, !want)
		}
	}
}
