package provision

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machine seals as the TPM of one machine does: another one does not open it.
func machine(name string) *Sealing {
	return &Sealing{
		Seal: func(key []byte) ([]byte, error) { return append([]byte(name+":"), mask(key)...), nil },
		Unseal: func(box []byte) ([]byte, error) {
			rest, ours := bytes.CutPrefix(box, []byte(name+":"))
			if !ours {
				return nil, errors.New("another machine's")
			}
			return mask(rest), nil
		},
		As: name,
	}
}

// mask hides the key from a search for it.
func mask(b []byte) []byte {
	out := slices.Clone(b)
	for i := range out {
		out[i] ^= 0x5a
	}
	return out
}

func files(t *testing.T, dir string) (names []string, all []byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	return names, all
}

// opens says whether a vault opens what another one sealed.
func opens(t *testing.T, box []byte, v *Vault) {
	t.Helper()
	if got, err := v.open("job", "field", box); err != nil || got != "secret" {
		t.Errorf("%q, %v: it is another key", got, err)
	}
}

func TestOpenKey(t *testing.T) {
	dir := t.TempDir()
	var recovered []byte
	here := machine("here")
	here.Envelope = func(key []byte) ([]byte, error) {
		recovered = slices.Clone(key)
		return []byte("envelope"), nil
	}
	v, err := OpenKey(dir, true, here)
	if err != nil {
		t.Fatal(err)
	}
	box := v.seal("job", "field", "secret")
	names, all := files(t, dir)
	if !slices.Equal(names, []string{recoveryKeyFile, sealedKeyFile}) || bytes.Contains(all, recovered) {
		t.Errorf("the folder holds %v, the key in the clear: %t", names, bytes.Contains(all, recovered))
	}
	if v, err = OpenKey(dir, false, here); err != nil {
		t.Fatal(err)
	}
	opens(t, box, v)
	if _, err := OpenKey(dir, false, machine("elsewhere")); err == nil || !strings.Contains(err.Error(), "another machine's") {
		t.Errorf("another machine: %v", err)
	}
	if _, err := OpenKey(dir, false, nil); !errors.Is(err, ErrKeySealed) {
		t.Errorf("without a TPM: %v, want ErrKeySealed", err)
	}
	wrong := machine("here")
	wrong.Unseal = func([]byte) ([]byte, error) { return bytes.Repeat([]byte{7}, vaultKeyLen), nil }
	for name, open := range map[string]func() (*Vault, error){
		"OpenKey": func() (*Vault, error) { return OpenKey(dir, false, wrong) },
		"UseKey":  func() (*Vault, error) { return UseKey(dir, wrong) },
	} {
		if _, err := open(); err == nil || !strings.Contains(err.Error(), "not the journal's key") {
			t.Errorf("%s, when the TPM opens another key: %v", name, err)
		}
	}
	// Nobody makes another key as long as there is a journal.
	if err := os.Remove(filepath.Join(dir, sealedKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(dir, false, here); err == nil || !strings.Contains(err.Error(), "is missing, but there is a journal") {
		t.Errorf("without the sealed key: %v", err)
	}
}

// TestReseal: only the journal's own key is taken, and it is then good on that machine.
func TestReseal(t *testing.T) {
	dir := t.TempDir()
	var recovered []byte
	here, there := machine("here"), machine("there")
	here.Envelope = func(key []byte) ([]byte, error) {
		recovered = slices.Clone(key)
		return []byte("envelope"), nil
	}
	v, err := OpenKey(dir, true, here)
	if err != nil {
		t.Fatal(err)
	}
	box := v.seal("job", "field", "secret")
	for name, key := range map[string][]byte{"another key": make([]byte, vaultKeyLen), "half of it": recovered[:16], "nothing": nil} {
		if err := Reseal(dir, key, there); err == nil || !strings.Contains(err.Error(), "not the journal's key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenKey(dir, false, here); err != nil {
		t.Errorf("the refused ones have changed something: %v", err)
	}
	if err := Reseal(dir, recovered, there); err != nil {
		t.Fatal(err)
	}
	if v, err = OpenKey(dir, false, there); err != nil {
		t.Fatal(err)
	}
	opens(t, box, v)
	if names, _ := files(t, dir); slices.Contains(names, recoveryKeyFile) {
		t.Error("a recovery copy stays though nobody is to recover any more")
	}
}

// TestSealingAnExistingKey: a station that gets a TPM goes on with its journal, whatever
// crashes on the way.
func TestSealingAnExistingKey(t *testing.T) {
	here := machine("here")
	dir := t.TempDir()
	v, err := OpenKey(dir, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	box := v.seal("job", "field", "secret")
	plain := filepath.Join(dir, plainKeyFile)
	key, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		prepare func()
		want    string
	}{
		{"sealed at the next start", func() {}, ""},
		{"crash before the file was removed", func() { must(t, os.WriteFile(plain, key, 0o600)) }, ""},
		{"crash that left an empty file", func() { must(t, os.WriteFile(plain, nil, 0o600)) }, ""},
		{"another key beside it", func() { must(t, os.WriteFile(plain, make([]byte, vaultKeyLen), 0o600)) }, "another key"},
		{"sealed file of half its length", func() {
			must(t, os.Remove(plain))
			data, err := os.ReadFile(filepath.Join(dir, sealedKeyFile))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, sealedKeyFile), data[:len(data)/2], 0o600))
		}, "damaged"},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.prepare()
			v, err := OpenKey(dir, false, here)
			if row.want != "" {
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Errorf("%v, want %q", err, row.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			opens(t, box, v)
			if _, err := os.Stat(plain); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the plain key is still there: %v", err)
			}
		})
	}
}

