package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Station is an issuing workstation that was given a certificate.
type Station struct {
	Name              string
	PublicKeySHA256   string
	Certificate       []byte
	CertificateSHA256 string
	NotAfter          time.Time
	// Tier is TierFile or TierTPM; EKSHA256 is its TPM's endorsement key, "" without one.
	Tier, EKSHA256 string
	Revoked        bool
	// Drain says that it gets no new units.
	Drain bool
	// Failures is how many of its units failed in a row; TrippedUntil is when its
	// breaker closes again, zero while it is closed.
	Failures     int
	TrippedUntil time.Time
	// LastSeenAt and Version are those of its session; zero without one.
	LastSeenAt time.Time
	Version    string
	// Held is how many units it has from LEASED to ISSUED.
	Held int
	// Records is how many installations of it keep a record here, Recorded how many
	// entries they have, ForkedAt since when one is known to be forked; only in a list.
	Records  int
	Recorded int64
	ForkedAt time.Time
}

const stationColumns = `st.name, st.public_key_sha256, st.certificate, st.certificate_sha256, st.not_after,
	COALESCE(st.revoked_at, 0), st.drain, st.failures, st.tripped_until, COALESCE(se.seen_at, 0), COALESCE(se.version, ''), st.tier, st.ek_sha256`

func scanStation(r rowScanner) (Station, error) {
	var s Station
	var notAfter, revoked, drain, tripped, seen int64
	if err := r.Scan(&s.Name, &s.PublicKeySHA256, &s.Certificate, &s.CertificateSHA256, &notAfter, &revoked, &drain,
		&s.Failures, &tripped, &seen, &s.Version, &s.Tier, &s.EKSHA256); err != nil {
		return Station{}, err
	}
	s.NotAfter, s.Revoked, s.Drain, s.LastSeenAt = fromMillis(notAfter), revoked != 0, drain != 0, fromMillis(seen)
	s.TrippedUntil = fromMillis(tripped)
	return s, nil
}

// Station reads one station's record.
func (s *Store) Station(ctx context.Context, name string) (Station, error) {
	st, err := s.station(ctx, s.db.Read, name, "")
	if errors.Is(err, sql.ErrNoRows) {
		return Station{}, refuse(NotFound, "there is no station %s", name)
	}
	if err != nil {
		return Station{}, fmt.Errorf("read station %s: %w", name, err)
	}
	return st, nil
}

// Caller is Station for every request: where nobody else can change the database it reads
// anew only when stations have changed. What comes from its session may be out of date.
func (s *Store) Caller(ctx context.Context, name string) (Station, error) {
	changes, known := s.db.Changes("stations")
	if !known {
		return s.Station(ctx, name)
	}
	if st, ok := s.callers.get(name, changes); ok {
		return st, nil
	}
	st, err := s.Station(ctx, name)
	if err == nil {
		s.callers.put(name, changes, st)
	}
	return st, err
}

// callers are the stations as they were read since a table of theirs last changed.
type callers struct {
	mu      sync.Mutex
	changes uint64
	by      map[string]Station
}

func (c *callers) get(name string, changes uint64) (Station, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != changes {
		return Station{}, false
	}
	st, ok := c.by[name]
	return st, ok
}

// put keeps what was read after the count of changes was taken.
func (c *callers) put(name string, changes uint64, st Station) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil || c.changes < changes {
		c.changes, c.by = changes, make(map[string]Station)
	}
	if c.changes == changes {
		c.by[name] = st
	}
}

func (s *Store) station(ctx context.Context, q queryer, name, lock string) (Station, error) {
	return scanStation(q.QueryRowContext(ctx, selectStation+lock, name))
}

const selectStation = `SELECT ` + stationColumns + ` FROM stations st LEFT JOIN sessions se ON se.station = st.name WHERE st.name = $1 `

// askCaller reads and locks the station that calls. Its certificate was judged before the
// transaction, so it is judged again, when the answer is read: a station that is revoked,
// or has another key by now, is NotYours.
func (t *txn) askCaller(ctx context.Context, name, keySHA256, lock string) func() (Station, error) {
	asked := t.Ask(ctx, selectStation+lock, name)
	return func() (Station, error) { return keyHolder(asked, name, keySHA256, NotYours) }
}

