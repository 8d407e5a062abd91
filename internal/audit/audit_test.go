package audit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// copied is a log of its own.
func copied(m *Memory) *Memory {
	out := &Memory{}
	for _, r := range m.Rows {
		out.Rows = append(out.Rows, Row{bytes.Clone(r.Line), bytes.Clone(r.Hashes)})
	}
	return out
}

const entries = 24

var began = time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC)

// sample is the n-th act.
func sample(n int) Entry {
	kinds := []Kind{KindLease, KindEscrow, KindTokenWrite, KindPINSet, KindCertificateBound, KindInstalled, KindSession}
	e := Entry{
		Time: began.Add(time.Duration(n) * 1234567 * time.Microsecond), Kind: kinds[n%len(kinds)],
		Unit: fmt.Sprintf("AB-2026-%03d", n/7+1), Generation: 1, Epoch: int64(n/7 + 1), Job: fmt.Sprintf("AB-2026-%03d-g1-1", n/7+1),
	}
	if n%2 == 1 {
		e.TokenSerial, e.Step = fmt.Sprintf("SERIAL %d", n), "generate-key"
		e.IDs = map[string]string{"escrow": "1f0c-9", "certificateSerial": "40aa"}
		e.Hashes = map[string]string{"csr": fmt.Sprintf("%064x", n), "certificate": fmt.Sprintf("%064x", n*n)}
	}
	return e
}

