package crashpoint_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// TestOtherBuildsHaveNothingOfIt looks for what a crash point needs in both programs,
// built as they are shipped and with the tag. Names that are handed on to a commit, such
// as OutboxSent, stay in them as text that nobody reads.
func TestOtherBuildsHaveNothingOfIt(t *testing.T) {
	for _, tags := range []string{"", "crashpoints"} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", tags, "-o", dir+"/", "./cmd/usbkeyd", "./cmd/usbkey-central")
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for program, label := range map[string]crashpoint.Label{"usbkeyd": crashpoint.TokenInit, "usbkey-central": crashpoint.CALookup} {
			binary, err := os.ReadFile(filepath.Join(dir, program))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{crashpoint.KillAt, crashpoint.Trace, string(label)} {
				if found := bytes.Contains(binary, []byte(text)); found != (tags != "") {
					t.Errorf("%s with the tags %q has %q: %v", program, tags, text, found)
				}
			}
		}
	}
}
