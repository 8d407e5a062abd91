package typeface

import (
	"errors"
	"os"
	"testing"
)

// file is where Debian's package fonts-lxgw-wenkai puts it.
const file = "/usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf"

func TestFonts(t *testing.T) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	collection := append([]byte("ttcf\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x10"), data...)
	for name, bad := range map[string][]byte{
		"empty": {}, "collection": collection, "PostScript outlines": append([]byte("OTTO"), data[4:]...),
		"cut off": data[:1000], "text": []byte("no font at all"),
	} {
		if _, err := Parse(name, bad); !errors.Is(err, ErrFont) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
