package mailer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	_ "image/png" // pdftoppm writes them
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/usbkeyd/usbkeyd/internal/typeface"
	"github.com/usbkeyd/usbkeyd/pkcs11"
	"golang.org/x/image/font/sfnt"
)

// fonts is where Debian's package fonts-lxgw-wenkai puts them.
const fonts = "/usr/share/fonts/truetype/lxgw-wenkai/"

func testFont(t *testing.T) *typeface.Font {
	t.Helper()
	const file = fonts + "LXGWWenKai-Regular.ttf"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; apt-get install fonts-lxgw-wenkai", err)
	}
	f, err := typeface.Parse(filepath.Base(file), data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// glyphs reads a font's file once more.
func glyphs(t *testing.T, f *typeface.Font) *sfnt.Font {
	t.Helper()
	out, err := sfnt.Parse(f.Data())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sample() Letter {
	return Letter{
		Company: "示例客车配件有限公司", Name: "经办人甲", Address: "福建省厦门市示例区样本路 1 号　2 栋 301 室",
		OrderID: "SAMPLE-0001", Unit: 2, Of: 8, TokenLabel: "SAMPLE-0001-002",
		PIN: pkcs11.NewUserPIN("52075369"), Language: Chinese,
	}
}

// tool runs a program of the system's over the page; input is the page's file.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s(apt-get install poppler-utils)", name, err, out)
	}
	return string(out)
}

func (l Letter) file(t *testing.T, f *typeface.Font) string {
	t.Helper()
	page, err := Render(f, l)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "letter.pdf")
	if err := os.WriteFile(path, page, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func withoutBlanks(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, s)
}

// TestEveryCharacterIsOnThePage has poppler, which shares no code with the library that
// wrote the page, read it again.
func TestEveryCharacterIsOnThePage(t *testing.T) {
	f := testFont(t)
	rows := map[string]func(*Letter){
		"Chinese": func(*Letter) {},
		"English": func(l *Letter) { l.Language = English },
		"rare characters": func(l *Letter) {
			l.Company, l.Name = "犇骉鑫淼焱垚（龘）囍有限公司·㐂㙟䶮", "嬲昜堃赟"
		},
		"every ASCII PIN": func(l *Letter) {
			l.PIN = pkcs11.NewUserPIN("!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`")
		},
		"the rest of it": func(l *Letter) { l.PIN = pkcs11.NewUserPIN("abcdefghijklmnopqrstuvwxyz{|}~") },
		"Latin recipients": func(l *Letter) {
			l.Company, l.Name = "Sample Bus Parts Company Limited of Xiamen & Söhne", "Handler A"
		},
		"no address": func(l *Letter) { l.Address = "" },
	}
	for name, change := range rows {
		t.Run(name, func(t *testing.T) {
			l := sample()
			change(&l)
			path := l.file(t, f)
			if pages := tool(t, "pdfinfo", path); !regexp.MustCompile(`Pages:\s+1\n`).MatchString(pages) || !strings.Contains(pages, "A4") {
				t.Errorf("not one page of A4:\n%s", pages)
			}
			c, err := l.content()
			if err != nil {
				t.Fatal(err)
			}
			want := withoutBlanks(strings.Join(c.window, "") + c.title + strings.Join(c.inside, "") + l.PIN.Reveal() + strings.Join(c.advice, ""))
			if got := withoutBlanks(tool(t, "pdftotext", "-raw", path, "-")); got != want {
				t.Errorf("on the page is\n%s\nwanted\n%s", got, want)
			}
		})
	}
}

// TestWindow: what the window shows is the recipient and nothing else, and the PIN lies
// in the third that is folded inside.
func TestWindow(t *testing.T) {
	l := sample()
	path := l.file(t, testFont(t))
	third := func(from, to float64) string {
		const perMM = 72 / 25.4
		return withoutBlanks(tool(t, "pdftotext", "-raw", "-r", "72", "-x", "0", "-W", "600",
			"-y", strconv.Itoa(int(from*perMM)), "-H", strconv.Itoa(int((to-from)*perMM)), path, "-"))
	}
	if got, want := third(0, foldOne), withoutBlanks(l.Address+l.Company+l.Name+"收"); got != want {
		t.Errorf("the upper third shows %q, want %q", got, want)
	}
	if got := third(foldOne, foldTwo); !strings.Contains(got, l.PIN.Reveal()) {
		t.Errorf("the middle third shows no PIN: %q", got)
	}
	if got := third(foldTwo, 297); strings.Contains(got, l.PIN.Reveal()) || !strings.HasPrefix(got, "1.") {
		t.Errorf("the lower third shows %q", got)
	}
}

