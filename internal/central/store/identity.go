package store

import (
	"context"
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
