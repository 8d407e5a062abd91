package store

import "github.com/usbkeyd/usbkeyd/internal/central/database"

// dialect is the one fragment of SQL that depends on the engine: the lock clause.
// SQLite takes the whole database for a transaction (BEGIN IMMEDIATE), so there it
// is empty.
type dialect database.Engine

// lock keeps these tables' rows for the transaction, and waits for whoever has them.
// Rows are locked in one order everywhere: session, station, order, unit, escrow.
func (d dialect) lock(tables string) string {
	if database.Engine(d) == database.SQLite {
		return ""
	}
	return "FOR UPDATE OF " + tables
}

// lockKey keeps others from revoking these stations or giving them another key, and from
// nothing else: what counts their failures goes on. It also keeps an identity as it is.
func (d dialect) lockKey(tables string) string {
	if database.Engine(d) == database.SQLite {
		return ""
	}
	return "FOR KEY SHARE OF " + tables
}

// lockFree keeps rows that nobody else has, and leaves the others out. With it an
// order must be locked together with its units: who locks units alone lets two
// stations begin the same order.
func (d dialect) lockFree(tables string) string {
	if database.Engine(d) == database.SQLite {
		return ""
	}
	return "FOR UPDATE OF " + tables + " SKIP LOCKED"
}
