package canary

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const pin = "902847561938"

// written is a PIN as it may stand somewhere, in every form.
func written(pin string) map[string]string {
	var little, big, swapped strings.Builder
	for i, c := range []byte(pin) {
		little.Write([]byte{c, 0})
		big.Write([]byte{0, c})
		swapped.WriteByte(pin[i^1])
	}
	high, _ := hex.DecodeString(pin)
	low, _ := hex.DecodeString(swapped.String())
	out := map[string]string{
		"plain": "pin=" + pin + ";", "UTF-16LE": "x" + little.String(), "UTF-16BE": "x" + big.String(),
		"hex": hex.EncodeToString([]byte("a" + pin + "b")), "hex, capitals": strings.ToUpper(hex.EncodeToString([]byte(pin))),
		"BCD": string(high), "BCD, low digit first": string(low),
	}
	for lead := range 6 {
		text := []byte(strings.Repeat("?", lead) + pin + "???")
		for name, encoding := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64url": base64.URLEncoding, "raw base64": base64.RawStdEncoding} {
			out[fmt.Sprint(name, " after ", lead)] = encoding.EncodeToString(text)
		}
	}
	return out
}

// Each form is found in something that really was written in it, and not in another PIN's.
func TestEveryFormIsFound(t *testing.T) {
	for name, text := range written(pin) {
		s := Search{}
		s.Add("PIN", pin)
		s.In("here", []byte("before"+text+"after"))
		if len(s.Found) == 0 {
			t.Errorf("%s: not found in %q", name, text)
		}
		if strings.Contains(strings.Join(s.Found, " "), pin) {
			t.Errorf("%s: what was found shows the PIN", name)
		}
	}
	s := Search{}
	s.Add("PIN", pin)
	for _, text := range written("902847560938") {
		s.In("here", []byte(text))
	}
	if len(s.Found) > 0 {
		t.Errorf("found in another PIN's: %v", s.Found)
	}
}

func TestFoldersAndNames(t *testing.T) {
	dir := t.TempDir()
	for path, content := range map[string]string{"a/plain": "no secret", "a/log": "PIN " + pin, "b-" + pin: ""} {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := Search{}
	s.Add("PIN", pin)
	if err := s.Folder(dir); err != nil {
		t.Fatal(err)
	}
	if len(s.Found) != 2 || s.Files != 3 {
		t.Errorf("%d files, found %v", s.Files, s.Found)
	}
	s = Search{}
	s.Add("PIN", pin)
	if err := s.Folder(dir, filepath.Join(dir, "a")); err != nil || len(s.Found) != 1 || s.Files != 1 {
		t.Errorf("but for a folder: %d files, found %v (%v)", s.Files, s.Found, err)
	}
}
