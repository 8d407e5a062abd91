package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// maxTogether is how many transactions share one commit at most.
const maxTogether = 64

// Around each transaction of several.
const (
	savepoint = "SAVEPOINT one"
	release   = "RELEASE one"
)

// ErrClosed is what a transaction gets that comes after Close.
var ErrClosed = errors.New("the database is closed")

// Together carries transactions out one after the other, as SQLite must, and commits
// those that wait at the same time together: each is on disk before its caller hears of
// it, and the disk is waited for once. One that fails is undone alone (SAVEPOINT).
type Together struct {
	db    *sql.DB
	queue chan *job
	stop  chan struct{}
	once  sync.Once
	ended chan struct{}
}

// job is one transaction that waits.
type job struct {
	ctx  context.Context
	fn   func(*sql.Tx) error
	err  error
	done chan struct{}
}

// NewTogether makes one for a database of one connection; Close ends it.
func NewTogether(db *sql.DB) *Together {
	t := &Together{db: db, queue: make(chan *job), stop: make(chan struct{}), ended: make(chan struct{})}
	go t.run()
	return t
}

// Close ends it; what is being carried out is carried out to its end.
func (t *Together) Close() {
	t.once.Do(func() { close(t.stop) })
	<-t.ended
}

// Do carries fn out, and more than once if what it shared a commit with could not be done. It
// returns when fn will not be run any more, whatever happens to ctx.
func (t *Together) Do(ctx context.Context, fn func(*sql.Tx) error) error {
	j := &job{ctx: ctx, fn: fn, done: make(chan struct{})}
	select {
	case t.queue <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.stop:
		return ErrClosed
	}
	<-j.done
	return j.err
}

func (t *Together) run() {
	defer close(t.ended)
	for {
		var jobs []*job
		select {
		case j := <-t.queue:
			jobs = append(jobs, j)
		case <-t.stop:
			return
		}
		for more := true; more && len(jobs) < maxTogether; {
			select {
			case j := <-t.queue:
				jobs = append(jobs, j)
			default:
				more = false
			}
		}
		if len(jobs) == 1 || t.commit(jobs) != nil {
			// Together it could not be done: each by itself, with an error of its own.
			for _, j := range jobs {
				j.err = t.commit([]*job{j})
			}
		}
		for _, j := range jobs {
			close(j.done)
		}
	}
}

// commit carries jobs out in one transaction. The error is that of all of them; the
// error of one that failed alone is in it.
func (t *Together) commit(jobs []*job) error {
	tx, err := t.db.BeginTx(context.Background(), nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if len(jobs) == 1 {
		err = jobs[0].run(tx)
	} else {
		for _, j := range jobs {
			if err = j.within(tx); err != nil {
				break
			}
		}
	}
	if err != nil {
		if rb := tx.Rollback(); rb != nil && !errors.Is(rb, sql.ErrTxDone) {
			err = errors.Join(err, fmt.Errorf("roll back: %w", rb))
		}
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// within carries a job out so that it can be undone alone.
func (j *job) within(tx *sql.Tx) error {
	ctx := context.Background()
	if _, err := tx.ExecContext(ctx, savepoint); err != nil {
		return err
	}
	if j.err = j.run(tx); j.err != nil {
		if _, err := tx.ExecContext(ctx, "ROLLBACK TO one"); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, release)
	return err
}

// run calls the function. It is not its caller's goroutine, so a panic becomes an error.
func (j *job) run(tx *sql.Tx) (err error) {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	return j.fn(tx)
}
