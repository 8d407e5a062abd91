package drop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	c := &CA{cfg: cfg, ledger: l, inbox: &inbox{dir: filepath.Join(cfg.Dir, "in")}}
	if _, err := os.Stat(c.inbox.dir); errors.Is(err, fs.ErrNotExist) {
		return []string{fmt.Sprintf("The folder %s is new; out, in, done and aside are made when the server starts.", cfg.Dir)}, nil
	}
	if err := c.inbox.look(l); err != nil {
		return nil, err
	}
	unanswered := 0
	for _, e := range l.byID {
		before, err := c.taken(e)
		if err != nil {
			return nil, err
		}
		if !before.anything() {
			unanswered++
		}
	}
	found := []string{fmt.Sprintf("The folder %s is there. Requests given out: %d, without an answer: %d.", cfg.Dir, len(l.byID), unanswered)}
	for _, name := range slices.Sorted(maps.Keys(c.inbox.files)) {
		a := c.inbox.files[name]
		why, _, err := c.unwanted(a)
		switch {
		case err != nil:
			return nil, err
		case why != "":
			found = append(found, fmt.Sprintf("in/%s will be set aside: %s.", name, why))
		default:
			found = append(found, fmt.Sprintf("in/%s answers %s.", name, a.entry.RequestID))
		}
	}
	aside, err := filepath.Glob(filepath.Join(cfg.Dir, "aside", "*.why"))
	if err != nil {
		return nil, err
	}
	if len(aside) > 0 {
		found = append(found, fmt.Sprintf("Files in aside: %d, each with its reason. Look at them, then take them away.", len(aside)))
	}
	return found, nil
}
