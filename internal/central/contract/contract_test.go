package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestDecodeIsStrict(t *testing.T) {
	rows := []struct {
		body, want string
		offset     int64
	}{
		{`{"a":[1,"x",null,true,{"b":{}}]}`, "", 0},
		{" [] ", "", 0},
		{"", "empty", 0},
		{" \n", "empty", 0},
		{`{"a":1,"a":2}`, "the key /a appears twice", 10},
		{`{"a":{"b/c":[{"d":1,"d":2}]}}`, "the key /a/b~1c/0/d appears twice", 23},
		{`{"a":1,"\u0061":2}`, "the key /a appears twice", 15},
		{`{} x`, "not JSON", 3},
		{`{}{}`, "not JSON", 2},
		{`{"a":`, "not JSON", 4},
		{`{'a':1}`, "not JSON", 1},
		{"\xef\xbb\xbf{}", "not JSON", 0},
		{"{\"a\":\"\xff\"}", "not UTF-8", 6},
		{strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested too deeply", 33},
	}
	for _, row := range rows {
		_, err := decode([]byte(row.body))
		var malformed *MalformedError
		switch {
		case row.want == "" && err != nil:
			t.Errorf("%q: %v", row.body, err)
		case row.want != "" && (!errors.As(err, &malformed) || !strings.Contains(malformed.Detail, row.want) || malformed.Offset != row.offset):
			t.Errorf("%q: got %v, want %q at byte %d", row.body, err, row.want, row.offset)
		}
	}
}

// Whatever decode takes, encoding/json reads as the same document.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5e3,"x"]}`, `[]`, `"\ud800"`, `{"a":1,"a":2}`, `nul`, `{"":{"":0}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(data)
		var malformed *MalformedError
		if err != nil {
			if !errors.As(err, &malformed) || malformed.Offset < 0 || malformed.Offset > int64(len(data)) {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		var plain any
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatalf("%q is taken, but not by encoding/json: %v", data, err)
		}
		if v == nil && plain != nil {
			t.Fatalf("%q became nothing", data)
		}
	})
}

// A body full of unknown fields costs no more than reading it and gets a bounded answer.
func TestManyUnknownFields(t *testing.T) {
	c, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	var body strings.Builder
	body.WriteString(`{"x":1`)
	for i := range 8000 {
		fmt.Fprintf(&body, `,"%d":1`, i)
	}
	body.WriteString("}")
	for _, op := range c.Operations() {
		if op.ID != "PutOrder" {
			continue
		}
		begun := time.Now()
		_, fields, err := op.DecodeBody([]byte(body.String()))
		if err != nil || len(fields) != maxFindings {
			t.Errorf("%d findings, want %d: %v", len(fields), maxFindings, err)
		}
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	}
}
