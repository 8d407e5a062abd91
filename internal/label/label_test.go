package label

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/typeface"
)

const fontFile = "/usr/share/fonts/truetype/lxgw-wenkai/LXGWWenKai-Regular.ttf"

func testFont(t *testing.T) *typeface.Font {
	t.Helper()
	data, err := os.ReadFile(fontFile)
	if err != nil {
		t.Fatalf("%v; apt-get install fonts-lxgw-wenkai", err)
	}
	f, err := typeface.Parse(filepath.Base(fontFile), data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// sample are n labels; each serial is as long as it is told.
func sample(n, long int) (out []Token) {
	for i := range n {
		serial := fmt.Sprintf("%s%02d", strings.Repeat("a1B2", 16)[:long-2], i+1)
		out = append(out, Token{Serial: serial, Label: "示例标签", OrderID: "SAMPLE-2026-0001", UnitID: fmt.Sprintf("SAMPLE-2026-0001-%03d", i+1), Unit: i + 1, Of: n})
	}
	return out
}

// tool runs a program that must succeed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).Output()
	if err != nil {
		t.Fatalf("%s (apt-get install zbar-tools poppler-utils chromium-headless-shell): %v", name, err)
	}
	return string(out)
}

func keep(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// browsed is a page as a browser prints it to PDF.
func browsed(t *testing.T, html []byte) (pdf string) {
	t.Helper()
	page := keep(t, html)
	if err := os.Rename(page, page+".html"); err != nil {
		t.Fatal(err)
	}
	tool(t, "chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--user-data-dir="+page+".user", "--no-pdf-header-footer", "--print-to-pdf="+page, "file://"+page+".html")
	return page
}

// scanned is what a scanner that shares no code with us reads on a PDF's sheets, in black and
// white and in a printer's dots, and how large the sheets are in millimetres.
func scanned(t *testing.T, pdf string, dpi int) (codes []string, sizes []Size) {
	t.Helper()
	for _, m := range regexp.MustCompile(`size:\s+([0-9.]+) x ([0-9.]+)`).FindAllStringSubmatch(tool(t, "pdfinfo", "-f", "1", "-l", "99", pdf), -1) {
		var size [2]int
		for i := range size {
			points, err := strconv.ParseFloat(m[i+1], 64)
			if err != nil {
				t.Fatal(err)
			}
			size[i] = int(points/72*25.4 + 0.5)
		}
		sizes = append(sizes, Size{size[0], size[1]})
	}
	sheet := filepath.Join(t.TempDir(), "sheet")
	tool(t, "pdftoppm", "-r", strconv.Itoa(dpi), "-gray", "-aa", "no", "-aaVector", "no", pdf, sheet)
	sheets, err := filepath.Glob(sheet + "*.pgm")
	if err != nil || len(sheets) != len(sizes) {
		t.Fatalf("%d sheets of %d (%v)", len(sheets), len(sizes), err)
	}
	slices.Sort(sheets)
	for _, s := range sheets {
		codes = append(codes, strings.Fields(tool(t, "sh", "-c", `zbarimg --quiet "$0" || [ $? = 4 ]`, s))...) // 4: nothing there
	}
	return codes, sizes
}

// bare is a text without blanks and line ends.
func bare(text string) string { return strings.Join(strings.Fields(text), "") }

// TestCodesAreRead: whatever the label's size, a scanner reads its one code as it comes out of
// a printer of 203 or 300 dots an inch, or one whose dots are nowhere those that it was drawn for,
// and people the words.
func TestCodesAreRead(t *testing.T) {
	f := testFont(t)
	for _, row := range []struct {
		size Size
		long int // of the serial
		code string
	}{
		{Size{30, 20}, 16, "QR-Code"}, {Size{40, 30}, 32, "QR-Code"}, {Size{50, 30}, 16, "QR-Code"}, {Size{60, 40}, 6, "CODE-128"},
		{Size{80, 50}, 10, "CODE-128"}, {Size{100, 50}, 16, "CODE-128"}, {Size{80, 50}, 32, "QR-Code"},
	} {
		tokens := sample(2, row.long)
		want := []string{row.code + ":" + tokens[0].Serial, row.code + ":" + tokens[1].Serial}
		pages, err := TokensPDF(f, tokens, row.size)
		if err != nil {
			t.Errorf("%v: %v", row.size, err)
			continue
		}
		var html bytes.Buffer
		if err := TokensHTML(&html, tokens, row.size); err != nil {
			t.Error(err)
			continue
		}
		for by, pdf := range map[string]string{"PDF": keep(t, pages), "HTML": browsed(t, html.Bytes())} {
			for _, dpi := range []int{203, 211, 300} {
				codes, sizes := scanned(t, pdf, dpi)
				if !slices.Equal(codes, want) {
					t.Errorf("%s %v, %d dpi: a scanner reads %q, want %q", by, row.size, dpi, codes, want)
				}
				if !slices.Equal(sizes, []Size{row.size, row.size}) {
					t.Errorf("%s %v: sheets are %v", by, row.size, sizes)
				}
			}
			text := bare(tool(t, "pdftotext", "-raw", pdf, "-"))
			for _, token := range tokens {
				for _, line := range []string{token.Serial, token.OrderID, "第" + strconv.Itoa(token.Unit) + "把/共2把", token.Label} {
					if !strings.Contains(text, line) {
						t.Errorf("%s %v: %q is not in\n%s", by, row.size, line, text)
					}
				}
			}
		}
	}
}

// TestNoRoom: what would not be read is not printed.
func TestNoRoom(t *testing.T) {
	long := sample(1, 32)
	long[0].OrderID = strings.Repeat("X", 60)
	if _, err := TokensPDF(testFont(t), long, Size{30, 20}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("PDF: %v", err)
	}
	if err := TokensHTML(io.Discard, long, Size{30, 20}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("HTML: %v", err)
	}
	long[0].Serial, long[0].OrderID = strings.Repeat("x", 64), "X-1"
	if err := TokensHTML(io.Discard, long, Size{30, 20}); !errors.Is(err, ErrNoRoom) {
		t.Errorf("serial: %v", err)
	}
}

// TestPackingList: the order's code opens the parcel, and no other code is on the list, for a
// scan of the list must not pass for that of a key.
func TestPackingList(t *testing.T) {
	l := List{OrderID: "SAMPLE-2026-0001", Company: "示例客车配件有限公司" + strings.Repeat("示例", 40), Waybill: "SF123456789012", Tokens: sample(40, 16)}
	pages, err := PackingListPDF(testFont(t), l)
	if err != nil {
		t.Fatal(err)
	}
	var html bytes.Buffer
	if err := PackingListHTML(&html, l); err != nil {
		t.Fatal(err)
	}
	for by, pdf := range map[string]string{"PDF": keep(t, pages), "HTML": browsed(t, html.Bytes())} {
		codes, sizes := scanned(t, pdf, 300)
		if !slices.Equal(codes, []string{"CODE-128:SAMPLE-2026-0001"}) || len(sizes) != 2 || sizes[0] != (Size{210, 297}) {
			t.Errorf("%s: a scanner reads %q on %v", by, codes, sizes)
		}
		text := bare(tool(t, "pdftotext", "-layout", pdf, "-"))
		for _, want := range []string{"装箱单", l.OrderID, l.Company, l.Waybill, "40/40SAMPLE-2026-0001-040" + l.Tokens[39].Serial} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in\n%s", by, want, text)
			}
		}
		if strings.Count(text, "令牌序列号") != 2 {
			t.Errorf("%s: the head of the table is not on every page", by)
		}
	}
}

