//go:build pictures

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/console/consoletest"
)

// TestPictures takes a picture of each screen in both languages. scripts/screenshots runs it
// beside a station: LINK is the file that usbkeyd console wrote, OUT where the pictures go,
// ORDER an order to show.
func TestPictures(t *testing.T) {
	link, out, order := os.Getenv("LINK"), os.Getenv("OUT"), os.Getenv("ORDER")
	b := consoletest.Start(t, "zh-CN")
	b.Open("file://" + link)
	b.Wait("a screen", "document.body.dataset.state === 'live'")
	b.Wait("a bay that waits for somebody, and one in quarantine", "document.querySelector('.bay.waiting') && document.querySelector('.bay.quarantined')")
	consoletest.Eval[bool](b, "location.hash = '#/mailers', true")
	b.Wait("a letter to be printed", "document.querySelector('.letters tr.ready')")
	for _, language := range []string{"zh-CN", "en"} {
		consoletest.Eval[bool](b, fmt.Sprintf("document.getElementById('language-%s').click(), true", language))
		b.Wait(language, fmt.Sprintf("document.documentElement.lang === '%s'", language))
		for _, screen := range []string{"bays", "queue", "today", "packing", "mailers", "quarantine", "stock", "station", "order/" + order} {
			consoletest.Eval[bool](b, fmt.Sprintf("window.was = document.getElementById('main').firstElementChild, location.hash = '#/%s', true", screen))
			b.Wait(screen, "document.getElementById('main').firstElementChild !== window.was && document.getElementById('main').children.length > 0")
			b.Size(1366, 768)
			if screen == "bays" { // all of them
				b.Size(1920, 1130)
			}
			name, _, _ := strings.Cut(screen, "/")
			b.Picture(filepath.Join(out, fmt.Sprintf("console-%s.%s.png", name, language)))
		}
	}
}
