package stock

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = `token_serial,casing_number,lot,model
A0000001,K-000001,LOT-2026-11,Card 3
A0000002,K-000002,LOT-2026-11,Card 3
`

func TestParse(t *testing.T) {
	want := []Token{{"A0000001", "K-000001", "LOT-2026-11", "Card 3"}, {"A0000002", "K-000002", "LOT-2026-11", "Card 3"}}
	for name, text := range map[string]string{
		"plain":                       sample,
		"as a spreadsheet saves it":   byteOrderMark + strings.ReplaceAll(sample, "\n", "\r\n"),
		"no line feed at the end":     strings.TrimSuffix(sample, "\n"),
		"quoted":                      strings.ReplaceAll(sample, "A0000001", `"A0000001"`),
		"an empty line between":       strings.Replace(sample, "\nA0000002", "\n\nA0000002", 1),
		"columns in Chinese":          strings.Replace(sample, "token_serial,casing_number,lot,model", "令牌序列号,外壳编号,批次,型号", 1),
		"columns in another order":    "model,lot,token_serial,casing_number\nCard 3,LOT-2026-11,A0000001,K-000001\nCard 3,LOT-2026-11,A0000002,K-000002\n",
		"a head with blanks about it": strings.Replace(sample, "lot,", " lot ,", 1),
	} {
		l, err := Parse(strings.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, l.Tokens); diff != "" || len(l.SHA256) != 64 {
			t.Errorf("%s (-want +got): %s %s", name, diff, l.SHA256)
		}
	}
}

func TestParseSaysWhere(t *testing.T) {
	rows := []struct {
		name, old, new string
		line, column   int
		says           string
	}{
		{"a serial twice", "A0000002", "A0000001", 3, 1, "A0000001 is in line 2 already"},
		{"a casing number twice", "K-000002", "K-000001", 3, 2, "K-000001 is in line 2 already"},
		{"another lot", "K-000002,LOT-2026-11", "K-000002,LOT-2026-12", 3, 3, "line 2 says LOT-2026-11"},
		{"another model", "LOT-2026-11,Card 3\nA0000002,K-000002,LOT-2026-11,Card 3", "LOT-2026-11,Card 3\nA0000002,K-000002,LOT-2026-11,Card 4", 3, 4, "line 2 says Card 3"},
		{"no serial", "A0000002", "", 3, 1, "nothing stands here"},
		{"no casing number", "K-000002", "", 3, 2, "nothing stands here"},
		{"no lot", "LOT-2026-11", "", 2, 3, "nothing stands here"},
		{"no model", "Card 3", "", 2, 4, "usbkeyd tokens list"},
		{"a rounded serial", "A0000001", "1.23457E+15", 2, 1, "a spreadsheet has rounded"},
		{"a blank behind", "A0000001", "A0000001 ", 2, 1, "blank before or behind"},
		{"a blank that does not show", "A0000001", "A0000001\u00a0", 2, 1, "blank before or behind"},
		{"a letter of another alphabet", "A0000001", "\u04100000001", 2, 1, "printable ASCII"},
		{"a control character", "K-000001", "K-\a00001", 2, 2, "printable ASCII"},
		{"too long a serial", "A0000001", "A0000001A0000001A", 2, 1, "longer than 16"},
		{"too long a model", "Card 3", "Card 3 of the large kind", 2, 4, "CK_TOKEN_INFO"},
		{"a lot with a blank", "LOT-2026-11", "LOT 11", 2, 3, "a lot is named by"},
		{"a column too many", "LOT-2026-11,Card 3\nA", "LOT-2026-11,Card 3,\nA", 2, 0, "it has 5 columns"},
		{"a column missing in a row", "A0000002,", "", 3, 0, "it has 3 columns"},
		{"a column missing", "casing_number,", "", 1, 0, "the column casing_number is missing"},
		{"a column that is none", "lot,model", "lot,model,price", 1, 5, `"price" is no column`},
		{"a column twice", "lot,model", "lot,lot", 1, 4, "twice"},
		{"semicolons", sample, strings.ReplaceAll(sample, ",", ";"), 1, 0, "separate columns with commas"},
		{"no head", "token_serial,casing_number,lot,model\n", "", 1, 1, "is no column"},
		{"a quote that does not end", "A0000002", `"A0000002`, 3, 0, "check the quotes"},
		{"GBK", "Card 3", "\xd0\xcd\xba\xc5", 2, 0, "CSV UTF-8"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			text := strings.Replace(sample, row.old, row.new, 1)
			l, err := Parse(strings.NewReader(text))
			var where *RowError
			if !errors.As(err, &where) {
				t.Fatalf("read as %+v, error %v", l, err)
			}
			if where.Line != row.line || where.Column != row.column || !strings.Contains(err.Error(), row.says) {
				t.Errorf("%v; want line %d, column %d, %q", err, row.line, row.column, row.says)
			}
		})
	}
	for name, text := range map[string]string{
		"empty": "", "a head alone": "token_serial,casing_number,lot,model\n", "too large": sample + strings.Repeat("\n", maxFile),
	} {
		if l, err := Parse(strings.NewReader(text)); err == nil {
			t.Errorf("%s: read as %+v", name, l)
		}
	}
}

// FuzzParse: whatever is read as a list holds what a list must, and every fault that
// is told of a row names a line of the file.
func FuzzParse(f *testing.F) {
	f.Add(sample)
	f.Add(byteOrderMark + "型号,批次,令牌序列号,外壳编号\r\n\"C\",L,1,2\r\n")
	f.Add("token_serial,casing_number,lot,model\n\"a\nb\",2,3,4\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(strings.NewReader(text))
		var where *RowError
		if errors.As(err, &where) && (where.Line < 1 || where.Line > 1+strings.Count(text, "\n")+strings.Count(text, "\r") || where.Column < 0) {
			t.Fatalf("%v is no place in the file", err)
		}
		if err != nil {
			return
		}
		serials, casings := map[string]bool{}, map[string]bool{}
		for n, token := range l.Tokens {
			if token.Serial == "" || token.Casing == "" || serials[token.Serial] || casings[token.Casing] {
				t.Errorf("token %d: %+v is empty or there twice", n, token)
			}
			serials[token.Serial], casings[token.Casing] = true, true
			if token.Lot != l.Tokens[0].Lot || token.Model != l.Tokens[0].Model || len(token.Serial) > maxSerial {
				t.Errorf("token %d: %+v in a list of %+v", n, token, l.Tokens[0])
			}
			if e := l.Fault(n, FieldModel, "x"); e.Line < 2 || e.Column < 1 || e.Column > 4 {
				t.Errorf("token %d: %v is no place of a token", n, e)
			}
		}
	})
}