// TestMissingGlyphs: a company with a gap in its name is another one.
func TestMissingGlyphs(t *testing.T) {
	var missing *typeface.GlyphError
	if _, err := PackingListPDF(testFont(t), List{OrderID: "X-1", Company: "示例\U00030000"}); !errors.As(err, &missing) || missing.Rune != '\U00030000' {
		t.Errorf("list: %v", err)
	}
	evil := sample(1, 16)
	evil[0].Label = "🚌"
	if _, err := TokensPDF(testFont(t), evil, Size{80, 50}); !errors.As(err, &missing) || missing.Rune != '🚌' {
		t.Errorf("label: %v", err)
	}
}

// TestLabelsEscape: a serial is what its maker chose.
func TestLabelsEscape(t *testing.T) {
	var page bytes.Buffer
	evil := Token{Serial: `<b>"&`, OrderID: "X-1", UnitID: "X-1-001", Unit: 1, Of: 1}
	if err := TokensHTML(&page, []Token{evil}, Size{80, 50}); err != nil || strings.Contains(page.String(), "<b>") {
		t.Errorf("%v:\n%s", err, page.String())
	}
	for _, bad := range []string{"", "钥匙", strings.Repeat("x", 81)} {
		if _, err := bars(bad); err == nil {
			t.Errorf("%q is a Code 128", bad)
		}
	}
}

// TestCSVIsNoFormula: whatever a recipient is called, a spreadsheet shows it and does no more.
func TestCSVIsNoFormula(t *testing.T) {
	evil := []string{"=1+1", "+86 13800000000", "-1", "@SUM(A1)", "\t=1+1", " =1+1", "\r=1+1", "＝1+1", "a\n=1+1", `"=1+1`}
	for _, name := range evil {
		var out bytes.Buffer
		if err := CSV(&out, []Shipping{{OrderID: "X-1", Carrier: "SF", FreightCollect: true, Name: name, Address: "示例路 1 号，2 室", Keys: 2}}, true); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(out.String(), "\ufeff"))).ReadAll()
		if err != nil || len(rows) != 2 || rows[1][2] != "到付" || rows[1][7] != "示例路 1 号，2 室" || rows[1][8] != "2" {
			t.Fatalf("%q: %q (%v)", name, rows, err)
		}
		cell := rows[1][5]
		if strings.IndexAny(strings.TrimSpace(cell), "=+-@＝＋－＠") == 0 || strings.ContainsAny(cell, "\t\r\n") {
			t.Errorf("%q is written as %q", name, cell)
		}
	}
}

// TestByteOrderMark: spreadsheets want it, other programs may not.
func TestByteOrderMark(t *testing.T) {
	for _, mark := range []bool{true, false} {
		var out bytes.Buffer
		if err := CSV(&out, nil, mark); err != nil || strings.HasPrefix(out.String(), "\ufeff") != mark || !strings.HasSuffix(out.String(), "数量\r\n") {
			t.Errorf("%v: %q (%v)", mark, out.String(), err)
		}
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	was := []Shipping{{OrderID: "X-1", Carrier: "SF", FreightCollect: true, Name: "经办人甲 <&>"}}
	if err := JSON(&out, was); err != nil || !strings.Contains(out.String(), `"freightCollect": true`) || !strings.Contains(out.String(), "<&>") {
		t.Errorf("%s (%v)", out.String(), err)
	}
	var now []Shipping
	if err := json.Unmarshal(out.Bytes(), &now); err != nil || !slices.Equal(now, was) {
		t.Errorf("%+v (%v)", now, err)
	}
}
