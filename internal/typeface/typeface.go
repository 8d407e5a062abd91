// Package typeface is a TrueType font together with the judgement whether it can write a
// text: what makes PDF leaves out what a font has no glyph for, and a name with a gap in it
// is the name of somebody else.
//
// It must not know what is written with it.
package typeface

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

// Sentinel is a constant error of this package.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// ErrFont: the file is no TrueType font of its own.
const ErrFont Sentinel = "the font cannot be used"

// GlyphError says that a text is not printed, because the font cannot write one of its
// characters.
type GlyphError struct {
	Rune rune
	Font string
}

// Error implements error.
func (e *GlyphError) Error() string {
	if unicode.IsPrint(e.Rune) {
		return fmt.Sprintf("the font %s has no glyph for %c (U+%04X)", e.Font, e.Rune, e.Rune)
	}
	return fmt.Sprintf("the font %s has no glyph for U+%04X", e.Font, e.Rune)
}

// trueType is the version of a font file with TrueType outlines (OpenType 1.9, "Table
// directory"); the library that makes PDF writes no others.
const trueType = 0x00010000

// Parse takes a font file. A collection (.ttc) and a font with PostScript outlines are
// ErrFont: the library would leave characters out.
func Parse(name string, data []byte) (*Font, error) {
	if len(data) < 4 || binary.BigEndian.Uint32(data) != trueType {
		return nil, fmt.Errorf("%w: %s is not a TrueType font of its own (a .ttf; not a .ttc or .otf)", ErrFont, name)
	}
	glyphs, err := sfnt.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrFont, name, err)
	}
	return &Font{name: name, data: data, glyphs: glyphs}, nil
}

// Name is the file's name.
func (f *Font) Name() string { return f.name }

// Data is the file; nobody changes it.
func (f *Font) Data() []byte { return f.data }

// Check wants a glyph for every character, and something to be seen in it unless it is a
// blank: some fonts have an empty glyph for what they cannot write. *GlyphError.
func (f *Font) Check(texts ...string) error {
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
