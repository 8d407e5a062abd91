package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Agree says whether all servers on this store have the same thing under a name,
// such as the stations' root: the first one's SHA-256 is kept, and a server with
// another is told so.
func (s *Store) Agree(ctx context.Context, name, sha256 string) (same bool, err error) {
	err = s.write(ctx, "compare "+name, func(t *txn) error {
		_, err := t.count(ctx, "insert identity", `INSERT INTO identities (name, sha256) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, sha256)
		if err != nil {
			return err
		}
		var kept string
		if err := t.QueryRowContext(ctx, `SELECT sha256 FROM identities WHERE name = $1`, name).Scan(&kept); err != nil {
			return fmt.Errorf("read identity: %w", err)
		}
		same = kept == sha256
		return nil
	})
	return same, err
}

// UseCA says how many units wait for what another CA than this one did. When there are
// none, this one is the CA from now on, and no server with another one asks it for
// anything; see Intend.
func (s *Store) UseCA(ctx context.Context, sha256 string) (outstanding int, err error) {
	err = s.write(ctx, "take up the CA", func(t *txn) error {
		_, err := t.count(ctx, "insert identity", `INSERT INTO identities (name, sha256) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, caIdentity, sha256)
		if err != nil {
			return err
		}
		// Locked before it is counted: who has read it has then written its intent.
		var kept string
		if err := t.QueryRowContext(ctx, selectCA+s.dialect.lock("i"), caIdentity).Scan(&kept); err != nil {
			return fmt.Errorf("read identity: %w", err)
		}
		if kept == sha256 {
			outstanding = 0
			return nil
		}
		err = t.QueryRowContext(ctx, `SELECT COUNT(*) FROM units u
			WHERE u.state IN ($1, $2) OR u.state = $3 AND u.stranded_from IN ($1, $2)
				OR u.state IN ($4, $5) AND EXISTS (SELECT 1 FROM bindings b
					WHERE b.unit_id = u.unit_id AND b.generation = u.generation AND `+unresolvedBinding+`)`,
			Issuing, IssueUnknown, Stranded, Held, Cancelling).Scan(&outstanding)
		if err != nil {
			return fmt.Errorf("count what is outstanding: %w", err)
		}
		if outstanding > 0 {
			return nil
		}
		return t.One(ctx, "write identity", `UPDATE identities SET sha256 = $2 WHERE name = $1`, caIdentity, sha256)
	})
	return outstanding, err
}

// caIdentity is the name under which UseCA keeps the CA.
const caIdentity = "customers' CA"

const selectCA = `SELECT i.sha256 FROM identities i WHERE i.name = $1 `

// ErrAnotherCA says that a server has another CA than the one that is in use.
var ErrAnotherCA = errors.New("another CA is in use on this store since this server was started")

// askCA keeps others from taking up another CA until the transaction ends. When its answer
// is read, it is ErrAnotherCA if somebody did; before the first UseCA any CA will do.
func (t *txn) askCA(ctx context.Context, sha256 string) func() error {
	asked := t.Ask(ctx, selectCA+t.store.dialect.lockKey("i"), caIdentity)
	return func() error {
		var kept string
		err := asked.Scan(&kept)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return nil
		case err != nil:
			return fmt.Errorf("read identity: %w", err)
		case kept != sha256:
			return ErrAnotherCA
		}
		return nil
	}
}
