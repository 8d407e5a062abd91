package crashmatrix

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

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
	// bays is how many tokens there are; 0 stands for one.
	bays int
	// dies is where the daemon dies in its first run, and meanwhile what happens until it
	// is started again.
	dies      *point
	meanwhile func(*world)
	// person is asked again and again, and does what a person has to do by then, if anything.
	person func(*world)
	// over reports that the unit's life is over, where that is neither installed nor cancelled.
	over func(*world) bool
	// newServer has the server start for the first time: it makes its keys.
	newServer bool
	// caAway has the CA fail, in a way that the server does not expect, until the station
	// asks for the certificate.
	caAway bool
	// factory is the SO PIN with which the token comes; such a token may be set aside
	// as it is when the program dies while that PIN is tried.
	factory string
	// refused says that no job can succeed here.
	refused bool
	// check judges an end that is neither of the usual ones; badly says that a job ends
	// there in a way that a drain tells with its exit code.
	check func(*world)
	badly bool
}

// settings are, for each program, in the order in which they are run. Of all but the
// first, only those points are taken whose labels the ones before did not pass.
func settings(p program) []setting {
	blank := setting{name: "blank", worst: 10, lease: 12}
	wrong := setting{
		name: "wrong factory SO PIN", worst: 10, lease: 12, profile: ", factorySoPinFile: so.pin", factory: "11111111", refused: true,
		token: func(w *world) { w.initialise("factory", "11111111") },
	}
	away := setting{name: "CA out of order", worst: 10, lease: 12, caAway: true}
	if p == central {
		return []setting{
			blank,
			{name: "new server", worst: 10, lease: 12, newServer: true},
			away,
			{name: "lease runs out", worst: 1, lease: 2, dies: &point{crashpoint.BeforeIt, 1, "PUT /v1/escrows/*"}, meanwhile: leaseRunsOut},
			wrong,
			cancelled(), stranded(), reissued(), parcel(),
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
		away,
		wrong,
		cancelled(), stranded(), reissued(), parcel(),
	}
}

// first reports whether it is the first of the settings: the one that is watched for a
// heartbeat, and from which the fixed part is taken.
func (s setting) first() bool { return s.name == "blank" }

// whole are the settings all of whose points are taken, whatever was passed before.
func (s setting) whole(p program) bool {
	return s.first() || s.name == "factory SO PIN" || s.name == "as made" || p == daemon && s.meanwhile != nil
}

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

// sendCAAway has the CA fail, and sees to it that it works again once the server has
// noticed and the station has asked for the certificate.
func (w *world) sendCAAway() {
	w.t.Helper()
	// It is what both issuing and looking up need, and nothing else that a server does.
	if err := w.renameInCA("request_sha256", "elsewhere"); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- w.bringCABack() }()
	w.t.Cleanup(func() {
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) bringCABack() error {
	for ; w.t.Context().Err() == nil; time.Sleep(20 * time.Millisecond) {
		noticed := w.count("SELECT COUNT(*) FROM history WHERE to_state = 'ISSUE_UNKNOWN'") > 0
		if noticed && w.asked("GET /v1/units/*/generations/*/certificate") {
			return w.renameInCA("elsewhere", "request_sha256")
		}
	}
	return errors.New("the station never asked for the certificate")
}

// asked reports whether any run of the daemon has begun a request.
func (w *world) asked(request crashpoint.Label) bool {
	traces, err := filepath.Glob(filepath.Join(w.Dir, "usbkeyd-*.trace"))
	return err == nil && slices.ContainsFunc(traces, func(trace string) bool {
		text, err := os.ReadFile(trace)
		return err == nil && strings.Contains(string(text), crashpoint.BeforeIt+" "+string(request)+"\n")
	})
}

func (w *world) renameInCA(from, to string) error {
	db, err := sql.Open("sqlite", "file:"+filepath.Join(w.access.DataDir, "ca", "issued.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	_, err = db.Exec("ALTER TABLE certificates RENAME COLUMN " + from + " TO " + to)
	return errors.Join(err, db.Close())
}