// keyHolder reads and locks a station. One that is revoked, or has another key than this,
// is refused for the reason given.
func (t *txn) keyHolder(ctx context.Context, name, keySHA256, lock string, otherwise Reason) (Station, error) {
	return keyHolder(t.QueryRowContext(ctx, selectStation+lock, name), name, keySHA256, otherwise)
}

func keyHolder(row rowScanner, name, keySHA256 string, otherwise Reason) (Station, error) {
	st, err := scanStation(row)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Station{}, refuse(NotFound, "there is no station %s", name)
	case err != nil:
		return Station{}, fmt.Errorf("read station: %w", err)
	case st.Revoked:
		return Station{}, refuse(otherwise, "station %s is revoked", name)
	case st.PublicKeySHA256 != keySHA256:
		return Station{}, refuse(otherwise, "station %s has another key now", name)
	}
	return st, nil
}

// Stations lists all stations by name.
func (s *Store) Stations(ctx context.Context) ([]Station, error) {
	stations, err := collect(ctx, s.db.Read, scanStation, `SELECT `+stationColumns+`
		FROM stations st LEFT JOIN sessions se ON se.station = st.name ORDER BY st.name`)
	if err != nil {
		return nil, fmt.Errorf("list stations: %w", err)
	}
	for i := range stations {
		err := s.db.Read.QueryRowContext(ctx, `SELECT COUNT(*) FROM units WHERE station = $1 AND state IN ($2, $3, $4, $5, $6)`,
			stations[i].Name, Leased, Bound, Issuing, IssueUnknown, Issued).Scan(&stations[i].Held)
		if err != nil {
			return nil, fmt.Errorf("count the units of station %s: %w", stations[i].Name, err)
		}
		var forked int64
		err = s.db.Read.QueryRowContext(ctx, `SELECT COUNT(*), COALESCE(SUM(size), 0), COALESCE(MIN(NULLIF(forked_at, 0)), 0) FROM records WHERE station = $1`,
			stations[i].Name).Scan(&stations[i].Records, &stations[i].Recorded, &forked)
		if err != nil {
			return nil, fmt.Errorf("count the records of station %s: %w", stations[i].Name, err)
		}
		stations[i].ForkedAt = fromMillis(forked)
	}
	return stations, nil
}

// SignStation makes a certificate for the station of that name; it returns it in DER with its notAfter.
type SignStation func(name string, now time.Time) (certificate []byte, notAfter time.Time, err error)

// PutStation records a station under its key. The same key again gets the
// certificate that it has while that is valid, then a new one; another key under
// a known name, or a known key under another name, is StationConflict.
func (s *Store) PutStation(ctx context.Context, name, publicKeySHA256 string, sign SignStation) (out Station, err error) {
	err = s.write(ctx, "record station "+name, func(t *txn) error {
		if err := t.ownKey(ctx, name, publicKeySHA256); err != nil {
			return err
		}
		known, err := s.station(ctx, t, name, s.dialect.lock("st"))
		switch {
		case err == nil && known.PublicKeySHA256 != publicKeySHA256:
			return refuse(StationConflict, "station %s is known with another key", name)
		case err == nil && known.Revoked:
			return refuse(StationConflict, "station %s is revoked", name)
		case err == nil && known.Tier != TierFile:
			return refuse(StationConflict, "station %s is enrolled by its TPM", name)
		case err == nil && millis(known.NotAfter) > t.now():
			out = known
			return nil
		case err != nil && !errors.Is(err, sql.ErrNoRows):
			return fmt.Errorf("read station: %w", err)
		}
		der, notAfter, err := sign(name, fromMillis(t.now()))
		if err != nil {
			return err
		}
		out = Station{Name: name, PublicKeySHA256: publicKeySHA256, Certificate: der, CertificateSHA256: hexSum(der), NotAfter: notAfter, Tier: TierFile}
		if known.Name != "" {
			return t.One(ctx, "renew station", `UPDATE stations SET certificate = $2, certificate_sha256 = $3, not_after = $4 WHERE name = $1`,
				name, der, out.CertificateSHA256, millis(notAfter))
		}
		return t.One(ctx, "write station",
			`INSERT INTO stations (name, public_key_sha256, certificate, certificate_sha256, not_after, added_at)
			 VALUES ($1, $2, $3, $4, $5, $6)`,
			name, publicKeySHA256, der, out.CertificateSHA256, millis(notAfter), t.now())
	})
	return out, err
}

