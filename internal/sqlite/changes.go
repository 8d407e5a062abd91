package sqlite

import (
	"database/sql/driver"
	"regexp"
	"strings"
	"sync"
)

// Changes counts, table by table, the transactions that may have changed it. A count goes
// up after the commit and before anybody hears of it.
type Changes struct {
	mu     sync.Mutex
	open   map[string]bool
	counts map[string]uint64
}

// NewChanges counts from zero.
func NewChanges() *Changes {
	return &Changes{open: make(map[string]bool), counts: make(map[string]uint64)}
}

// writes finds the tables that a text may write to.
var writes = regexp.MustCompile(`(?i)\b(?:UPDATE|INTO|FROM|TABLE)\s+(\w+)`)

// writtenBy is which tables a text may change; nil for one that only reads.
func writtenBy(text string) []string {
	verb := ""
	if words := strings.Fields(text); len(words) > 0 {
		verb = strings.ToUpper(words[0])
	}
	switch verb {
	case "SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "PRAGMA":
		return nil
	}
	var tables []string
	for _, found := range writes.FindAllStringSubmatch(text, -1) {
		tables = append(tables, strings.ToLower(found[1]))
	}
	return tables
}

// touch notes what the transaction that is open may change.
func (c *Changes) touch(tables []string) {
	if len(tables) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range tables {
		c.open[t] = true
	}
}

// publish counts what was touched; the transaction has ended, well or not.
func (c *Changes) publish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t := range c.open {
		c.counts[t]++
	}
	clear(c.open)
}

// Count is how many transactions may have changed a table.
func (c *Changes) Count(table string) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[table]
}

// counted is a transaction whose end is told.
type counted struct {
	driver.Tx
	keeper *keeper
}

// Commit implements driver.Tx.
func (t *counted) Commit() error {
	defer t.ended()
	return t.Tx.Commit()
}

// Rollback implements driver.Tx.
func (t *counted) Rollback() error {
	defer t.ended()
	return t.Tx.Rollback()
}

func (t *counted) ended() {
	t.keeper.inTx = false
	t.keeper.changes.publish()
}
