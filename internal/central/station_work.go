package central

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/usbkeyd/usbkeyd/api"
	"github.com/usbkeyd/usbkeyd/api/stationserver"
	"github.com/usbkeyd/usbkeyd/internal/central/store"
)

// generationMargin is what a lease has beyond the worst key generation.
const generationMargin = time.Minute

// stationAPI is the contract's station side.
type stationAPI struct{ *Server }

// GetMeta implements the operation.
func (s *stationAPI) GetMeta(context.Context, stationserver.GetMetaRequestObject) (stationserver.GetMetaResponseObject, error) {
	return stationserver.GetMeta200JSONResponse{ProtocolVersions: []int{api.ProtocolVersion}, Version: s.cfg.Version}, nil
}

// GetTrust implements the operation.
func (s *stationAPI) GetTrust(context.Context, stationserver.GetTrustRequestObject) (stationserver.GetTrustResponseObject, error) {
	return stationserver.GetTrust200JSONResponse{
		UserPinRecipients: rawCertificates(s.cfg.UserPINRecipients),
		SoPinRecipients:   rawCertificates(s.cfg.SOPINRecipients),
	}, nil
}

// PutSession implements the operation.
func (s *stationAPI) PutSession(ctx context.Context, r stationserver.PutSessionRequestObject) (stationserver.PutSessionResponseObject, error) {
	if r.Body.ProtocolVersion != api.ProtocolVersion {
		return nil, problem(api.ProblemProtocolUnsupported, fmt.Sprintf("version %d is spoken here, not %d", api.ProtocolVersion, r.Body.ProtocolVersion))
	}
	lease := s.leaseLength(r.Body.Slots)
	session, held, err := s.store.PutSession(ctx, store.Session{
		Station: stationOf(ctx), InstanceID: r.Body.InstanceId, BootID: r.Body.BootId, Version: r.Body.Version,
		Slots: r.Body.Slots, Lease: lease,
	})
	if err != nil {
		return nil, err
	}
	leases, err := leasesOf(held)
	if err != nil {
		return nil, err
	}
	identity := api.IdentityTier(callerOf(ctx).station.Tier)
	return stationserver.PutSession200JSONResponse{
		SessionId: session.ID, Identity: &identity, LeaseSeconds: seconds(lease), HeartbeatSeconds: max(seconds(lease/4), 1), Drain: drains(ctx), Held: leases,
	}, nil
}

// leaseLength is long enough for the slowest key generation that the station knows
// of: a lease must not run out while a token is busy and cannot be asked.
func (s *Server) leaseLength(slots []api.SlotCapability) time.Duration {
	lease := s.cfg.LeaseBase
	margin := min(generationMargin, s.cfg.LeaseBase/2)
	for _, slot := range slots {
		lease = max(lease, time.Duration(slot.WorstKeyGenerationSeconds)*time.Second+margin)
	}
	return lease
}

// PostClaims implements the operation.
func (s *stationAPI) PostClaims(ctx context.Context, r stationserver.PostClaimsRequestObject) (stationserver.PostClaimsResponseObject, error) {
	claim, err := claimOf(ctx, r)
	if err != nil {
		return nil, err
	}
	flight, err := s.claims.join(*claim)
	if err != nil {
		return nil, err
	}
	defer s.claims.leave(flight)
	leases, err := s.waitForWork(ctx, claim, flight, wait(r.Params.Wait))
	if err != nil {
		return nil, err
	}
	return s.claimAnswer(claim.Station, leases)
}

func claimOf(ctx context.Context, r stationserver.PostClaimsRequestObject) (*store.Claim, error) {
	if r.Params.IdempotencyKey == nil {
		return nil, problem(api.ProblemIdempotencyKeyMissing, "")
	}
	digest, err := claimDigest(*r.Body)
	if err != nil {
		return nil, err
	}
	return &store.Claim{
		Station: stationOf(ctx), SessionID: r.Body.SessionId, KeySHA256: callerOf(ctx).station.PublicKeySHA256, Key: *r.Params.IdempotencyKey, RequestSHA256: digest,
		Max: r.Body.Max, Products: r.Body.Products,
	}, nil
}

// claimAnswer has what it needs on the stack to itself: what is there while a claim waits, a
// thousand stations keep there.
func (s *Server) claimAnswer(station string, leases []store.Lease) (stationserver.PostClaimsResponseObject, error) {
	if len(leases) == 0 {
		// Stations that came back together are spread a little.
		after := 1 + rand.IntN(3)
		return stationserver.PostClaims204Response{Headers: stationserver.PostClaims204ResponseHeaders{RetryAfter: &after}}, nil
	}
	for _, l := range leases {
		s.cfg.Logger.Info("unit leased", "station", station, "unit", l.Unit.ID, "generation", l.Unit.Generation, "epoch", l.Unit.Epoch, "order", l.Order.ID)
	}
	given, err := leasesOf(leases)
	if err != nil {
		return nil, err
	}
	return stationserver.PostClaims200JSONResponse{Leases: given}, nil
}

