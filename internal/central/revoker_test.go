package central_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/internal/central"
	"github.com/usbkeyd/usbkeyd/internal/central/ca"
	"github.com/usbkeyd/usbkeyd/internal/central/database"
)

// slowToRevoke does not revoke before it may.
type slowToRevoke struct {
	ca.CA
	may     chan struct{}
	revokes chan struct{} // closed when it was asked to
	once    sync.Once
}

func (c *slowToRevoke) Revoke(ctx context.Context, r ca.Revocation) error {
	c.once.Do(func() { close(c.revokes) })
	select {
	case <-c.may:
		return c.CA.Revoke(ctx, r)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// While the CA revokes, leases go on ending and issuing goes on.
func TestASlowRevocationHoldsUpNothing(t *testing.T) {
	t.Parallel()
	r, authority, change := faultyRig(t, func(*testing.T) database.Postgres { return database.Postgres{} })
	r.stop()
	slow := &slowToRevoke{CA: authority, may: make(chan struct{}), revokes: make(chan struct{})}
	r.start(func(c *central.Config) { change(c); c.CA = slow })
	release := sync.OnceFunc(func() { close(slow.may) })
	t.Cleanup(release)
	w := r.station("bay-1").one("SLOW").escrowed()
	w.putCSR() // answered when the certificate is there, or after 50 ms
	must[api.IssuedCertificate](t, w.getCertificate(20), http.StatusOK)
	if _, err := r.admin.Cancel(t.Context(), "SLOW", api.CancelRequest{Operator: "p1", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	<-slow.revokes
	swept := make(chan error, 1)
	go func() { swept <- r.srv.Sweep(context.Background()) }()
	select {
	case err := <-swept:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("a sweep waits for the CA to revoke")
	}
	release()
}