func newLog(t *testing.T, n int) *Memory {
	t.Helper()
	d := &Memory{}
	for i := range n {
		if _, err := (Log{d}).Append(sample(i)); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

type keys struct {
	Keys
	station, central           note.Signer
	knowsStation, knowsCentral note.Verifier
}

func newKeys(t *testing.T) keys {
	t.Helper()
	var k keys
	k.Station = "bay-1"
	pair := func(name string) (note.Signer, note.Verifier) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSigner(name, key)
		if err != nil {
			t.Fatal(err)
		}
		v, err := NewVerifier(name, key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if name == Cosigner {
			other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			k.Central = []crypto.PublicKey{other.Public(), key.Public()}
		} else {
			k.StationKey = key.Public()
		}
		return s, v
	}
	k.station, k.knowsStation = pair("bay-1")
	k.central, k.knowsCentral = pair(Cosigner)
	return k
}

func checkpoint(t *testing.T, d *Memory, size int) Checkpoint {
	t.Helper()
	root, err := (Log{d}).Root(int64(size))
	if err != nil {
		t.Fatal(err)
	}
	return Checkpoint{Origin("bay-1", "i-1"), int64(size), root}
}

// TestNothingCanBeChanged changes a record in every way that there is and holds it
// against its last checkpoint.
func TestNothingCanBeChanged(t *testing.T) {
	whole := newLog(t, entries)
	anchor := checkpoint(t, whole, entries)
	if got, err := Verify(whole.All(), anchor, checkpoint(t, whole, 0), checkpoint(t, whole, 19)); err != nil || got.Root != anchor.Root || got.Size != entries {
		t.Fatalf("the record as it is: %v", err)
	}
	tried := 0
	noticed := func(what string, d *Memory) {
		tried++
		if _, err := Verify(d.All(), anchor); !errors.Is(err, ErrBroken) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range entries {
		for _, hashes := range []bool{false, true} {
			field := whole.Rows[n].Line
			if hashes {
				field = whole.Rows[n].Hashes
			}
			for i := range field {
				for bit := range 8 {
					if n > 0 && bit != i%8 {
						continue // one bit of every byte; of one entry, all of them
					}
					d := copied(whole)
					if hashes {
						d.Rows[n].Hashes[i] ^= 1 << bit
					} else {
						d.Rows[n].Line[i] ^= 1 << bit
						d.Rows[n].Hashes = nil // and where no hashes are kept
					}
					noticed(fmt.Sprintf("bit %d of byte %d of row %d (hashes: %v)", bit, i, n, hashes), d)
				}
			}
		}
		d := copied(whole)
		d.Rows = slices.Delete(d.Rows, n, n+1)
		noticed(fmt.Sprintf("without entry %d", n), d)
		noticed(fmt.Sprintf("cut to %d", n), &Memory{copied(whole).Rows[:n]})
		if n > 0 {
			d = copied(whole)
			d.Rows[n-1], d.Rows[n] = d.Rows[n], d.Rows[n-1]
			d.Rows[n-1].Hashes, d.Rows[n].Hashes = nil, nil
			var broken *BrokenError
			if _, err := Verify(d.All(), anchor); !errors.As(err, &broken) || broken.Index != int64(n-1) {
				t.Errorf("%d and %d swapped is noticed as %v", n-1, n, err)
			}
			noticed(fmt.Sprintf("%d and %d swapped", n-1, n), d)
		}
		// The whole written anew, with right hashes, from another entry on.
		d = newLog(t, n)
		for i := n; i < entries+3; i++ {
			e := sample(i)
			e.Epoch += 1000
			if _, err := (Log{d}).Append(e); err != nil {
				t.Fatal(err)
			}
		}
		noticed(fmt.Sprintf("another story from %d on", n), d)
	}
	t.Logf("%d changes, each noticed", tried)
}

// TestARowPutBackWithItsIndex: who deletes or swaps entries may number them again and
// compute all hashes; only the checkpoint tells.
func TestARowPutBackWithItsIndex(t *testing.T) {
	whole := newLog(t, entries)
	anchor := checkpoint(t, whole, entries)
	for n := range entries {
		for _, order := range [][]int{without(n), swapped(n)} {
			d := &Memory{}
			for _, i := range order {
				if _, err := (Log{d}).Append(sample(i)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Verify(d.All()); err != nil {
				t.Fatalf("in itself it holds: %v", err)
			}
			if _, err := Verify(d.All(), anchor); !errors.Is(err, ErrBroken) {
				t.Errorf("order %v: %v", order, err)
			}
		}
	}
}

func without(n int) (order []int) {
	for i := range entries {
		if i != n {
			order = append(order, i)
		}
	}
	return append(order, entries) // as long as before
}

func swapped(n int) (order []int) {
	for i := range entries {
		order = append(order, i)
	}
	order[n], order[(n+1)%entries] = order[(n+1)%entries], order[n]
	return order
}

// TestEveryByteOfACheckpointCounts flips every bit of a note with both signatures.
func TestEveryByteOfACheckpointCounts(t *testing.T) {
	k := newKeys(t)
	whole := newLog(t, entries)
	want := checkpoint(t, whole, entries)
	signed, err := want.Sign(k.station)
	if err != nil {
		t.Fatal(err)
	}
	if signed, err = Cosign(signed, k.knowsStation, k.central); err != nil {
		t.Fatal(err)
	}
	got, by, err := Open(signed, want.Origin, k.knowsStation, k.knowsCentral)
	if err != nil || got != want || !slices.Equal(by.By, []string{"bay-1", Cosigner}) || len(by.Unknown) != 0 {
		t.Fatalf("the note as it is: %v, %v, %v", got, by, err)
	}
	for i := range signed {
		for bit := range 8 {
			changed := bytes.Clone(signed)
			changed[i] ^= 1 << bit
			if _, err := k.OpenAnchor(changed, want.Origin); err == nil {
				t.Errorf("bit %d of byte %d is not missed", bit, i)
			}
		}
	}
	if c, err := k.OpenAnchor(signed, want.Origin); err != nil || c != want {
		t.Errorf("as an anchor: %v", err)
	}
	if c, err := k.OpenCosigned(signed, want.Origin); err != nil || c != want {
		t.Errorf("as co-signed: %v", err)
	}
	half, err := want.Sign(k.station)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.OpenAnchor(half, want.Origin); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("without the server: %v", err)
	}
	if _, err := k.OpenCosigned(half, want.Origin); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("as co-signed without the server: %v", err)
	}
	third, err := Cosign(signed, k.knowsStation, newKeys(t).central)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.OpenAnchor(third, want.Origin); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("with a third signature: %v", err)
	}
	for _, size := range []string{"024", "+24", "0x18", "-1", ""} {
		text := strings.Replace(want.text(), "\n24\n", "\n"+size+"\n", 1)
		if _, err := parse(text); err == nil || text == want.text() {
			t.Errorf("the size %q is taken", size)
		}
	}
	if _, _, err := Open(writtenOtherwise(t, want, k), want.Origin, k.knowsStation); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("a signature in another base64 is taken: %v", err)
	}
	if _, _, err := Open(signed, Origin("bay-1", "i-2"), k.knowsStation); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("another installation's: %v", err)
	}
	if _, _, err := Open(signed, want.Origin, newKeys(t).knowsStation); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("by unknown keys alone: %v", err)
	}
	if _, err := Cosign(signed, newKeys(t).knowsStation, k.central); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("co-signed for an unknown key: %v", err)
	}
}

