package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// ErrOlder says that the store was set back to an older state.
var ErrOlder = errors.New("the store is older than it was")

// ErrRecovering says that a recovery was begun and not finished.
var ErrRecovering = errors.New("a recovery of the store is not finished")

// Age is how far the store has come.
type Age struct {
	// Mark only grows, unless the store is restored from a backup.
	Mark int64
	// Recovering says that a recovery was begun and not finished.
	Recovering bool
	// EpochFloor is above every epoch that was given out before the last recovery;
	// zero if there was none.
	EpochFloor int64
}

func (s *Store) age(ctx context.Context, q queryer) (Age, error) {
	return scanAge(q.QueryRowContext(ctx, selectAge))
}

const selectAge = `SELECT mark, recovering, epoch_floor FROM store_age WHERE one = 1`

func scanAge(r rowScanner) (a Age, err error) {
	var recovering int
	if err := r.Scan(&a.Mark, &recovering, &a.EpochFloor); err != nil {
		return Age{}, fmt.Errorf("read the store's age: %w", err)
	}
	a.Recovering = recovering != 0
	return a, nil
}

// Age reads how far the store has come.
func (s *Store) Age(ctx context.Context) (Age, error) { return s.age(ctx, s.db.Read) }

// Changed says whether this server wrote something since it last called Grow.
func (s *Store) Changed() bool { return s.changed.Load() }

// Grow makes the store older than a backup made before now, and gives the new mark.
// Errors: ErrOlder when the store is not as far as the last mark that this server
// saw, known being one from before its start; ErrRecovering.
func (s *Store) Grow(ctx context.Context, known int64) (mark int64, err error) {
	s.changed.Store(false)
	known = max(known, s.mark.Load())
	err = s.transact(ctx, "grow older", func(t *txn) error {
		err := t.QueryRowContext(ctx, `UPDATE store_age SET mark = mark + 1 WHERE one = 1 AND mark >= $1 AND recovering = 0 RETURNING mark`, known).Scan(&mark)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		a, err := s.age(ctx, t)
		if err != nil {
			return err
		}
		if a.Recovering {
			return ErrRecovering
		}
		return ErrOlder
	})
	if err != nil {
		return 0, err
	}
	s.mark.Store(mark)
	return mark, nil
}

// askPresent refuses, when its answer is read, what may be given out once only while the store may be older than
// what was given out: before it is known to be restored, and until it is recovered.
func (t *txn) askPresent(ctx context.Context) (present func() error) {
	seen := t.store.mark.Load() // before the store is read: it may grow in between
	asked := t.Ask(ctx, selectAge)
	return func() error {
		a, err := scanAge(asked)
		if err != nil {
			return err
		}
		if a.Recovering || a.Mark < seen {
			return refuse(Busy, "the server was restored to an older state and is not recovered")
		}
		return nil
	}
}