// TestSealedAnew: what the configuration says of registers and officers holds after the
// next start, and a TPM that opens something else replaces nothing.
func TestSealedAnew(t *testing.T) {
	dir := t.TempDir()
	here := machine("here")
	v, err := OpenKey(dir, true, here)
	must(t, err)
	box := v.seal("job", "field", "secret")
	envelopes := 0
	here.As = "here, officers"
	here.Envelope = func([]byte) ([]byte, error) { envelopes++; return []byte("envelope"), nil }
	for range 2 {
		v, err = OpenKey(dir, false, here)
		must(t, err)
		opens(t, box, v)
	}
	if names, _ := files(t, dir); envelopes != 1 || !slices.Contains(names, recoveryKeyFile) {
		t.Errorf("%d envelopes were made, the folder holds %v", envelopes, names)
	}
	bad := machine("here")
	bad.As = "changed"
	bad.Seal = func(key []byte) ([]byte, error) { return []byte("here:something else"), nil }
	if _, err := OpenKey(dir, false, bad); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("a TPM that opens something else: %v", err)
	}
	v, err = OpenKey(dir, false, here)
	must(t, err)
	opens(t, box, v)
}

// TestUseKey: who works beside the daemon opens the key, and makes, seals and removes nothing.
func TestUseKey(t *testing.T) {
	dir, here := t.TempDir(), machine("here")
	refused := func(when string, sealing *Sealing, want error) {
		t.Helper()
		before, content := files(t, dir)
		if _, err := UseKey(dir, sealing); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", when, err)
		}
		if after, now := files(t, dir); !slices.Equal(after, before) || !bytes.Equal(now, content) {
			t.Errorf("%s: %v became %v", when, before, after)
		}
	}
	refused("no key", here, nil)
	refused("no key, and none sealed", nil, nil)
	v, err := OpenKey(dir, true, nil)
	must(t, err)
	box := v.seal("job", "field", "secret")
	v, err = UseKey(dir, nil)
	must(t, err)
	opens(t, box, v)
	refused("a key that is still in a file", here, nil)
	_, err = OpenKey(dir, false, here)
	must(t, err)
	v, err = UseKey(dir, here)
	must(t, err)
	opens(t, box, v)
	refused("another machine", machine("elsewhere"), nil)
	here.As = "here, with a register"
	refused("it is to be sealed anew", here, ErrKeySealed)
	if err := os.WriteFile(filepath.Join(dir, plainKeyFile), []byte("left behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	here.As = "here"
	refused("a file that should be gone", here, ErrKeySealed)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