// writtenOtherwise gives a checkpoint whose signature has another last letter in base64,
// which stands for the same bytes.
func writtenOtherwise(t *testing.T, c Checkpoint, k keys) []byte {
	t.Helper()
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for range 1000 { // until the signature's length leaves bits over
		signed, err := c.Sign(k.station)
		if err != nil {
			t.Fatal(err)
		}
		if end := bytes.LastIndex(signed, []byte("=")); end > 0 && signed[end-1] == '=' {
			signed[end-2] = letters[strings.IndexByte(letters, signed[end-2])+1]
			return signed
		}
	}
	t.Fatal("no signature has bits over")
	return nil
}

// TestProofs has the proofs checked by the library, for every entry of every size.
func TestProofs(t *testing.T) {
	whole := newLog(t, entries)
	l := Log{whole}
	for size := 1; size <= entries; size++ {
		root := checkpoint(t, whole, size).Root
		for n := range size {
			proof, err := l.ProveEntry(int64(size), int64(n))
			if err != nil {
				t.Fatal(err)
			}
			if err := tlog.CheckRecord(proof, int64(size), root, int64(n), tlog.RecordHash(whole.Rows[n].Line)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAppendLine takes a log over line by line, and nothing else.
func TestAppendLine(t *testing.T) {
	whole := newLog(t, entries)
	taken := &Memory{}
	for _, r := range whole.Rows {
		for _, wrong := range [][]byte{nil, []byte("{}"), append(bytes.Clone(r.Line), ' '), whole.Rows[(len(taken.Rows)+1)%entries].Line} {
			if _, err := (Log{taken}).AppendLine(wrong); !errors.Is(err, ErrEntry) {
				t.Fatalf("%q: %v", wrong, err)
			}
		}
		if _, err := (Log{taken}).AppendLine(r.Line); err != nil {
			t.Fatal(err)
		}
	}
	if checkpoint(t, taken, entries) != checkpoint(t, whole, entries) {
		t.Error("the copy has another root")
	}
}

// TestOnlyIDs: there is no room for a name, an address or a PIN among words.
func TestOnlyIDs(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"kind":      func(e *Entry) { e.Kind = "" },
		"kind 2":    func(e *Entry) { e.Kind = "two words" },
		"unit":      func(e *Entry) { e.Unit = "经办人甲" },
		"job":       func(e *Entry) { e.Job = "a@example.com" },
		"step":      func(e *Entry) { e.Step = "-x" },
		"code":      func(e *Entry) { e.Code = "it failed, because" },
		"serial":    func(e *Entry) { e.TokenSerial = "A\x00" },
		"serial 2":  func(e *Entry) { e.TokenSerial = " A" },
		"id":        func(e *Entry) { e.IDs = map[string]string{"escrow": ""} },
		"id's name": func(e *Entry) { e.IDs = map[string]string{"": "1"} },
		"hash":      func(e *Entry) { e.Hashes = map[string]string{"pin": "123456"} },
		"hash 2":    func(e *Entry) { e.Hashes = map[string]string{"csr": fmt.Sprintf("%064X", 255)} },
		"too long":  func(e *Entry) { e.Unit = string(bytes.Repeat([]byte("A"), 129)) },
		"epoch":     func(e *Entry) { e.Epoch = -1 },
		"time":      func(e *Entry) { e.Time = time.Time{} },
		"too much": func(e *Entry) {
			e.IDs = map[string]string{}
			for i := range 20 {
				e.IDs[fmt.Sprint("n", i)] = string(bytes.Repeat([]byte("A"), 120))
			}
		},
	} {
		e := sample(1)
		change(&e)
		if _, err := (Log{&Memory{}}).Append(e); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeys: other keys than those of TPMs are refused.
func TestKeys(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigner("bay-1", other); !errors.Is(err, ErrKey) {
		t.Errorf("P-384: %v", err)
	}
	if _, err := NewVerifier("bay-1", "no key"); !errors.Is(err, ErrKey) {
		t.Errorf("no key: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	line, err := sample(1).encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line)
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Decode(line)
		if err != nil {
			return
		}
		if again, err := e.encode(); err != nil || !bytes.Equal(again, line) {
			t.Fatalf("%q is read and written as %q: %v", line, again, err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte("usbkeyd/record/bay-1/i-1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if c, err := parse(string(text)); err == nil && c.text() != string(text) {
			t.Fatalf("%q is read and written as %q", text, c.text())
		}
	})
}
