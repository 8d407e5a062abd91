package csr

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestProfileRequest(t *testing.T) {
	got := sampleRequest(t)
	want := Request{
		Subject: []Attribute{
			{typeC, "CN"}, {typeO, "示例客车配件有限公司"},
			{"2.5.4.97", "NTRCN-91350200MA0000001W"}, {typeCN, "示例客车配件有限公司@SAMPLE-0001-001"},
		},
		Emails: []string{"sample@example.com"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := FormatSubject(got.Subject[:2]); s != "C=CN, O=示例客车配件有限公司" {
		t.Errorf("formatted as %q", s)
	}
}

func TestProfileCompileRefuses(t *testing.T) {
	subject := func(kind, value string) func(*Profile) {
		return func(p *Profile) { p.Subject[0] = AttributeTemplate{Type: kind, Value: value} }
	}
	for _, row := range []struct {
		name   string
		change func(*Profile)
		field  string
	}{
		{"no subject", func(p *Profile) { p.Subject = nil }, "subject"},
		{"too many attributes", func(p *Profile) { p.Subject = make(SubjectTemplate, maxAttributes+1) }, "subject"},
		{"unknown type", subject("CNN", "x"), "subject[0].type"},
		{"type is no OID", subject("2.5.4.03", "x"), "subject[0].type"},
		{"type is an OID out of range", subject("3.1", "x"), "subject[0].type"},
		{"empty value", subject("OU", ""), "subject[0].value"},
		{"value renders empty", subject("OU", "{{if false}}x{{end}}"), "subject[0].value"},
		{"template does not parse", subject("OU", "{{.Company"), "subject[0].value"},
		{"unknown field", subject("OU", "{{.Company.Phone}}"), "subject[0].value"},
		{"unknown function", subject("OU", "{{env \"HOME\"}}"), "subject[0].value"},
		{"loop", subject("OU", "{{range 5}}x{{end}}"), "subject[0].value"},
		{"loop inside a condition", subject("OU", "{{if true}}{{range 5}}x{{end}}{{end}}"), "subject[0].value"},
		{"nested template", subject("OU", `{{define "a"}}x{{end}}{{template "a"}}`), "subject[0].value"},
		{"template too long", subject("OU", strings.Repeat("x", maxTemplate+1)), "subject[0].value"},
		{"too much text", subject("OU", `{{printf "%9000d" 1}}`), "subject[0].value"},
		{"country of three letters", subject("C", "CHN"), "subject[0].value"},
		{"country in small letters", subject("C", "cn"), "subject[0].value"},
		{"common name too long", subject("CN", strings.Repeat("示", 65)), "subject[0].value"},
		{"serial number beyond PrintableString", subject("serialNumber", "示例"), "subject[0].value"},
		{"blank at the end", subject("O", "{{.Company.Name}} "), "subject[0].value"},
		{"control character", subject("O", "示\n例"), "subject[0].value"},
		{"e-mail template does not parse", func(p *Profile) { p.EmailSAN = "{{" }, "emailSan"},
		{"e-mail is none", func(p *Profile) { p.EmailSAN = "{{.Handler.Name}}" }, "emailSan"},
		{"unknown addition", func(p *Profile) { p.MayAdd = []string{"OU", "XX"} }, "mayAdd[1]"},
		{"addition twice", func(p *Profile) { p.MayAdd = []string{"OU", "2.5.4.11"} }, "mayAdd[1]"},
		{"forbidden and asked for", func(p *Profile) { p.Forbidden = []string{"O"} }, "forbidden[0]"},
		{"forbidden and added", func(p *Profile) { p.MayAdd, p.Forbidden = []string{"OU"}, []string{"L", "OU"} }, "forbidden[1]"},
		{"no key usage", func(p *Profile) { p.KeyUsage = nil }, "keyUsage"},
		{"unknown key usage", func(p *Profile) { p.KeyUsage = []string{"signing"} }, "keyUsage[0]"},
		{"CA's key usage", func(p *Profile) { p.KeyUsage = []string{"keyCertSign"} }, "keyUsage[0]"},
		{"key usage twice under two names", func(p *Profile) { p.KeyUsage = []string{"nonRepudiation", "contentCommitment"} }, "keyUsage[1]"},
		{"unknown extended key usage", func(p *Profile) { p.ExtKeyUsage = []string{"client"} }, "extKeyUsage[0]"},
		{"any extended key usage", func(p *Profile) { p.ExtKeyUsage = []string{"2.5.29.37.0"} }, "extKeyUsage[0]"},
		{"extended key usage twice", func(p *Profile) { p.ExtKeyUsage = []string{"clientAuth", "1.3.6.1.5.5.7.3.2"} }, "extKeyUsage[1]"},
		{"negative tolerance", func(p *Profile) { p.ValidityTolerance = -1 }, "validityTolerance"},
		{"tolerance of a year", func(p *Profile) { p.ClockTolerance = 8766 * time.Hour }, "clockTolerance"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := sampleProfile()
			row.change(&p)
			c, err := p.Compile()
			if c != nil || !errors.Is(err, ErrBadProfile) {
				t.Fatalf("got %v, want ErrBadProfile", err)
			}
			var field *FieldError
			if errors.As(err, &field); field.Field != row.field {
				t.Errorf("fault at %q, want %q: %v", field.Field, row.field, err)
			}
		})
	}
}

func TestProfileCompileReportsEverything(t *testing.T) {
	p := sampleProfile()
	p.Subject[0].Value, p.Subject[3].Type, p.KeyUsage, p.ClockTolerance = "CHN", "XX", nil, -1
	_, err := p.Compile()
	for _, field := range []string{"subject[0].value:", "subject[3].type:", "keyUsage:", "clockTolerance:"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is missing in %v", field, err)
		}
	}
}