// waitForWork claims, and if there is nothing waits to be called, or a while, and
// claims again. A repeat of a claim that is under way does the same beside it;
// the key, looked up in the transaction that leases, gives both the same units.
func (s *Server) waitForWork(ctx context.Context, claim *store.Claim, flight *claimFlight, wait time.Duration) ([]store.Lease, error) {
	end := time.Now().Add(wait)
	work := s.ready.local
	w := newWaiter(claim.Station, claim.Products)
	defer work.leave(w)
	look := time.NewTimer(slowPoll)
	defer look.Stop()
	var called call
	for sure := true; ; {
		work.enter(w)
		leases, err := s.tryClaim(ctx, claim, sure)
		work.pass(called, err == nil && len(leases) > 0)
		if err != nil {
			return nil, err
		}
		if len(leases) > 0 {
			flight.land()
			return leases, nil
		}
		called, sure = call{}, false
		// One timer: there are as many of these as stations.
		look.Reset(min(work.pause(), time.Until(end)))
		select {
		case called = <-w.called:
			if ctx.Err() != nil {
				w.called <- called // for the next one, by leave; there is room
				return nil, ctx.Err()
			}
			sure = called.looks == maxLooks // nobody has looked for it yet
		case <-flight.landed:
			sure = true
		case <-look.C:
			if !time.Now().Before(end) {
				return nil, nil
			}
		case <-s.stopping.Done():
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryClaim claims; unless it is sure that there may be something, it looks first, without
// a write.
func (s *Server) tryClaim(ctx context.Context, claim *store.Claim, sure bool) ([]store.Lease, error) {
	if !sure {
		there, err := s.store.Claimable(ctx, *claim)
		if err != nil || !there {
			return nil, err
		}
	}
	return s.store.Claim(ctx, *claim)
}

// PostHeartbeat implements the operation.
func (s *stationAPI) PostHeartbeat(ctx context.Context, r stationserver.PostHeartbeatRequestObject) (stationserver.PostHeartbeatResponseObject, error) {
	beats := make([]store.Beat, len(r.Body.Units))
	for i, u := range r.Body.Units {
		beats[i] = store.Beat{UnitID: u.UnitId, Epoch: u.Epoch, Phase: u.Phase}
	}
	pulses, err := s.store.Heartbeat(ctx, stationOf(ctx), r.Body.SessionId, beats)
	if err != nil {
		return nil, err
	}
	answer := stationserver.PostHeartbeat200JSONResponse{Drain: drains(ctx), Units: make([]api.HeartbeatStatus, len(beats))}
	for i, b := range beats {
		status := api.HeartbeatStatus{UnitId: b.UnitID, Epoch: b.Epoch, Status: api.Lost}
		switch {
		case pulses[i].Cancel:
			status.Status = api.Cancel
		case pulses[i].Left > 0:
			status.Status, status.LeaseSeconds, status.Urgent = api.Ok, seconds(pulses[i].Left), &pulses[i].Urgent
		}
		answer.Units[i] = status
	}
	return answer, nil
}

// PostRelease implements the operation.
func (s *stationAPI) PostRelease(ctx context.Context, r stationserver.PostReleaseRequestObject) (stationserver.PostReleaseResponseObject, error) {
	failed := r.Body.Reason == api.TokenFaulty || r.Body.Reason == api.OrderUnusable
	u, err := s.store.Release(ctx, stationOf(ctx), store.Release{
		UnitID: r.UnitId, Epoch: r.Body.Epoch, Reason: string(r.Body.Reason), Detail: text(r.Body.Detail), Failed: failed,
	})
	if err != nil {
		return nil, err
	}
	s.ready.ring(forStation(stationOf(ctx)))
	return stationserver.PostRelease200JSONResponse(unitStateOf(u)), nil
}

// claimDigest is over what a claim asks for, whatever its JSON looked like.
func claimDigest(r api.ClaimRequest) (string, error) {
	r.Products = slices.Sorted(slices.Values(r.Products))
	text, err := json.Marshal(r)
	if err != nil {
		return "", fmt.Errorf("digest of claim: %w", err)
	}
	return hexSHA256(text), nil
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func wait(seconds *int) time.Duration {
	if seconds == nil {
		return 0
	}
	return time.Duration(*seconds) * time.Second
}

// seconds rounds down: a station must not believe that it has longer than it has.
func seconds(d time.Duration) int { return int(d / time.Second) }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
