package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// The sides of a series; a report names its runs by them.
const (
	sideFloor   = "floor"
	sideShell   = "shell"
	sideStation = "usbkeyd"
	sideWithout = "usbkeyd without"
	sideOne     = "one token"
	sideSome    = "16 tokens"
	sideAll     = "64 tokens"
)

// work is what a side is asked for.
type work struct {
	algorithm string
	tokens    int
	// atOnce is how many tokens the floor and the shell make at the same time; a station
	// decides that itself.
	atOnce int
	// rules are the shim's; without any the module is SoftHSM itself.
	rules []string
	// program is the daemon's.
	program string
	// memory has the daemon's children looked at in the middle of their work.
	memory bool
}

type side struct {
	name string
	work work
	make func(*bench, context.Context, work) (Run, error)
}

// series are sides that are measured in turn, because they are compared.
type series struct {
	name  string
	sides []side
}

func seriesNames() []string {
	var names []string
	for _, s := range allSeries(1) {
		names = append(names, s.name)
	}
	return names
}

// usbLike is what the calls of a token on USB take, in ms.
func usbLike() []string {
	var rules []string
	for _, r := range []struct {
		function string
		ms       int
	}{
		{"C_InitToken", 800}, {"C_InitPIN", 150}, {"C_Login", 120}, {"C_Sign", 200}, {"C_CreateObject", 400},
		{"C_SetAttributeValue", 80}, {"C_FindObjects", 30}, {"C_GetAttributeValue", 30}, {"C_GenerateKeyPair", 200},
	} {
		rules = append(rules, fmt.Sprintf("%s wait %d", r.function, r.ms))
	}
	return rules
}

// allSeries are all that there are, with so many tokens a side.
func allSeries(tokens int) []series {
	ec := work{algorithm: "ec-p256", tokens: tokens, atOnce: 2, program: "usbkeyd"}
	without := ec
	without.program = "usbkeyd-without"
	rsa := ec
	rsa.algorithm = "rsa2048"
	usb := work{algorithm: "ec-p256", tokens: min(16, tokens), atOnce: 16, rules: usbLike(), program: "usbkeyd"}
	slow := func(n int) work {
		return work{algorithm: "ec-p256", tokens: min(n, tokens), rules: []string{"C_GenerateKeyPair wait 3000"}, program: "usbkeyd"}
	}
	most := slow(64)
	most.memory = true
	floor, shell, station := (*bench).floor, (*bench).shell, (*bench).station
	return []series{
		{"ec", []side{{sideFloor, ec, floor}, {sideStation, ec, station}, {sideWithout, without, station}, {sideShell, ec, shell}}},
		{"rsa", []side{{sideFloor, rsa, floor}, {sideStation, rsa, station}, {sideShell, rsa, shell}}},
		{"slow", []side{{sideOne, slow(1), station}, {sideSome, slow(16), station}, {sideAll, most, station}}},
		{"usb", []side{{sideFloor, usb, floor}, {sideStation, usb, station}}},
	}
}

// interleave runs every side once for each pair, beginning with another one each time.
func (b *bench) interleave(ctx context.Context, s series) (Series, error) {
	done := Series{Name: s.name}
	load, err := loadAverage()
	if err != nil {
		return done, err
	}
	done.LoadBefore = load
	for _, side := range s.sides {
		done.Sides = append(done.Sides, Side{Name: side.name})
	}
	for pair := range b.o.pairs {
		for i := range s.sides {
			at := (pair + i) % len(s.sides)
			r, err := s.sides[at].make(b, ctx, s.sides[at].work)
			if err != nil {
				return done, fmt.Errorf("%s, pair %d: %w", s.sides[at].name, pair+1, err)
			}
			done.Sides[at].Runs = append(done.Sides[at].Runs, r)
			b.say("%s %2d/%d %-16s %3d tokens in %6.2f s, %6.2f ms of processor each", s.name, pair+1, b.o.pairs, s.sides[at].name, r.Tokens, r.Wall.Seconds(), milliseconds(r.CPU)/float64(r.Tokens))
		}
	}
	return done, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// bench is what the runs have in common.
type bench struct {
	o        options
	progress io.Writer
	order    []byte // the sample order
	ca       authority
	officers [2]officer
	runs     int
}

func newBench(o options, progress io.Writer) (*bench, error) {
	b := &bench{o: o, progress: progress}
	var err error
	if b.order, err = os.ReadFile("docs/examples/orders/sample-2026-0001.json"); err != nil {
		return nil, fmt.Errorf("run it at the root of the repository: %w", err)
	}
	if b.ca, err = newAuthority(o.dir); err != nil {
		return nil, err
	}
	for i := range b.officers {
		if b.officers[i], err = newOfficer(o.dir, i+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, format+"\n", args...)
}

// loadAverage is how many processes wanted a processor in the last minute.
func loadAverage() (float64, error) {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.Fields(string(text))[0], 64)
}
