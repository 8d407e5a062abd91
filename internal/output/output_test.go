package output

import (
	"strings"
	"testing"
)

func TestTableAlignsWideCharacters(t *testing.T) {
	var b strings.Builder
	rows := Rows{Header: []string{"COMPANY", "STATE"}, Rows: [][]string{{"示例客车配件有限公司", "READY"}, {"Sample", "ISSUED\x1b[2J"}}}
	if err := Table.Print(&b, rows, nil); err != nil {
		t.Fatal(err)
	}
	want := "COMPANY               STATE\n示例客车配件有限公司  READY\nSample                ISSUED·[2J\n"
	if b.String() != want {
		t.Errorf("got\n%q, want\n%q", b.String(), want)
	}
}

func TestEmptyTableSaysSo(t *testing.T) {
	var b strings.Builder
	if err := Table.Print(&b, Rows{Header: []string{"A"}, Empty: "No tokens are plugged in."}, nil); err != nil {
		t.Fatal(err)
	}
	if b.String() != "No tokens are plugged in.\n" {
		t.Errorf("got %q", b.String())
	}
}

func TestJSONIsTheValue(t *testing.T) {
	var b strings.Builder
	if err := JSON.Print(&b, Rows{}, map[string]string{"company": "甲<乙>"}); err != nil {
		t.Fatal(err)
	}
	if b.String() != "{\n  \"company\": \"甲<乙>\"\n}\n" {
		t.Errorf("got %q", b.String())
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	var f Format
	if err := f.Set("yaml"); err == nil || !strings.Contains(err.Error(), "table or json") {
		t.Errorf("got %v", err)
	}
}
