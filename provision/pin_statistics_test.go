package provision

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"math"
	"testing"
)

// The statistical test of the generator. For each place of the PIN it compares how often
// each digit came with how often it should have, by chi-square with 9 degrees of freedom.
// falseAlarm is the chance that a right generator fails at one place; over the six places
// of both tests together that is less than 12 in a thousand million runs.
const (
	falseAlarm = 1e-9
	places     = 6
	draws      = 400_000
)

// chance is how likely chi-square with 9 degrees of freedom is above x: for odd degrees
// the regularised gamma function is a finite sum.
func chance(x float64) float64 {
	r := math.Sqrt(x)
	return math.Erfc(math.Sqrt(x/2)) + math.Sqrt(2/math.Pi)*math.Exp(-x/2)*(r+math.Pow(r, 3)/3+math.Pow(r, 5)/15+math.Pow(r, 7)/105)
}

// unlike draws PINs and returns the chance of what was seen at the worst place, when each
// digit has the expected share of its place.
func unlike(p PINPolicy, random io.Reader, expected [places][10]float64) (float64, error) {
	random = bufio.NewReaderSize(random, 1<<16)
	var seen [places][10]float64
	for range draws {
		pin, err := p.Draw(random)
		if err != nil {
			return 0, err
		}
		for place := range places {
			seen[place][pin[place]-'0']++
		}
	}
	worst := 1.0
	for place := range places {
		sum := 0.0
		for digit := range 10 {
			want := expected[place][digit] * draws
			sum += (seen[place][digit] - want) * (seen[place][digit] - want) / want
		}
		worst = min(worst, chance(sum))
	}
	return worst, nil
}

// allowed is each digit's share of each place over all PINs that the policy allows,
// counted one by one.
func allowed(p PINPolicy) (share [places][10]float64) {
	n := 0.0
	for i := range 1_000_000 {
		pin := fmt.Sprintf("%06d", i)
		if p.denies(pin, nil) {
			continue
		}
		n++
		for place := range places {
			share[place][pin[place]-'0']++
		}
	}
	for place := range places {
		for digit := range 10 {
			share[place][digit] /= n
		}
	}
	return share
}

func TestDrawFavoursNoPIN(t *testing.T) {
	for name, p := range map[string]PINPolicy{
		"every PIN":          {Length: places, Alphabet: "0123456789"},
		"but guessable ones": {Length: places, Alphabet: "0123456789", Deny: PINRules()},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unlike(p, rand.Reader, allowed(p))
			if err != nil {
				t.Fatal(err)
			}
			if got < falseAlarm {
				t.Errorf("what was drawn has a chance of %.2g", got)
			}
		})
	}
}

// TestStatisticsSeeABias: the test above fails for generators as they are written by mistake.
func TestStatisticsSeeABias(t *testing.T) {
	policy := PINPolicy{Length: places, Alphabet: "0123456789"}
	for name, biased := range map[string]io.Reader{
		"folded instead of rejected":    folded{rand.Reader},
		"a place that likes its digits": &dull{random: rand.Reader},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := unlike(policy, biased, allowed(policy))
			if err != nil {
				t.Fatal(err)
			}
			if got >= falseAlarm {
				t.Errorf("a chance of %.2g passes", got)
			}
		})
	}
}

// folded gives what "byte modulo 10" would: 250 to 255 come back as 0 to 5.
type folded struct{ random io.Reader }

func (f folded) Read(p []byte) (int, error) {
	n, err := f.random.Read(p)
	for i := range p[:n] {
		if p[i] >= 250 {
			p[i] -= 250
		}
	}
	return n, err
}

// dull makes the first byte of a PIN even once in 32.
type dull struct {
	random io.Reader
	at     int
}

func (d *dull) Read(p []byte) (int, error) {
	n, err := d.random.Read(p)
	for i := range p[:n] {
		if p[i] >= 250 {
			p[i] = 249 // no rejection, so that every sixth byte begins a PIN
		}
		if d.at++; d.at%places == 1 && d.at/places%32 == 0 {
			p[i] &^= 1
		}
	}
	return n, err
}
