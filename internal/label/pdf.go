package label

import (
	"errors"
	"fmt"

	"github.com/signintech/gopdf"
	"github.com/usbkeyd/usbkeyd/internal/typeface"
)

// Measures of a packing list, in millimetres: A4, portrait.
const (
	listLeft   = 20.0
	listTop    = 20.0
	listWidth  = 170.0
	listBottom = 277.0
	listBar    = 14.0
	listText   = 4.0
	listRow    = 8.0
)

// columns are where those of the list begin, from its left.
func columns() []float64 { return []float64{0, 20, 90} }

const family = "label"

// paper draws with millimetres; the first error is kept.
type paper struct {
	pdf *gopdf.GoPdf
	err error
}

// newPaper is PDF of one size of page. What is written on it has to be checked before.
func newPaper(f *typeface.Font, width, height float64, texts ...string) (*paper, error) {
	if err := f.Check(texts...); err != nil {
		return nil, err
	}
	pdf := &gopdf.GoPdf{}
	pdf.Start(gopdf.Config{Unit: gopdf.UnitMM, PageSize: gopdf.Rect{W: width, H: height}})
	if err := pdf.AddTTFFontData(family, f.Data()); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", typeface.ErrFont, f.Name(), err)
	}
	pdf.SetFillColor(0, 0, 0)
	return &paper{pdf: pdf}, nil
}

// points are a size in millimetres.
func points(mm float64) float64 { return mm * 72 / 25.4 }

// text writes a line whose upper left corner is at x, y.
func (p *paper) text(x, y, size float64, text string) {
	p.pdf.SetXY(x, y)
	p.err = errors.Join(p.err, p.pdf.SetFont(family, "", points(size)), p.pdf.Cell(nil, text))
}

// width is that of a text at size 1.
func (p *paper) width(text string) float64 {
	p.err = errors.Join(p.err, p.pdf.SetFont(family, "", points(1)))
	w, err := p.pdf.MeasureTextWidth(text)
	p.err = errors.Join(p.err, err)
	return w
}

// symbol draws a code with its quiet zone into width and height.
func (p *paper) symbol(s symbol, x, y, width, height float64) {
	across, down := width/float64(s.width()), height/float64(s.height())
	for r := range s.runs() {
		p.pdf.RectFromUpperLeftWithStyle(x+float64(r.x)*across, y+float64(r.y)*down, float64(r.n)*across, down, "F")
	}
}

func (p *paper) bytes() ([]byte, error) {
	if p.err != nil {
		return nil, fmt.Errorf("label: %w", p.err)
	}
	return p.pdf.GetBytesPdfReturnErr()
}

// TokensPDF makes a page for each label, of the label's size. Errors: ErrNoRoom,
// typeface.ErrFont, *typeface.GlyphError.
func TokensPDF(f *typeface.Font, tokens []Token, size Size) ([]byte, error) {
	var texts []string
	for _, t := range tokens {
		texts = append(texts, t.lines()...)
	}
	p, err := newPaper(f, float64(size.Width), float64(size.Height), texts...)
	if err != nil {
		return nil, err
	}
	for _, t := range tokens {
		at, err := t.plan(size)
		if err != nil {
			return nil, err
		}
		p.pdf.AddPage()
		p.symbol(at.code, margin, margin, at.codeWidth, at.codeHigh)
		size, lines, err := fit(t.lines(), p.width, float64(size.Width)-margin-at.textX, float64(size.Height)-margin-at.textY)
		if err != nil {
			return nil, errors.Join(err, p.err)
		}
		for i, line := range lines {
			p.text(at.textX, at.textY+float64(i)*leading*size, size, line)
		}
	}
	return p.bytes()
}

// PackingListPDF makes an order's list on A4, of as many pages as it takes. Errors:
// typeface.ErrFont, *typeface.GlyphError.
func PackingListPDF(f *typeface.Font, l List) ([]byte, error) {
	const title, unit, serial = "装箱单 Packing list", "单元 Unit", "令牌序列号 Token serial"
	lines := []string{"订单 Order: " + l.OrderID, "单位 Company: " + l.Company}
	if l.Waybill != "" {
		lines = append(lines, "运单号 Waybill: "+l.Waybill)
	}
	rows := make([][]string, len(l.Tokens))
	for i, t := range l.Tokens {
		rows[i] = []string{fmt.Sprintf("%d/%d", t.Unit, t.Of), t.UnitID, t.Serial}
	}
	texts := append([]string{title, unit, serial, "#"}, lines...)
	for _, r := range rows {
		texts = append(texts, r...)
	}
	order, module, err := l.orderBars()
	if err != nil {
		return nil, err
	}
	p, err := newPaper(f, 210, 297, texts...)
	if err != nil {
		return nil, err
	}
	p.pdf.AddPage()
	p.text(listLeft, listTop, 2*listText, title)
	y := listTop + 14
	p.symbol(order, listLeft, y, module*float64(order.width()), listBar)
	y += listBar + 4
	for _, line := range lines {
		for _, part := range broken(line, p.width, listWidth/listText) {
			p.text(listLeft, y, listText, part)
			y += 1.5 * listText
		}
	}
	p.table(y+4, append([][]string{{"#", unit, serial}}, rows...))
	return p.bytes()
}

// table writes rows below each other, the first one again on every page.
func (p *paper) table(y float64, rows [][]string) {
	for i := 0; i < len(rows); i++ {
		row := rows[i]
		if y+listRow > listBottom {
			p.pdf.AddPage()
			y, row = listTop, rows[0]
			i--
		}
		for n, text := range row {
			p.text(listLeft+columns()[n], y+1.5, listText, text)
		}
		y += listRow
		p.pdf.SetLineWidth(0.2)
		p.pdf.Line(listLeft, y, listLeft+listWidth, y)
	}
}
