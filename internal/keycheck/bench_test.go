package keycheck

import (
	"fmt"
	"runtime"
	"testing"
)

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		g := newGate()
		g.rsa()
		for _, c := range g.curves {
			c.guess()
		}
	}
}

func BenchmarkCheckRSA(b *testing.B) {
	for _, bits := range []int{2048, 3072, 4096} {
		b.Run(fmt.Sprint(bits), func(b *testing.B) { benchmarkCheck(b, newRSA(b, bits), Want{ModulusBits: bits}) })
	}
}

func BenchmarkCheckEC(b *testing.B) {
	for _, want := range []Want{p256(), p384()} {
		b.Run(curveOf(want).Params().Name, func(b *testing.B) { benchmarkCheck(b, newEC(b, curveOf(want)), want) })
	}
}

func benchmarkCheck(b *testing.B, spki []byte, want Want) {
	b.Helper()
	g := gate()
	for b.Loop() {
		if err := g.Check(spki, want); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParts says where the time of an RSA check goes.
func BenchmarkParts(b *testing.B) {
	key, err := parse(newRSA(b, 2048))
	if err != nil {
		b.Fatal(err)
	}
	g, n := gate().rsa(), key.rsa.n
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"small factors", func() { g.smallFactor(n) }},
		{"ROCA", func() { rocaShaped(n, g.roca) }},
		{"power", func() { g.power(n) }},
		{"prime", func() { n.ProbablyPrime(0) }},
		{"Fermat", func() { g.closePrimes(n, fermatRounds) }},
	} {
		b.Run(part.name, func(b *testing.B) {
			for b.Loop() {
				part.run()
			}
		})
	}
}

// BenchmarkModuli checks one RSA-2048 key against so many others.
func BenchmarkModuli(b *testing.B) {
	for _, count := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint("against ", count), func(b *testing.B) {
			before := heap()
			m := filled(b, count)
			used := heap() - before
			key := Known{"new", newRSA(b, 2048)}
			for b.Loop() {
				if err := m.Check(key); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(used)/(1<<20), "MiB")
		})
	}
}

// BenchmarkAdd is what one known RSA-2048 key costs at start.
func BenchmarkAdd(b *testing.B) {
	keys := make([]Known, 4096)
	for i := range keys {
		keys[i] = Known{fmt.Sprint(i), rsaSPKI(b, odd(b, 2048), f4())}
	}
	m := new(Moduli)
	for i := 0; b.Loop(); i++ {
		if i%len(keys) == 0 {
			m = new(Moduli)
		}
		if err := m.Add(keys[i%len(keys)]); err != nil {
			b.Fatal(err)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
