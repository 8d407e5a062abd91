package label

import (
	"fmt"
	"html/template"
	"io"
)

// Token is what stands on the label of one key.
type Token struct {
	Serial string
	// Label is the token's own, as its holder sees it.
	Label   string
	OrderID string
	UnitID  string
	Unit    int // from 1
	Of      int
}

// lines are the words of a label. An order's number and a serial are the same in every
// language, and numbers say the rest.
func (t Token) lines() []string {
	out := []string{t.Serial, t.OrderID, fmt.Sprintf("第 %d 把 / 共 %d 把", t.Unit, t.Of)}
	if t.Label != "" && t.Label != t.UnitID {
		out = append(out, t.Label)
	}
	return out
}

// List is the packing list of an order. It has no name and no address of a person: it lies
// in a parcel that has them outside. The keys' serials are on it as text only, so that no
// scan of the list can pass for that of a key.
type List struct {
	OrderID string
	Company string
	Waybill string // "" while there is none
	Tokens  []Token
}

// Size is that of a label, in millimetres.
type Size struct{ Width, Height int }

// margin is left free at every edge of a label, in millimetres: printers reach no further.
const margin = 1.5

// plan is where things are on a token's label, in millimetres.
type plan struct {
	code                symbol
	codeWidth, codeHigh float64
	// textX and textY are where the words begin.
	textX, textY float64
}

// ErrNoRoom: something does not fit on the paper.
const ErrNoRoom Sentinel = "no room on the label"

// Sentinel is a constant error of this package.
type Sentinel string

// Error implements error.
func (s Sentinel) Error() string { return string(s) }

// plan has a Code 128 above the words where its bars can be wide enough, and else a QR code
// beside them: one code on a label, so that there is nothing to choose between.
func (t Token) plan(size Size) (plan, error) {
	width, height := float64(size.Width)-2*margin, float64(size.Height)-2*margin
	code, err := bars(t.Serial)
	if err != nil {
		return plan{}, err
	}
	if m := code.module(width, widestBar); m > 0 {
		high := min(height*0.4, 15)
		return plan{code, m * float64(code.width()), high, margin, margin + high + 0.5}, nil
	}
	if code, err = square(t.Serial); err != nil {
		return plan{}, err
	}
	m := code.module(min(height, width*0.55), widestQR)
	if m == 0 {
		return plan{}, fmt.Errorf("%w: the serial %s needs a larger one than %dx%d mm", ErrNoRoom, t.Serial, size.Width, size.Height)
	}
	side := m * float64(code.width())
	return plan{code, side, side, margin + side + 0.5, margin}, nil
}

// A text's size in millimetres: the largest and the least that people read at arm's length.
const (
	largestText = 3.6
	easyText    = 2.2 // no line is broken for a larger one
	leastText   = 1.6
	textStep    = 0.1
	leading     = 1.25
)

// fit breaks lines so that they fit, in the largest size in which they do. width is that of a
// text at size 1. ErrNoRoom.
func fit(lines []string, width func(string) float64, across, down float64) (size float64, out []string, err error) {
	for size = largestText; size >= leastText; size -= textStep {
		out = nil
		for _, line := range lines {
			out = append(out, broken(line, width, across/size)...)
		}
		if float64(len(out))*leading*size <= down && (len(out) == len(lines) || size < easyText) {
			return size, out, nil
		}
	}
	return 0, nil, fmt.Errorf("%w: its %d lines would be less than %.1f mm high", ErrNoRoom, len(out), leastText)
}

// broken breaks a text between any two characters, as Chinese does and a serial may.
func broken(text string, width func(string) float64, across float64) (out []string) {
	for rest := []rune(text); len(rest) > 0; {
		n := 1
		for n < len(rest) && width(string(rest[:n+1])) <= across {
			n++
		}
		out = append(out, string(rest[:n]))
		rest = rest[n:]
	}
	return out
}

// sheet is what the templates draw.
type sheet struct {
	Size   Size
	List   List
	Labels []labelled
	Order  template.HTML // Code 128 of the order's number, which opens its parcel
}

type labelled struct {
	Code  template.HTML
	Bars  bool // the code is above the words
	Lines []string
	Font  float64 // mm
}

