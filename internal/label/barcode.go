package label

import (
	"fmt"
	"html/template"
	"image/color"
	"iter"
	"strings"

	"github.com/boombuler/barcode"
	"github.com/boombuler/barcode/code128"
	"github.com/boombuler/barcode/qr"
)

// symbol is a barcode in modules, with the quiet zone that it needs on each side: ten
// modules beside a Code 128 (ISO/IEC 15417, 4.7), four around a QR code (ISO/IEC 18004, 9.1).
type symbol struct {
	code   barcode.Barcode
	beside int
	above  int
}

// run is dark modules side by side in a row, from the symbol's upper left corner, its quiet
// zone counted.
type run struct{ x, y, n int }

// bars is a text as a Code 128, of one row.
func bars(text string) (symbol, error) {
	code, err := code128.Encode(text)
	if err != nil {
		return symbol{}, fmt.Errorf("a Code 128 of %q: %w", text, err)
	}
	return symbol{code: code, beside: 10}, nil
}

// square is a text as a QR code; up to 15 % of it may be illegible.
func square(text string) (symbol, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return symbol{}, fmt.Errorf("a QR code of %q: %w", text, err)
	}
	return symbol{code: code, beside: 4, above: 4}, nil
}

// width and height are in modules.
func (s symbol) width() int  { return s.code.Bounds().Dx() + 2*s.beside }
func (s symbol) height() int { return s.code.Bounds().Dy() + 2*s.above }

// Widths of a module in millimetres. A label printer of 203 dpi has eight dots a millimetre.
// Where CUPS puts the page a part of a dot aside, every bar becomes a dot wider and every gap
// a dot narrower: with two dots nothing reads that any more, with three it does no harm.
const (
	dot       = 0.125
	leastBar  = 3 * dot
	widestBar = 4 * dot
	widestQR  = 8 * dot
)

// module is the widest module with which the symbol is no wider than room, in whole dots; 0
// when there is none.
func (s symbol) module(room, widest float64) float64 {
	dots := int(room / float64(s.width()) / dot)
	m := min(float64(dots)*dot, widest)
	if m < leastBar {
		return 0
	}
	return m
}

// runs are all dark modules.
func (s symbol) runs() iter.Seq[run] {
	return func(yield func(run) bool) {
		size := s.code.Bounds()
		for y := range size.Dy() {
			for x := 0; x < size.Dx(); x++ {
				n := 0
				for x+n < size.Dx() && dark(s.code.At(size.Min.X+x+n, size.Min.Y+y)) {
					n++
				}
				if n > 0 && !yield(run{x + s.beside, y + s.above, n}) {
					return
				}
				x += n
			}
		}
	}
}

func dark(c color.Color) bool {
	r, _, _, _ := c.RGBA()
	return r < 0x8000
}

// svg draws the symbol, so many millimetres wide and high. Nothing of the text is in it but
// the bars.
func (s symbol) svg(width, height float64) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%gmm" height="%gmm" viewBox="0 0 %d %d" preserveAspectRatio="none" shape-rendering="crispEdges"><path fill="#000" d="`,
		width, height, s.width(), s.height())
	for r := range s.runs() {
		fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", r.x, r.y, r.n, r.n)
	}
	b.WriteString(`"/></svg>`)
	return template.HTML(b.String()) // #nosec G203 -- numbers alone
}
