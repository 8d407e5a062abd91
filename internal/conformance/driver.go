package conformance

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/csr/envelope"
)

// driver holds what all checks share.
type driver struct {
	Config
	admin    party
	stations [2]*station
	nobody   party  // shows no certificate
	run      string // in the ids of this run's orders
	orders   int
	user, so []envelope.Recipient
}

// station is one of the two that are played.
type station struct {
	party
	instance   string
	session    api.Session
	credential tls.Certificate
}

func newDriver(ctx context.Context, c Config) (*driver, error) {
	suffix := make([]byte, 3)
	if _, err := rand.Read(suffix); err != nil {
		return nil, err
	}
	d := &driver{Config: c, run: hex.EncodeToString(suffix)}
	d.admin = newParty(c.AdminURL, c.Roots, nil, c.AdminToken)
	d.nobody = newParty(c.URL, c.Roots, nil, "")
	for i := range d.stations {
		// The same instance every time, so that a run can follow on another.
		instance := uuid.NewSHA1(uuid.NameSpaceOID, c.Stations[i].Certificate[0]).String()
		d.stations[i] = &station{party: newParty(c.URL, c.Roots, &c.Stations[i], ""), instance: instance, credential: c.Stations[i]}
		if c.through != nil {
			d.stations[i].http.Transport = c.through(d.stations[i].http.Transport)
		}
		if err := d.stations[i].open(ctx); err != nil {
			return nil, fmt.Errorf("station %d of the two gets no session: %w", i+1, err)
		}
	}
	var trust api.Trust
	a, err := d.stations[0].send(ctx, "GET", "/trust", nil)
	if err == nil {
		err = a.is(&trust, 200)
	}
	if err != nil {
		return nil, fmt.Errorf("recipients of PINs: %w", err)
	}
	if d.user, err = recipients(trust.UserPinRecipients); err != nil {
		return nil, fmt.Errorf("recipients of user PINs: %w", err)
	}
	if d.so, err = recipients(trust.SoPinRecipients); err != nil {
		return nil, fmt.Errorf("recipients of SO PINs: %w", err)
	}
	if a, err = d.admin.send(ctx, "GET", "/orders?limit=1", nil); err == nil {
		err = a.is(nil, 200)
	}
	if err != nil {
		return nil, fmt.Errorf("the order system's side: %w", err)
	}
	return d, nil
}

func recipients(ders [][]byte) ([]envelope.Recipient, error) {
	var out []envelope.Recipient
	for _, der := range ders {
		r, err := envelope.ParseRecipient(der, time.Now())
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, errors.New("there are none")
	}
	return out, nil
}

func (d *driver) close() {
	for _, p := range []party{d.admin, d.nobody, d.stations[0].party, d.stations[1].party} {
		p.http.CloseIdleConnections()
	}
}

// open opens the station's session, or replaces it.
func (s *station) open(ctx context.Context) error {
	a, err := s.sessionAs(ctx, s.instance, api.ProtocolVersion)
	if err != nil {
		return err
	}
	return a.is(&s.session, 200)
}

func (s *station) sessionAs(ctx context.Context, instance string, version int) (answer, error) {
	return s.send(ctx, "PUT", "/session", api.SessionRequest{
		InstanceId: instance, BootId: "conformance", ProtocolVersion: version, Version: "conformance",
		Slots: []api.SlotCapability{{TokenModel: "sample model", Algorithms: []string{"rsa2048", "ec-p256"}, WorstKeyGenerationSeconds: 60}},
	})
}

// claim asks for work under a key.
func (s *station) claim(ctx context.Context, key string, wait, most int, product string) (answer, []api.Lease, error) {
	a, err := s.send(ctx, "POST", fmt.Sprintf("/claims?wait=%d", wait),
		api.ClaimRequest{SessionId: s.session.SessionId, Max: most, Products: []string{product}}, "Idempotency-Key", key)
	if err != nil {
		return a, nil, err
	}
	var got api.ClaimAnswer
	err = a.is(&got, 200, 204)
	return a, got.Leases, err
}

func (s *station) release(ctx context.Context, unit string, epoch int64) (answer, error) {
	return s.send(ctx, "POST", "/units/"+unit+"/release", api.ReleaseRequest{Epoch: epoch, Reason: api.NoToken})
}

// beat sends one heartbeat for one unit and gives its status.
func (s *station) beat(ctx context.Context, unit string, epoch int64) (api.HeartbeatStatus, error) {
	a, err := s.send(ctx, "POST", "/heartbeat", api.HeartbeatRequest{
		SessionId: s.session.SessionId, Units: []api.HeartbeatUnit{{UnitId: unit, Epoch: epoch, Phase: "conformance"}},
	})
	if err != nil {
		return api.HeartbeatStatus{}, err
	}
	var got api.HeartbeatAnswer
	if err := a.is(&got, 200); err != nil {
		return api.HeartbeatStatus{}, err
	}
	if len(got.Units) != 1 || got.Units[0].UnitId != unit {
		return api.HeartbeatStatus{}, fmt.Errorf("%v; want the status of that one unit", a)
	}
	return got.Units[0], nil
}

// hears wants a status for a unit in the station's heartbeat.
func (s *station) hears(ctx context.Context, unit string, epoch int64, want api.HeartbeatStatusStatus) error {
	got, err := s.beat(ctx, unit, epoch)
	if err == nil && got.Status != want {
		err = fmt.Errorf("the heartbeat says %s, want %s", got.Status, want)
	}
	return err
}
