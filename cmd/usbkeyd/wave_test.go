package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/config"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/centraltest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
	"github.com/usbkeyd/usbkeyd/pkcs11/pkcs11test"
)

// slow is how long a token of a wave takes to generate its key; hardware takes seconds.
const slow = 3 * time.Second

// BenchmarkWave writes waves of tokens whose key generation takes three seconds and
// reports what a wave takes beside one token, measured first in the same run: 1 is
// as long. All tokens of a wave are written at the same time, beside the central
// server and its CA on the same machine.
func BenchmarkWave(b *testing.B) {
	alone := wave(b, 1, 1, nil)
	for _, tokens := range []int{32, 64} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			for b.Loop() {
				took := wave(b, tokens, tokens, nil)
				b.ReportMetric(took.Seconds(), "s/wave")
				b.ReportMetric(took.Seconds()/alone.Seconds(), "of-one-token")
			}
		})
	}
}

// BenchmarkBadNeighbours is a wave of 32 of which one token hangs and one crashes its
// module, beside a good wave in the same run: what the other 30 lose by them.
func BenchmarkBadNeighbours(b *testing.B) {
	good := wave(b, 32, 30, nil)
	for b.Loop() {
		took := wave(b, 32, 30, func(i int, shim pkcs11test.Shim) {
			switch i {
			case 7:
				shim.Rules(b, "C_GenerateKeyPair hang")
			case 19:
				shim.Rules(b, "C_GenerateKeyPair segv")
			}
		})
		b.ReportMetric(took.Seconds(), "s/30-tokens")
		b.ReportMetric(took.Seconds()/good.Seconds(), "of-a-good-wave")
	}
}

// wave has a daemon wait for work with so many tokens attached, orders as many keys,
// and returns the time until want of them are INSTALLED. misbehave may change the
// rules of a token's module.
func wave(b *testing.B, tokens, want int, misbehave func(int, pkcs11test.Shim)) time.Duration {
	b.Helper()
	// It sweeps as often as a real one, not as often as suits tests.
	s := newStationAt(b, centraltest.New(b, func(c *central.Config) { c.SweepInterval = time.Second }), tokens, "ec-p256")
	station := s.shimmed(b, misbehave)
	ctx, stop := context.WithCancel(b.Context())
	var out bytes.Buffer
	run := newRun(streams{in: strings.NewReader(""), out: &out, err: &out}, &s.Config, func() (*config.Station, error) { return station, nil }, notShutIn)
	run.SetArgs([]string{"--log", filepath.Join(s.Dir, "log")})
	ended := make(chan error, 1)
	go func() { ended <- run.ExecuteContext(ctx) }()
	stationtest.Eventually(b, "a process for every module", func() bool { return len(children(b, os.Getpid())) >= tokens })
	time.Sleep(2 * time.Second) // until it has looked at all of them and waits for work

	begun := time.Now()
	s.Central.Order(b, tokens)
	time.Sleep(slow)
	stationtest.Eventually(b, "the wave", func() bool {
		time.Sleep(20 * time.Millisecond) // asking costs time of its own
		return s.installed(b) >= want
	})
	took := time.Since(begun)
	stop()
	if err := <-ended; err != nil {
		b.Fatalf("%v\n%s", err, &out)
	}
	return took
}

// shimmed puts a slow module before every token of the station.
func (s *station) shimmed(b *testing.B, misbehave func(int, pkcs11test.Shim)) *config.Station {
	b.Helper()
	station := s.load()
	for i := range s.Bays {
		shim := s.behindShim(station, i, fmt.Sprintf("C_GenerateKeyPair wait %d", slow.Milliseconds()))
		if misbehave != nil {
			misbehave(i, shim)
		}
	}
	for i := range station.TokenProfiles { // what hangs is waited for at the end
		station.TokenProfiles[i].Deadlines.KeyGeneration = 3 * slow
	}
	return station
}

// installed counts the INSTALLED units.
func (s *station) installed(b *testing.B) int {
	b.Helper()
	n := 0
	for _, u := range s.Central.Units(b) {
		if u.State == api.INSTALLED {
			n++
		}
	}
	return n
}
