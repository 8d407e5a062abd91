package mailer

import (
	"encoding/binary"
	"fmt"
	"unicode"

	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// Font is a TrueType font whose glyphs can be asked for.
type Font struct {
	name   string
	data   []byte
	glyphs *sfnt.Font
}

// trueType is the version of a font file with TrueType outlines (OpenType 1.9, "Table
// directory"); the library writes no others.
const trueType = 0x00010000

// ParseFont takes a font file. A collection (.ttc) and a font with PostScript outlines
// are ErrFont: the library would leave characters out.
func ParseFont(name string, data []byte) (*Font, error) {
	if len(data) < 4 || binary.BigEndian.Uint32(data) != trueType {
		return nil, fmt.Errorf("%w: %s is not a TrueType font of its own (a .ttf; not a .ttc or .otf)", ErrFont, name)
	}
	glyphs, err := sfnt.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFont, name, err)
	}
	return &Font{name: name, data: data, glyphs: glyphs}, nil
}

// check wants a glyph for every character, and something to be seen in it unless it is a
// blank: some fonts have an empty glyph for what they cannot write.
func (f *Font) check(texts ...string) error {
	var buf sfnt.Buffer
	for _, text := range texts {
		for _, r := range text {
			index, err := f.glyphs.GlyphIndex(&buf, r)
			if err != nil || index == 0 || !unicode.IsGraphic(r) {
				return &GlyphError{Rune: r, Font: f.name}
			}
			outline, err := f.glyphs.LoadGlyph(&buf, index, fixed.I(int(f.glyphs.UnitsPerEm())), nil)
			if err != nil || len(outline) == 0 && !unicode.IsSpace(r) {
				return &GlyphError{Rune: r, Font: f.name}
			}
		}
	}
	return nil
}
