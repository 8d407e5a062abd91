package crashmatrix

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
)

// setting is what both programs find: what the token is like, and what goes on beside.
type setting struct {
	name string
	// profile is more of the token profile of SoftHSM, as YAML.
	profile string
	// worst key generation in seconds, and the shortest lease; heartbeats follow from them.
	worst, lease int
	// token makes the token as its maker delivers it; nil leaves it blank.
	token func(*world)
	// first is where the daemon dies in its first run; then its lease runs out.
	first *point
	// during goes on once the daemon is at work.
	during func(*world)
	// factory is the SO PIN with which the token comes; such a token may be set aside
	// as it is when the program dies while that PIN is tried.
	factory string
	// refused says that no job can succeed here.
	refused bool
}

// settings are, for each program, in the order in which they are run. Of all but the
// first, only those points are taken whose labels the ones before did not pass.
func settings(p program) []setting {
	blank := setting{name: "blank", worst: 10, lease: 12}
	wrong := setting{
		name: "wrong factory SO PIN", worst: 10, lease: 12, profile: ", factorySoPinFile: so.pin", factory: "11111111", refused: true,
		token: func(w *world) { w.initialise("factory", "11111111") },
	}
	if p == central {
		return []setting{
			blank,
			{name: "CA out of order", worst: 10, lease: 12, during: caOutOfOrder},
			{name: "lease runs out", worst: 1, lease: 2, first: &point{crashpoint.BeforeIt, 1, "PUT /v1/escrows/*"}},
			wrong,
		}
	}
	return []setting{
		blank,
		{
			name: "factory SO PIN", worst: 10, lease: 12, profile: ", factorySoPinFile: so.pin", factory: factorySOPIN,
			token: func(w *world) { w.initialise("factory", factorySOPIN) },
		},
		{
			name: "as made", worst: 10, lease: 12, factory: factorySOPIN,
			profile: `, factorySoPinFile: so.pin, factoryUserPinFile: user.pin, initialise: false, userPin: change, keyId: "01", caKeyIds: ["05", "06"]`,
			token:   func(w *world) { w.Bays[0].InitToken(w.t, "made", factorySOPIN, factoryUserPIN) },
		},
		wrong,
	}
}

// whole are the settings all of whose points are taken, whatever was passed before.
func (s setting) whole() bool { return s.name == "blank" || s.name == "factory SO PIN" || s.name == "as made" }

const factorySOPIN, factoryUserPIN = "87654321", "123456"

// profiles is the part of the configuration about tokens. The files of factory PINs
// that it names are made in dir.
func (s setting) profiles(t testing.TB, dir string) string {
	t.Helper()
	for name, pin := range map[string]string{"so.pin": factorySOPIN, "user.pin": factoryUserPIN} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(pin), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The built-in profiles count for the lease's length, too.
	text := fmt.Sprintf("tokenProfiles:\n  - {name: softhsm2, match: {manufacturer: SoftHSM project, model: SoftHSM v2}, deadlines: {keyGeneration: %ds}%s}\n", s.worst, s.profile)
	for _, name := range []string{"opencryptoki-soft", "ykcs11"} {
		text += fmt.Sprintf("  - {name: %s, match: {manufacturer: none, model: none}, deadlines: {keyGeneration: %ds}}\n", name, s.worst)
	}
	return text
}

// initialise gives the token an SO PIN, and no user PIN.
func (w *world) initialise(label, soPIN string) {
	w.t.Helper()
	bay := w.Bays[0]
	bay.Tool(w.t, "pkcs11-tool", "--module", bay.Path, "--slot-index", "0", "--init-token", "--label", label, "--so-pin", soPIN)
}

// caOutOfOrder has the CA fail, in a way that it does not expect, until the server has
// noticed.
func caOutOfOrder(w *world) {
	w.t.Helper()
	rename := func(from, to string) {
		db, err := sql.Open("sqlite", "file:"+filepath.Join(w.access.DataDir, "ca", "issued.db")+"?_pragma=busy_timeout(10000)")
		if err != nil {
			w.t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		if _, err := db.ExecContext(w.t.Context(), "ALTER TABLE "+from+" RENAME TO "+to); err != nil {
			w.t.Fatal(err)
		}
	}
	rename("certificates", "elsewhere")
	w.daemon = w.startDaemon(nil)
	w.eventually("the server to notice", func() bool {
		return w.count("SELECT COUNT(*) FROM history WHERE to_state = 'ISSUE_UNKNOWN'") > 0
	})
	rename("elsewhere", "certificates")
}
