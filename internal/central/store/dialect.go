package store

// dialect is the engine that the SQL is for.
type dialect int

const (
	// sqlite takes the whole database for itself with BEGIN IMMEDIATE; no row is locked.
	sqlite dialect = iota
)

// lock is the clause that keeps the rows of these tables for a transaction. With
// row locks an order must be locked together with its units: locking units alone
// lets two stations begin the same order.
func (d dialect) lock(tables string) string {
	_ = tables // names what an engine with row locks has to lock
	return ""
}
