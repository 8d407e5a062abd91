package crashmatrix

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/crashpoint"
	"github.com/usbkeyd/usbkeyd/internal/identity/tpmtest"
	"github.com/usbkeyd/usbkeyd/internal/stationtest"
)

// TestCrashWhileEnrolling kills each program before and after everything that it cannot
// take back while a station enrols by its TPM and a person approves it. Whoever was
// killed is started again, the same command is given again, and in the end there is
// one station that has its certificate over the key in its TPM, and the join token is nowhere.
func TestCrashWhileEnrolling(t *testing.T) {
	for _, p := range []struct {
		program program
		points  []point
	}{
		{daemon, []point{{"", 1, crashpoint.StateFile}, {"", 2, crashpoint.StateFile}, {"", 1, "POST /v1/enrollments"}, {"", 1, "POST /v1/enrollments/*/proof"}, {"", 2, "POST /v1/enrollments/*/proof"}}},
		{central, []point{
			{"", 1, "invite station *"}, {"", 1, "challenge station *"}, {"", 1, "take the proof of enrolment *"}, {"", 2, "take the proof of enrolment *"}, {"", 1, "approve station *"},
			{"", 1, "PostInvitation"}, {"", 1, "PostEnrollment"}, {"", 1, "PostEnrollmentProof"}, {"", 2, "PostEnrollmentProof"}, {"", 1, "ListEnrollments"}, {"", 1, "PostApproval"},
		}},
	} {
		for _, k := range p.points {
			for _, k.moment = range []string{crashpoint.BeforeIt, crashpoint.AfterIt} {
				t.Run(fmt.Sprintf("%s/%s", p.program, k), func(t *testing.T) {
					t.Parallel()
					enrolByTPM(t, p.program, k)
				})
			}
		}
	}
}

func enrolByTPM(t *testing.T, p program, k point) {
	soft := tpmtest.New(t)
	w := newWorld(t, settings(daemon)[0])
	if p == central {
		w.later = []point{k}
	}
	w.startServer()
	var invitation string
	w.try("invite the station", func() error {
		invitation = filepath.Join(w.Dir, fmt.Sprint("carry-", time.Now().UnixNano()))
		_, err := w.access.Admin.InviteStation(t.Context(), "sample-station", invitation, adminclient.Invitation{Valid: time.Hour})
		return err
	})
	w.configureTPM(soft, invitation)
	w.setting.person = func(w *world) {
		pending, err := w.access.Admin.Enrollments(t.Context())
		if err != nil {
			return // the server may be dead; it is started again
		}
		for _, e := range pending {
			if e.State == api.Proved && e.Trust == nil {
				_, _ = w.access.Admin.ApproveStation(t.Context(), e.Station, *e.EndorsementKeySha256, "p1") // the next time tells
			}
		}
	}
	died := p == central
	for n := 0; ; n++ {
		if n == 10 {
			t.Fatalf("it does not enrol\n%s", stationtest.Tail(w.daemonLog()))
		}
		var at *point
		if p == daemon && n == 0 {
			at = &k
		}
		w.runs++
		run := launch(t, "usbkeyd", w.daemonLog(), w.daemonTrace(w.runs), at, nil,
			"--config", w.Config, "enroll", "--join-token-file", filepath.Join(invitation, adminclient.JoinToken))
		w.eventually("the end of enroll", func() bool { return !run.Alive() })
		if at != nil && run.Killed() {
			died = true
		}
		if run.Err() == nil || strings.Contains(stationtest.Tail(w.daemonLog()), "has a certificate already") {
			break
		}
	}
	if !died {
		t.Errorf("%s was not reached", k)
	}
	if p == central && w.starts < 2 {
		t.Errorf("%s was not reached", k)
	}
	w.revive()
	stations, err := w.access.Admin.Stations(t.Context())
	if err != nil || len(stations) != 1 || stations[0].Identity != api.Tpm {
		t.Errorf("%+v, %v", stations, err)
	}
	// The TPM's key and the certificate fit, and the server takes them.
	show := launch(t, "usbkeyd", w.daemonLog(), filepath.Join(w.Dir, "show.trace"), nil, nil, "--config", w.Config, "identity", "show")
	if err := show.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stationtest.Tail(w.daemonLog()))
	}
	w.access.Order(t, 1)
	w.daemon = w.startDaemon(nil, "--drain")
	w.eventually("the end of the job", w.settled)
	if err := w.daemon.Wait(); err != nil {
		t.Errorf("%v\n%s", err, stationtest.Tail(w.daemonLog()))
	}
	w.takeJoinTokens()
	w.CheckNoPIN()
}

// takeJoinTokens does what a person has to do in the end: removes the join tokens, which are to
// be nowhere else.
func (w *world) takeJoinTokens() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.Dir, "carry-*", adminclient.JoinToken))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("join tokens: %v (%v)", files, err)
	}
	for _, file := range files {
		token, err := os.ReadFile(file)
		if err == nil {
			err = os.Remove(file)
		}
		if err != nil {
			w.t.Fatal(err)
		}
		w.LookFor("join token of "+filepath.Base(filepath.Dir(file)), strings.TrimSpace(string(token)))
	}
}

// configureTPM makes the station one whose key is to be in its TPM.
func (w *world) configureTPM(soft *tpmtest.TPM, invitation string) {
	w.t.Helper()
	text, err := os.ReadFile(w.Config)
	if err != nil {
		w.t.Fatal(err)
	}
	files := strings.NewReplacer(
		w.access.StationDir+"/station.crt, key: "+w.access.StationDir+"/station.key", filepath.Join(w.Dir, "station.crt"),
		w.access.StationDir+"/", invitation+"/",
		"{tier: file}", fmt.Sprintf("{device: %q}", soft.Device))
	if err := os.WriteFile(w.Config, []byte(files.Replace(string(text))), 0o600); err != nil {
		w.t.Fatal(err)
	}
}
