package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// maxWait keeps what a CA asks for within what times can say.
const maxWait = 365 * 24 * time.Hour

// Wait is that the CA has not decided.
type Wait struct {
	Why string
	// After is the time that it asked for; zero if it did not say.
	After time.Duration
	// Pause is the least time to wait; it doubles with every call up to MaxPause.
	Pause, MaxPause time.Duration
}

// wait is what the CA last said about a request that it has not decided.
type wait struct {
	calls   int
	why     string
	firstAt int64
	againAt int64 // 0 while it is asked again
}

func (t *txn) wait(ctx context.Context, unitID string, generation int32) (w wait, err error) {
	err = t.QueryRowContext(ctx, `SELECT calls, why, first_at, COALESCE(again_at, 0) FROM waits WHERE unit_id = $1 AND generation = $2`,
		unitID, generation).Scan(&w.calls, &w.why, &w.firstAt, &w.againAt)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return wait{}, fmt.Errorf("read what the CA said about unit %s: %w", unitID, err)
	}
	return w, nil
}

// Pending writes down that the CA has certainly made no certificate yet, and that
// the same request may go to it again.
//
// It does not go on for ever. What is not decided within the time of custody from
// the first such answer is ISSUE_UNKNOWN, and a person asks the CA. A unit on its way out
// is only looked up, and stays what it is.
func (s *Store) Pending(ctx context.Context, unitID string, generation int32, by Issuer, said Wait) error {
	return s.write(ctx, "note that the CA has not decided about unit "+unitID, func(t *txn) error {
		u, err := t.owned(ctx, unitID, generation, by)
		if err != nil {
			return err
		}
		if unknown, err := t.unresolved(ctx, u); err != nil || !unknown && !u.outstanding() {
			return err
		}
		w, err := t.wait(ctx, unitID, generation)
		if err != nil {
			return err
		}
		before, pause := w.why, said.Pause
		if w.calls == 0 {
			w.firstAt = t.now()
		}
		for range min(w.calls, 30) {
			pause = min(2*pause, said.MaxPause)
		}
		w.calls++
		w.why = said.Why
		w.againAt = t.now() + max(min(said.After, maxWait), pause).Milliseconds()
		over := u.outstanding() && w.againAt-w.firstAt > s.rules.Custody.Milliseconds()
		if over { // then it is not asked for the certificate again, only looked up
			w.againAt = t.now() + pause.Milliseconds()
		}
		err = t.One(ctx, "write wait", `INSERT INTO waits (unit_id, generation, calls, why, first_at, again_at)
			VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (unit_id, generation) DO UPDATE SET calls = $3, why = $4, again_at = $6`,
			unitID, generation, w.calls, w.why, w.firstAt, w.againAt)
		if err != nil {
			return err
		}
		switch {
		case !u.outstanding():
		case over && u.at() == Issuing:
			_, err = t.advance(ctx, u, EventUnknown, fmt.Sprintf("the CA did not decide within %s: %s", s.rules.Custody, said.Why), nil)
		case !over && (u.at() == IssueUnknown || before != said.Why): // else the history says it already
			_, err = t.advance(ctx, u, EventPending, said.Why, nil)
		}
		return err
	})
}

// askAgain takes up a wait. It says due once the CA may be asked, and has written
// down then that it is asked now: a call that is cut off leaves an unknown outcome.
// waiting is false when the CA did not say anything that could be waited for.
func (t *txn) askAgain(ctx context.Context, unitID string, generation int32) (waiting, due bool, err error) {
	w, err := t.wait(ctx, unitID, generation)
	if err != nil || w.againAt == 0 {
		return false, false, err
	}
	if w.againAt > t.now() {
		return true, false, nil
	}
	err = t.One(ctx, "take up wait", `UPDATE waits SET again_at = NULL WHERE unit_id = $1 AND generation = $2`, unitID, generation)
	return true, true, err
}