// ownKey refuses a key that is another station's with StationConflict.
func (t *txn) ownKey(ctx context.Context, station, publicKeySHA256 string) error {
	var owner string
	err := t.QueryRowContext(ctx, `SELECT name FROM stations WHERE public_key_sha256 = $1`, publicKeySHA256).Scan(&owner)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("look for the key: %w", err)
	}
	if owner != "" && owner != station {
		return refuse(StationConflict, "this key is that of station %s", owner)
	}
	return nil
}

// Session is what a station opens before it claims.
type Session struct {
	ID         string
	Station    string
	InstanceID string
	BootID     string
	Version    string
	// Slots is what the station declares, kept for people to look at.
	Slots any
	// Lease is the length of this session's leases.
	Lease time.Duration
}

// PutSession opens or replaces a station's session and gives it a new id. The
// unbound leases that the station holds are renewed and returned: after a restart
// it goes on with them. Another instance whose session was seen within SessionTTL
// is SessionConflict.
func (s *Store) PutSession(ctx context.Context, in Session) (out Session, held []Lease, err error) {
	slots, err := json.Marshal(in.Slots)
	if err != nil {
		return Session{}, nil, fmt.Errorf("open session: %w", err)
	}
	in.ID = uuid.NewString()
	err = s.write(ctx, "open session of station "+in.Station, func(t *txn) error {
		n, err := t.count(ctx, "write session",
			`INSERT INTO sessions (station, session_id, instance_id, boot_id, version, slots, lease_ms, opened_at, seen_at)
			 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
			 ON CONFLICT (station) DO UPDATE SET session_id = excluded.session_id, instance_id = excluded.instance_id,
				boot_id = excluded.boot_id, version = excluded.version, slots = excluded.slots,
				lease_ms = excluded.lease_ms, opened_at = excluded.opened_at, seen_at = excluded.seen_at
			 WHERE sessions.instance_id = excluded.instance_id OR sessions.seen_at < $9`,
			in.Station, in.ID, in.InstanceID, in.BootID, in.Version, string(slots), in.Lease.Milliseconds(), t.now(),
			t.now()-s.rules.SessionTTL.Milliseconds())
		if err == nil && n == 0 {
			return refuse(SessionConflict, "another instance of station %s is at work; stop it, or wait until its session has died (%s)", in.Station, s.rules.SessionTTL)
		}
		if err != nil {
			return err
		}
		held, err = t.held(ctx, in.Station, in.Lease)
		return err
	})
	return in, held, err
}

// Slots are what the session declared when it was opened, as JSON.
func (s *Store) Slots(ctx context.Context, station, sessionID string) ([]byte, error) {
	var slots string
	err := s.db.Read.QueryRowContext(ctx, `SELECT slots FROM sessions WHERE station = $1 AND session_id = $2`, station, sessionID).Scan(&slots)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, refuse(SessionUnknown, "this session was replaced or never opened; open one")
	}
	if err != nil {
		return nil, fmt.Errorf("read the slots of station %s: %w", station, err)
	}
	return []byte(slots), nil
}

// seenParts is how much older than the last sign of life the time may be at which a session
// is said to be seen, as a part of the time after which that matters: a session that is
// often heard of is not written each time.
const seenParts = 24

// askTouch locks a session and, when its answer is read, marks it as alive and gives the
// length of its leases. products, unless they are empty, are what the station makes from
// now on.
func (t *txn) askTouch(ctx context.Context, station, sessionID, products string) func() (time.Duration, error) {
	asked := t.Ask(ctx, `SELECT s.lease_ms, s.seen_at, s.products FROM sessions s WHERE s.station = $1 AND s.session_id = $2 `+t.store.dialect.lock("s"),
		station, sessionID)
	return func() (time.Duration, error) {
		var lease, seen int64
		var made string
		err := asked.Scan(&lease, &seen, &made)
		if errors.Is(err, sql.ErrNoRows) {
			return 0, refuse(SessionUnknown, "this session was replaced or never opened; open one")
		}
		if err != nil {
			return 0, fmt.Errorf("touch session: %w", err)
		}
		if products == "" {
			products = made
		}
		rules := t.store.rules
		if products != made || t.now() < seen || t.now() >= seen+min(rules.SessionTTL, rules.HomeGrace).Milliseconds()/seenParts {
			err = t.One(ctx, "touch session", `UPDATE sessions SET seen_at = $2, products = $3 WHERE station = $1`, station, t.now(), products)
		}
		return time.Duration(lease) * time.Millisecond, err
	}
}