// TestBeyondTheBasicPlane: the library writes the glyphs that the font has for such
// characters, compared number by number with another reader of the font; poppler draws
// them. (The library's table for searching is wrong about them, which no printer reads.)
func TestBeyondTheBasicPlane(t *testing.T) {
	f := testFont(t)
	l := sample()
	l.Company, l.Name = "示例𠮷野有限公司", "𫚉甲𬭊"
	pdf, lines, err := compose(f, l)
	if err != nil {
		t.Fatal(err)
	}
	pdf.SetNoCompression()
	if err := draw(pdf, lines); err != nil {
		t.Fatal(err)
	}
	page, err := pdf.GetBytesPdfReturnErr()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, shown := range regexp.MustCompile(`\[<[^\]]*\] TJ`).FindAllString(string(page), -1) {
		for _, hex := range regexp.MustCompile(`<([0-9A-F]+)>`).FindAllStringSubmatch(shown, -1) {
			for i := 0; i+4 <= len(hex[1]); i += 4 {
				got = append(got, hex[1][i:i+4])
			}
		}
	}
	var want []string
	var buf sfnt.Buffer
	glyphs := glyphs(t, f)
	for _, line := range lines {
		for _, r := range line.text {
			index, err := glyphs.GlyphIndex(&buf, r)
			if err != nil || index == 0 {
				t.Fatalf("no glyph for %c", r)
			}
			want = append(want, fmt.Sprintf("%04X", int(index)))
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("glyphs are\n%v\nwant\n%v", got, want)
	}
	plain := l
	plain.Company = "示例吉野有限公司" // 𠮷 and 吉 differ in the length of one stroke
	if one, other := picture(t, l.file(t, f)), picture(t, plain.file(t, f)); reflect.DeepEqual(one, other) {
		t.Error("𠮷 looks like 吉")
	}
}

func picture(t *testing.T, pdf string) image.Image {
	t.Helper()
	tool(t, "pdftoppm", "-r", "150", "-gray", "-png", "-singlefile", pdf, pdf)
	data, err := os.ReadFile(pdf + ".png")
	if err != nil {
		t.Fatal(err)
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// TestMissingGlyphs: what the font cannot write is named, wherever it stands, and nothing is made.
func TestMissingGlyphs(t *testing.T) {
	f := testFont(t)
	rows := []struct {
		name   string
		change func(*Letter)
		want   rune
	}{
		{"company, 扩展B", func(l *Letter) { l.Company = "示例𠀀公司" }, '𠀀'},
		{"name, 扩展G", func(l *Letter) { l.Name = "甲\U00030000" }, '\U00030000'},
		{"address, an emoji", func(l *Letter) { l.Address = "样本路🚌" }, '🚌'},
		{"order", func(l *Letter) { l.OrderID = "SAMPLE-\uE500" }, '\uE500'},
		{"label, a line end", func(l *Letter) { l.TokenLabel = "SAMPLE\n1" }, '\n'},
		{"company, text turned round", func(l *Letter) { l.Company = "示例\u202e公司" }, '\u202e'},
		{"company, nothing to be seen", func(l *Letter) { l.Company = "示例\u200b公司" }, '\u200b'},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			l := sample()
			row.change(&l)
			page, err := Render(f, l)
			var missing *typeface.GlyphError
			if !errors.As(err, &missing) || missing.Rune != row.want || missing.Font != "LXGWWenKai-Regular.ttf" || page != nil {
				t.Errorf("%d bytes, %v", len(page), err)
			}
			if err != nil && strings.Contains(err.Error(), l.PIN.Reveal()) {
				t.Errorf("the error tells the PIN: %v", err)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	f := testFont(t)
	rows := []struct {
		name   string
		change func(*Letter)
		want   error
	}{
		{"no company", func(l *Letter) { l.Company = " " }, ErrIncomplete},
		{"no name", func(l *Letter) { l.Name = "" }, ErrIncomplete},
		{"no order", func(l *Letter) { l.OrderID = "" }, ErrIncomplete},
		{"unit 0", func(l *Letter) { l.Unit = 0 }, ErrIncomplete},
		{"unit 9 of 8", func(l *Letter) { l.Unit = 9 }, ErrIncomplete},
		{"no label", func(l *Letter) { l.TokenLabel = "" }, ErrIncomplete},
		{"no PIN", func(l *Letter) { l.PIN = pkcs11.UserPIN{} }, ErrIncomplete},
		{"a PIN of 65", func(l *Letter) { l.PIN = pkcs11.NewUserPIN(strings.Repeat("57", 32) + "5") }, ErrIncomplete},
		{"a PIN with a blank", func(l *Letter) { l.PIN = pkcs11.NewUserPIN("5207 369") }, ErrIncomplete},
		{"a PIN beyond ASCII", func(l *Letter) { l.PIN = pkcs11.NewUserPIN("5207码369") }, ErrIncomplete},
		{"no language", func(l *Letter) { l.Language = "" }, ErrIncomplete},
		{"broken text", func(l *Letter) { l.Company = "示例\xff" }, ErrIncomplete},
		{"a company beyond the window", func(l *Letter) { l.Company = strings.Repeat("示例客车配件", 20) }, ErrNoRoom},
	}
	for _, row := range rows {
		l := sample()
		row.change(&l)
		if page, err := Render(f, l); !errors.Is(err, row.want) || page != nil {
			t.Errorf("%s: %d bytes, %v", row.name, len(page), err)
		}
		if row.want == ErrIncomplete {
			if err := Preview(&bytes.Buffer{}, l); !errors.Is(err, row.want) {
				t.Errorf("%s: preview: %v", row.name, err)
			}
		}
	}
}

// TestEmptyGlyphs: a font that has glyphs for digits with nothing in them leaves them out
// without a word.
func TestEmptyGlyphs(t *testing.T) {
	f := testFont(t)
	index, err := glyphs(t, f).GlyphIndex(&sfnt.Buffer{}, '7')
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Clone(f.Data())
	table := func(tag string) []byte { // of the table directory, OpenType 1.9
		for at := 12; ; at += 16 {
			if string(data[at:at+4]) == tag {
				return data[binary.BigEndian.Uint32(data[at+8:]):]
			}
		}
	}
	if table("head")[51] != 1 {
		t.Fatal("indexToLocFormat is not 1, offsets of four bytes")
	}
	loca := table("loca")[4*int(index):]
	copy(loca[4:8], loca[:4])
	empty, err := typeface.Parse("empty.ttf", data)
	if err != nil {
		t.Fatal(err)
	}
	var missing *typeface.GlyphError
	if _, err := Render(empty, sample()); !errors.As(err, &missing) || missing.Rune != '7' {
		t.Errorf("got %v", err)
	}
}

// TestPreviewShowsNoPIN, and all the rest of the letter, with markup made harmless.
func TestPreviewShowsNoPIN(t *testing.T) {
	l := sample()
	l.Company = "示例<script>公司"
	var out bytes.Buffer
	if err := Preview(&out, l); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{"示例&lt;script&gt;公司", l.Name, l.Address, l.OrderID, "第 2 把 / 共 8 把", string(l.TokenLabel), masked, `lang="zh-CN"`} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the preview", want)
		}
	}
	if strings.Contains(page, l.PIN.Reveal()) || strings.Contains(page, "<script>") {
		t.Errorf("the preview shows too much:\n%s", page)
	}
}

// TestLetterIsNoShippingLabel: whoever could put a waybill, a phone or a parcel's contents
// on a letter would sooner or later send both together. What is on it is what the window
// and the holder need.
func TestLetterIsNoShippingLabel(t *testing.T) {
	want := "Company Name Address OrderID Unit Of TokenLabel PIN Language"
	var got []string
	for field := range reflect.TypeFor[Letter]().Fields() {
		got = append(got, field.Name)
	}
	if strings.Join(got, " ") != want {
		t.Errorf("a letter has %v; want %s", got, want)
	}
}

// TestLetterPrintsNoPIN: a letter in a log or an error.
func TestLetterPrintsNoPIN(t *testing.T) {
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb, sample()); strings.Contains(text, sample().PIN.Reveal()) {
			t.Errorf("%s: %s", verb, text)
		}
	}
}