// em is how wide a character is at size 1 in a browser's font: Latin letters and digits are
// narrower, whatever the font.
func em(text string) float64 {
	w := 0.0
	for _, r := range text {
		if r < 0x2e80 {
			w += 0.62
		} else {
			w++
		}
	}
	return w
}

// TokensHTML writes a page for each label, of the label's size. ErrNoRoom.
func TokensHTML(w io.Writer, tokens []Token, size Size) error {
	s := sheet{Size: size}
	for _, t := range tokens {
		p, err := t.plan(size)
		if err != nil {
			return err
		}
		l := labelled{Code: p.code.svg(p.codeWidth, p.codeHigh), Bars: p.textX == margin}
		if l.Font, l.Lines, err = fit(t.lines(), em, float64(size.Width)-margin-p.textX, float64(size.Height)-margin-p.textY); err != nil {
			return err
		}
		s.Labels = append(s.Labels, l)
	}
	return page("token", tokenPage, w, s)
}

// orderBars are those of the order's number on A4, with the width of a module.
func (l List) orderBars() (symbol, float64, error) {
	order, err := bars(l.OrderID)
	if err != nil {
		return symbol{}, 0, err
	}
	m := order.module(listWidth, leastBar)
	if m == 0 {
		return symbol{}, 0, fmt.Errorf("%w: order %s", ErrNoRoom, l.OrderID)
	}
	return order, m, nil
}

// PackingListHTML writes an order's list on A4.
func PackingListHTML(w io.Writer, l List) error {
	order, m, err := l.orderBars()
	if err != nil {
		return err
	}
	return page("list", listPage, w, sheet{List: l, Order: order.svg(m*float64(order.width()), listBar)})
}

func page(name, text string, w io.Writer, s sheet) error {
	t, err := template.New(name).Parse(text)
	if err != nil {
		return fmt.Errorf("page of %s: %w", name, err)
	}
	return t.Execute(w, s)
}

const tokenPage = `<!DOCTYPE html>
<html lang="zh-CN"><meta charset="utf-8"><title>令牌标签</title>
<style>
@page { size: {{.Size.Width}}mm {{.Size.Height}}mm; margin: 0 }
* { box-sizing: border-box; margin: 0 }
body { font-family: "LXGW WenKai", "Noto Sans CJK SC", sans-serif; line-height: 1.25; color: #000; background: #fff }
section { width: {{.Size.Width}}mm; height: {{.Size.Height}}mm; padding: 1.5mm; overflow: hidden; break-after: page; display: flex; gap: .5mm }
section.bars { flex-direction: column }
section:last-child { break-after: auto }
svg { display: block; flex: none }
p { white-space: nowrap }
</style>
{{range .Labels}}<section{{if .Bars}} class="bars"{{end}}>{{.Code}}<div style="font-size: {{.Font}}mm">{{range .Lines}}<p>{{.}}</p>{{end}}</div></section>
{{end}}</html>
`

const listPage = `<!DOCTYPE html>
<html lang="zh-CN"><meta charset="utf-8"><title>{{.List.OrderID}}</title>
<style>
@page { size: A4; margin: 15mm }
* { box-sizing: border-box; margin: 0 }
body { font: 11pt/1.4 "LXGW WenKai", "Noto Sans CJK SC", sans-serif; color: #000; background: #fff }
table { width: 100%; margin-top: 6mm; border-collapse: collapse }
th, td { padding: 2mm; border-bottom: 1px solid #000; text-align: left }
tr { break-inside: avoid }
</style>
<h1>装箱单 Packing list</h1>
{{.Order}}
<p>订单 Order: {{.List.OrderID}}</p><p>单位 Company: {{.List.Company}}</p>
{{with .List.Waybill}}<p>运单号 Waybill: {{.}}</p>{{end}}
<table><thead><tr><th>#</th><th>单元 Unit</th><th>令牌序列号 Token serial</th></tr></thead>
{{range .List.Tokens}}<tr><td>{{.Unit}}/{{.Of}}</td><td>{{.UnitID}}</td><td>{{.Serial}}</td></tr>
{{end}}</table></html>
`
