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

// UseCA says how many certificates are outstanding at another CA than this one.
// When there are none, this one is the CA from now on.
func (s *Store) UseCA(ctx context.Context, sha256 string) (outstanding int, err error) {
	err = s.write(ctx, "take up the CA", func(t *txn) error {
		err := t.QueryRowContext(ctx, `SELECT COUNT(*) FROM units u JOIN identities i ON i.name = $1 AND i.sha256 <> $2
			WHERE u.state IN ($3, $4) OR u.state = $5 AND u.stranded_from IN ($3, $4)`,
			caIdentity, sha256, Issuing, IssueUnknown, Stranded).Scan(&outstanding)
		if err != nil {
			return fmt.Errorf("count what is outstanding: %w", err)
		}
		if outstanding > 0 {
			return nil
		}
		_, err = t.count(ctx, "write identity", `INSERT INTO identities (name, sha256) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET sha256 = $2`, caIdentity, sha256)
		return err
	})
	return outstanding, err
}

// caIdentity is the name under which UseCA keeps the CA.
const caIdentity = "customers' CA"
