// Package sqlite is how both programs use SQLite: connections that keep their statements,
// transactions that share a commit, and counts of the commits that changed a table.
//
// It must not know any table.
package sqlite
