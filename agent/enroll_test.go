package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestJoinTokenIsNeverShown: alone, inside what holds it, under every verb.
func TestJoinTokenIsNeverShown(t *testing.T) {
	const secret = "c2VjcmV0"
	e := Enrolment{JoinToken: secret}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "token", e.JoinToken, "all", e)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		log.WriteString(fmt.Sprintf(verb, e.JoinToken) + fmt.Sprintf(verb, e))
	}
	text, err := json.Marshal(map[string]any{"token": e.JoinToken})
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(text)
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret)} {
		if strings.Contains(all, form) {
			t.Errorf("%s is in %s", form, all)
		}
	}
	if strings.Count(all, redacted) < 2*8+1 {
		t.Errorf("not all of it was printed: %s", all)
	}
}
