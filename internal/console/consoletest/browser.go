// Package consoletest is a real browser for tests of the operator's page: Debian's Chromium
// without a window, with a profile of its own, and what it complains of. Tests only. It must
// not know what is on the page.
package consoletest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// patience is how long a page may take to come to what a test waits for.
const patience = 30 * time.Second

// Browser is one tab of a browser of its own.
type Browser struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	messages []string
}

// Start starts a browser that asks for pages in these languages, as Accept-Language has
// them, and ends it with the test. Without Chromium the test fails.
func Start(t testing.TB, languages string) *Browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err := exec.LookPath(name); err == nil && program == "" {
			program = path
		}
	}
	if program == "" {
		t.Fatal("Chromium is not installed: apt-get install chromium-headless-shell")
	}
	profile, err := os.MkdirTemp("", "browser") // removed when the browser has ended
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(program), chromedp.UserDataDir(profile), chromedp.WindowSize(1366, 768),
		chromedp.Flag("accept-lang", languages), chromedp.Flag("lang", languages))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's needs another user
	}
	allocator, endAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, end := chromedp.NewContext(allocator)
	t.Cleanup(endAllocator)
	t.Cleanup(end)
	b := &Browser{t: t, ctx: ctx}
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.messages = append(b.messages, fmt.Sprintf("%s: %s", m.Type, m.Text))
			b.mu.Unlock()
		}
	}()
	return b
}

// Messages are what the page and the browser have written to the console so far.
func (b *Browser) Messages() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.messages)
}

// Open goes to an address.
func (b *Browser) Open(url string) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.Navigate(url)); err != nil {
		b.t.Fatalf("open %s: %v", url, err)
	}
}

// Size makes the page so large.
func (b *Browser) Size(width, height int64) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, chromedp.EmulateViewport(width, height)); err != nil {
		b.t.Fatal(err)
	}
}

// Type presses keys, one after another. They bear the times of a scanner's, a few milliseconds
// apart, however slowly a busy machine hands them to the browser.
func (b *Browser) Type(keys string) {
	b.t.Helper()
	at := float64(time.Now().UnixMicro()) / 1e6
	inTime := func(k *input.DispatchKeyEventParams) { // for down, the character, and up
		k.Timestamp = input.TimeSinceEpoch(at)
		at += 0.001
	}
	if err := chromedp.Do(b.ctx, chromedp.KeyEvent(keys, inTime)); err != nil {
		b.t.Fatal(err)
	}
}

// Picture writes what the page looks like to a file.
func (b *Browser) Picture(path string) {
	b.t.Helper()
	data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// Text is all that is to be read on the page.
func (b *Browser) Text() string {
	b.t.Helper()
	return Eval[string](b, "document.body.innerText")
}

// Wait waits until an expression holds on the page.
func (b *Browser) Wait(what, expression string) {
	b.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		// Between two pages there may be nothing to ask.
		if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("!!("+expression+")")); err == nil && ok {
			return
		}
	}
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	b.t.Fatalf("waited in vain for %s; the page says:\n%s\n%s", what, text, strings.Join(b.Messages(), "\n"))
}

// Eval is the value of an expression on the page; a promise is waited for.
func Eval[T any](b *Browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// Tones is an expression that has a page count its tones in window.tones and be silent.
const Tones = `(window.tones = 0, window.AudioContext = class {
	currentTime = 0; destination = {}; resume() {}
	createOscillator() { return { frequency: {}, connect: (x) => x, start() { window.tones++; }, stop() {} }; }
	createGain() { return { gain: {}, connect: (x) => x }; }
}, true)`