func TestRequestOptionalAndRefused(t *testing.T) {
	p := sampleProfile()
	p.Subject = append(p.Subject, AttributeTemplate{Type: "OU", Value: "{{with .Handler.Name}}{{.}}{{end}}", Optional: true})
	p.EmailSANOptional = true
	c := compile(t, p)

	data := SampleData()
	data.Handler = Handler{}
	r, err := c.Request(data)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Subject) != 4 || len(r.Emails) != 0 {
		t.Errorf("optional parts are still there: %+v", r)
	}

	for name, change := range map[string]func(*SubjectData){
		"company missing":       func(d *SubjectData) { d.Company.Name = "" },
		"company too long":      func(d *SubjectData) { d.Company.Name = strings.Repeat("示", 65) },
		"invisible character":   func(d *SubjectData) { d.Company.Name = "示\u200d例" },
		"not UTF-8":             func(d *SubjectData) { d.Company.Name = "示\xff" },
		"e-mail address broken": func(d *SubjectData) { d.Handler.Email = "sample@" },
	} {
		data := SampleData()
		change(&data)
		if r, err := c.Request(data); !errors.Is(err, ErrBadOrder) || r.Subject != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}

	p.Subject = append(p.Subject, AttributeTemplate{Type: "OU", Value: "经办人甲"})
	if _, err := compile(t, p).Request(SampleData()); !errors.Is(err, ErrBadOrder) {
		t.Errorf("one attribute twice: %v", err)
	}
}

func TestTextTruncate(t *testing.T) {
	for source, want := range map[string]string{
		"{{truncate 4 .Company.Name}}":        "示例客车",
		"{{.Company.Name | truncate 99}}":     "示例客车配件有限公司",
		`{{truncate 7 "Sample Company"}}x`:    "Samplex",
		`{{printf "%02d" .Sequence}}/{{.Of}}`: "01/2",
	} {
		text, err := CompileText(source)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := text.Render(SampleData()); err != nil || got != want {
			t.Errorf("%s gives %q, %v; want %q", source, got, err, want)
		}
	}
	if _, err := CompileText("{{truncate 0 .Company.Name}}"); err == nil {
		t.Error("truncating to nothing was accepted")
	}
}

func TestParseAttributeType(t *testing.T) {
	for _, r := range attributeRules() {
		byName, err1 := ParseAttributeType(r.name)
		byOID, err2 := ParseAttributeType(string(r.oid))
		if err1 != nil || err2 != nil || byName != byOID || byName.String() != r.name {
			t.Errorf("%s: %v %v", r.name, err1, err2)
		}
	}
	if got, err := ParseAttributeType("1.3.6.1.4.1.99999.7"); err != nil || got.String() != "1.3.6.1.4.1.99999.7" {
		t.Errorf("dotted OID: %v %v", got, err)
	}
	for _, bad := range []string{"", "cn", "2", "2.5.", ".2.5", "2.5.-4", "+2.5", "0.40", "1.40.1", "2.99999999999", strings.Repeat("2.5.", 40) + "1"} {
		if got, err := ParseAttributeType(bad); err == nil {
			t.Errorf("%q was taken as %q", bad, got)
		}
	}
}

func FuzzCompileText(f *testing.F) {
	for _, seed := range []string{"{{.Company.Name}}", `NTRCN-{{.Company.USCC}}`, `{{printf "%02d" .Sequence}}`, "{{truncate 3 .Handler.Name}}",
		"{{range 9}}{{end}}", `{{define "a"}}{{template "a"}}{{end}}`, "{{if eq .Of 2}}a{{else with .UnitID}}{{.}}{{end}}", "{{break}}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		text, err := CompileText(source)
		if err != nil {
			return
		}
		if out, err := text.Render(SampleData()); err == nil && len(out) > maxRendered {
			t.Errorf("%d bytes of text", len(out))
		}
		a := Attribute{typeO, must(text.Render(SampleData()))}
		if a.check() == nil && (!utf8.ValidString(a.Value) || utf8.RuneCountInString(a.Value) > 64) {
			t.Errorf("accepted %q", a.Value)
		}
	})
}
