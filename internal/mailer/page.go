package mailer

import (
	"fmt"

	"github.com/signintech/gopdf"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
)

// Measures of the page, in millimetres from its left and upper edges. The window's are
// those of DIN 5008, form B, which lies in the window of a DL envelope however the sheet
// moves in it.
const (
	left         = 25.0
	windowTop    = 50.0
	windowBottom = 88.0
	windowWidth  = 80.0
	foldOne      = 105.0
	foldTwo      = 210.0
	insideTop    = 118.0
	insideWidth  = 160.0
	adviceTop    = 222.0
)

// The PIN, a character a cell, so that none runs into the next.
const (
	pinTop    = 158.0
	pinCell   = 10.0
	pinPerRow = 16
	pinRows   = 4
	pinRow    = 11.0
)

// line is text that stands at one place.
type line struct {
	x, y, size float64 // size in points
	text       string
}

// Render makes the page as PDF. The PIN is in the returned bytes and nowhere else that
// can be wiped; whoever has handed them on clears them. Errors: ErrIncomplete, ErrNoRoom,
// typeface.ErrFont, *typeface.GlyphError.
func Render(f *typeface.Font, l Letter) ([]byte, error) {
	pdf, lines, err := compose(f, l)
	if err != nil {
		return nil, err
	}
	if err := draw(pdf, lines); err != nil {
		return nil, err
	}
	out, err := pdf.GetBytesPdfReturnErr()
	if err != nil {
		return nil, fmt.Errorf("letter: %w", err)
	}
	return out, nil
}

// Check says whether Render would make the page.
func Check(f *typeface.Font, l Letter) error {
	_, _, err := compose(f, l)
	return err
}

const family = "letter"

// compose finds a place for all that the letter says.
func compose(f *typeface.Font, l Letter) (*gopdf.GoPdf, []line, error) {
	c, err := l.content()
	if err != nil {
		return nil, nil, err
	}
	pin := l.PIN.Reveal()
	for _, texts := range [][]string{c.window, {c.title}, c.inside, c.advice, {pin}} {
		if err := f.Check(texts...); err != nil {
			return nil, nil, err
		}
	}
	pdf := &gopdf.GoPdf{}
	pdf.Start(gopdf.Config{Unit: gopdf.UnitMM, PageSize: gopdf.Rect{W: 210, H: 297}})
	if err := pdf.AddTTFFontData(family, f.Data()); err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", typeface.ErrFont, f.Name(), err)
	}
	pdf.AddPage()
	p := placer{pdf: pdf}
	if end := p.block(windowTop, windowWidth, 11, 5.5, c.window...); end > windowBottom {
		return nil, nil, fmt.Errorf("%w: the recipient takes %.0f mm, and the window shows %.0f mm", ErrNoRoom, end-windowTop, windowBottom-windowTop)
	}
	end := p.block(insideTop, insideWidth, 16, 10, c.title)
	p.block(end, insideWidth, 11, 6.5, c.inside...)
	for i := range len(pin) { // it is ASCII
		p.lines = append(p.lines, line{left + 4 + float64(i%pinPerRow)*pinCell, pinTop + float64(i/pinPerRow)*pinRow, 22, pin[i : i+1]})
	}
	p.block(adviceTop, insideWidth, 10, 6, c.advice...)
	return pdf, p.lines, p.err
}

// placer puts blocks of text on the page.
type placer struct {
	pdf   *gopdf.GoPdf
	lines []line
	err   error
}

// block breaks texts to a width and gives where the next block may begin.
func (p *placer) block(y, width, size, step float64, texts ...string) float64 {
	if p.err == nil {
		p.err = p.pdf.SetFont(family, "", size)
	}
	for _, text := range texts {
		for _, part := range p.broken(text, width) {
			p.lines = append(p.lines, line{left, y, size, part})
			y += step
		}
	}
	return y
}

// broken breaks a text where it has a blank, or else between any two characters, as
// Chinese does.
func (p *placer) broken(text string, width float64) []string {
	var out []string
	rest := []rune(text)
	for len(rest) > 0 {
		n, blank := 1, 0
		for n < len(rest) && p.width(string(rest[:n+1])) <= width {
			n++
		}
		if n < len(rest) {
			for i := n; i > n/2; i-- {
				if rest[i] == ' ' {
					blank = i
					break
				}
			}
			if blank > 0 {
				n = blank
			}
		}
		out = append(out, string(rest[:n]))
		rest = rest[n:]
		if blank > 0 {
			rest = rest[1:]
		}
	}
	return out
}

func (p *placer) width(text string) float64 {
	w, err := p.pdf.MeasureTextWidth(text)
	if p.err == nil {
		p.err = err
	}
	return w
}

// draw writes the lines, a box around the PIN and marks for the folds.
func draw(pdf *gopdf.GoPdf, lines []line) error {
	pdf.SetLineWidth(0.2)
	bottom := pinTop
	for _, l := range lines {
		if l.y < foldTwo {
			bottom = max(bottom, l.y)
		}
		if err := pdf.SetFont(family, "", l.size); err != nil {
			return fmt.Errorf("letter: %w", err)
		}
		pdf.SetXY(l.x, l.y)
		if err := pdf.Cell(nil, l.text); err != nil {
			return fmt.Errorf("letter: %w", err)
		}
	}
	pdf.RectFromUpperLeft(left, pinTop-3, insideWidth+4, bottom-pinTop+14)
	for _, y := range []float64{foldOne, foldTwo} {
		pdf.Line(4, y, 8, y)
	}
	return nil
}
