package orders

import (
	"strings"
	"testing"
)

func TestCheckUSCC(t *testing.T) {
	rows := []struct {
		code string
		want string // in the error; empty for none
	}{
		// The worked example of many descriptions of GB 32100-2015 is a public body's code.
		{"91350100M000100Y43", ""},
		{"91000000MA0000001R", ""},
		{"91000000MA0000002W", ""},
		{"91350100M000100Y44", "check character"},
		{"91350100M000100Y34", "check character"}, // two characters exchanged
		{"91350100M000100y43", "neither a digit"},
		{"91350100MO00100Y43", "neither a digit"},
		{"91350100M000100Y4", "18 characters"},
		{"", "18 characters"},
		{"\uff1950100M000100Y43", "neither a digit"}, // 18 bytes, the first digit full-width
	}
	for _, row := range rows {
		err := CheckUSCC(row.code)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: got %v, want %q", row.code, err, row.want)
		}
	}
}

// Every single wrong character is found: 31 is prime, and no weight is 0.
func TestEverySingleErrorIsFound(t *testing.T) {
	const good = "91350100M000100Y43"
	for i := range len(good) {
		for j := range len(usccAlphabet) {
			bad := good[:i] + usccAlphabet[j:j+1] + good[i+1:]
			if err := CheckUSCC(bad); (err == nil) != (bad == good) {
				t.Errorf("%s: %v", bad, err)
			}
		}
	}
}
