package drop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Check reads the folder without changing anything in it, also while a server
// works in it, and says what it found. An error means that issuing would not work.
func Check(_ context.Context, cfg Config) ([]string, error) {
	cfg = cfg.complete()
	if err := ledgerLost(cfg.Dir); err != nil {
		return nil, err
	}
	l, err := readLedger(filepath.Join(cfg.Dir, "ledger.jsonl"))
	if err != nil {
		return nil, err
	}
	c := &CA{cfg: cfg, ledger: l, inbox: &inbox{dir: filepath.Join(cfg.Dir, "in"), log: cfg.Logger}}
	if _, err := os.Stat(c.inbox.dir); os.IsNotExist(err) {
		return []string{fmt.Sprintf("The folder %s is new; out, in and done are made when the server starts.", cfg.Dir)}, nil
	}
	if err := c.inbox.look(l); err != nil {
		return nil, err
	}
	open := 0
	var said []string
	for _, id := range slices.Sorted(maps.Keys(l.byID)) {
		certs, refusal, err := c.taken(l.byID[id])
		if err != nil {
			return nil, err
		}
		if len(certs) == 0 && refusal == "" {
			open++
		}
	}
	said = append(said, fmt.Sprintf("%d requests were given out, %d of them are not answered.", len(l.byID), open))
	for _, name := range slices.Sorted(maps.Keys(c.inbox.files)) {
		a := c.inbox.files[name]
		switch certs, refusal, err := c.taken(a.entry); {
		case err != nil:
			return nil, err
		case a.fault != "":
			said = append(said, fmt.Sprintf("in/%s is left alone: %s.", name, a.fault))
		case len(certs) > 0 || refusal != "":
			said = append(said, fmt.Sprintf("in/%s came after %s had been answered: compare it with done/%s.*; of two certificates, revoke one.", name, a.entry.RequestID, a.entry.RequestID))
		default:
			said = append(said, fmt.Sprintf("in/%s is there for %s and will be taken.", name, a.entry.RequestID))
		}
	}
	return said, nil
}
