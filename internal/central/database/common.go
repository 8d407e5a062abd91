package database

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
)

// Common is a SQLite file that several servers of one process have open, each of which
// takes it for a database that it shares with other processes. It stands for PostgreSQL
// where time is virtual: there is one connection that writes, and the process's clock.
type Common struct {
	path string
	// carry takes a notice to one who listens: it calls hear, sooner or later or never.
	carry func(hear func())

	mu    sync.Mutex
	db    *DB // nil before the first Open
	nodes []*Node
}

// NewCommon is a file that is opened with the first Node of it.
func NewCommon(path string, carry func(hear func())) *Common {
	return &Common{path: path, carry: carry}
}

// Close closes the file; no Node may be used after it.
func (c *Common) Close() error {
	if c.db == nil {
		return nil
	}
	return c.db.Close()
}

// Node is one server's way to a Common.
type Node struct {
	common *Common
	lost   atomic.Bool
	heard  atomic.Pointer[func(notice string)] // nil while nobody listens
}

// Node makes a way to it. A server that starts anew needs a new one.
func (c *Common) Node() *Node { return &Node{common: c} }

// Place is where its server finds the database.
func (n *Node) Place() Place { return Place{node: n} }

// Lose cuts the way, as a kill does: what was not committed will not be.
func (n *Node) Lose() { n.lost.Store(true) }

var errLost = errors.New("the way to the database is lost")

func openNode(ctx context.Context, at Place, migrations fs.FS) (*DB, error) {
	c := at.node.common
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.db == nil {
		db, err := openSQLite(ctx, File(c.path), migrations)
		if err != nil {
			return nil, err
		}
		c.db = db
	}
	return &DB{Engine: SQLite, Write: c.db.Write, Read: c.db.Read, together: c.db.together, node: at.node}, nil
}

// notify carries a notice to all others.
func (n *Node) notify(notice string) error {
	if n.lost.Load() {
		return errLost
	}
	n.common.mu.Lock()
	others := slices.Clone(n.common.nodes)
	n.common.mu.Unlock()
	for _, o := range others {
		if o == n {
			continue
		}
		n.common.carry(func() {
			if heard := o.heard.Load(); heard != nil {
				(*heard)(notice)
			}
		})
	}
	return nil
}

func (n *Node) listen(ctx context.Context, ready func(), heard func(notice string)) error {
	n.heard.Store(&heard)
	n.common.mu.Lock()
	n.common.nodes = append(n.common.nodes, n)
	n.common.mu.Unlock()
	ready()
	<-ctx.Done()
	n.heard.Store(nil)
	n.common.mu.Lock()
	n.common.nodes = slices.DeleteFunc(n.common.nodes, func(o *Node) bool { return o == n })
	n.common.mu.Unlock()
	return ctx.Err()
}
