package central_test

import (
	"bytes"
	"database/sql"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/adminclient"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
	"github.com/usbkeyd/usbkeyd/internal/central/pgtest"
	"github.com/usbkeyd/usbkeyd/internal/identity/tpmtest"
)

// Who has no join token is refused before anything is computed or written for him, and
// few at once are worked for who have no certificate.
func TestStrangers(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		testStrangers(t, database.Postgres{}, "BEGIN IMMEDIATE", func(dir string) (driver, dsn string) {
			// What the server is just writing is waited for.
			return "sqlite", filepath.Join(dir, "central.db") + "?_pragma=busy_timeout(10000)"
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		url := pgtest.Database(t)
		at, err := database.ParsePostgres(url)
		if err != nil {
			t.Fatal(err)
		}
		testStrangers(t, at, "BEGIN; LOCK TABLE usbkey_central.enrollments IN EXCLUSIVE MODE", func(string) (driver, dsn string) { return "pgx", url })
	})
}

func testStrangers(t *testing.T, at database.Postgres, lock string, source func(dir string) (driver, dsn string)) {
	var log bytes.Buffer
	r := newRig(t, func(*testing.T) database.Postgres { return at }, func(c *central.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	a := r.applicant("bay-1", tpmtest.New(t), adminclient.Invitation{})
	if got := a.begin(); got.status != http.StatusOK {
		t.Fatal(got)
	}
	// Nobody can write from here on.
	db, err := sql.Open(source(r.dir))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock := func() {
		_ = conn.Close()
		_ = db.Close()
	}
	defer unlock()
	if _, err := conn.ExecContext(t.Context(), lock); err != nil {
		t.Fatal(err)
	}
	stranger := func() answer {
		return a.post(a.http, "/enrollments", api.EnrollmentRequest{JoinToken: strings.Repeat("A", 43), Station: "forged-name", Tpm: api.TpmKeys{
			EndorsementKey: []byte{1}, AttestationKey: []byte{1}, IdentityKey: []byte{1},
		}})
	}
	wantProblem(t, stranger(), http.StatusUnauthorized, api.ProblemUnauthenticated)
	wantProblem(t, a.post(a.http, "/enrollments/"+uuid.NewString()+"/proof", api.EnrollmentProof{
		Secret: []byte{1}, Certified: api.Certified{Attestation: []byte{1}, Signature: []byte{1}},
	}), http.StatusNotFound, api.ProblemNotFound)

	// Those who wait for the store take the places of all others.
	begun, late := make(chan answer, 2), make(chan answer, 1)
	for range cap(begun) {
		go func() { begun <- a.begin() }()
	}
	for deadline := time.Now().Add(patience); ; {
		go func() { late <- stranger() }()
		select {
		case <-late: // those two have not come yet
			if time.Now().After(deadline) {
				t.Fatal("one is answered whose turn it is not")
			}
			continue
		case <-time.After(300 * time.Millisecond):
		}
		break
	}
	unlock()
	for range cap(begun) {
		if got := <-begun; got.status != http.StatusOK {
			t.Error(got)
		}
	}
	wantProblem(t, <-late, http.StatusUnauthorized, api.ProblemUnauthenticated)
	r.stop()
	if strings.Contains(log.String(), "forged-name") {
		t.Errorf("the log has a name that nobody has proved:\n%s", log.String())
	}
}
