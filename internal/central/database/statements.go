package database

import (
	"context"
	"database/sql/driver"
	"errors"

	"modernc.org/sqlite"
)

// maxStatements bounds what one connection keeps: far more texts than there are in this program.
const maxStatements = 256

// keeping opens SQLite connections that keep their statements: the driver alone parses
// a text anew each time it is used, which costs more than to carry it out.
type keeping struct {
	dsn    string
	driver *sqlite.Driver
}

// Connect implements driver.Connector.
func (k keeping) Connect(context.Context) (driver.Conn, error) {
	c, err := k.driver.Open(k.dsn)
	if err != nil {
		return nil, err
	}
	inner, ok := c.(sqliteConn)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver's connections have changed"), c.Close())
	}
	return &keeper{sqliteConn: inner, statements: make(map[string]*statement)}, nil
}

// Driver implements driver.Connector.
func (k keeping) Driver() driver.Driver { return k.driver }

// sqliteConn is what the driver's connections can do, all of which is handed on.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keeper is a connection with its statements, by their texts.
type keeper struct {
	sqliteConn
	statements map[string]*statement
}

type sqliteStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type statement struct {
	sqliteStatement
	// busy says that its rows are still being read.
	busy bool
}

// get gives the statement of a text; nil when it is to be carried out without.
func (k *keeper) get(ctx context.Context, text string) (*statement, error) {
	if s, ok := k.statements[text]; ok {
		if s.busy {
			return nil, nil
		}
		return s, nil
	}
	if len(k.statements) == maxStatements {
		return nil, nil
	}
	prepared, err := k.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	inner, ok := prepared.(sqliteStatement)
	if !ok {
		return nil, errors.Join(errors.New("the SQLite driver's statements have changed"), prepared.Close())
	}
	s := &statement{sqliteStatement: inner}
	k.statements[text] = s
	return s, nil
}

// ExecContext implements driver.ExecerContext.
func (k *keeper) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 {
		// Schema and settings; done once, and perhaps several statements in one text.
		return k.sqliteConn.ExecContext(ctx, text, args)
	}
	s, err := k.get(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return k.sqliteConn.ExecContext(ctx, text, args)
	}
	return s.ExecContext(whole(ctx), args)
}

// QueryContext implements driver.QueryerContext.
func (k *keeper) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	s, err := k.get(ctx, text)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return k.sqliteConn.QueryContext(ctx, text, args)
	}
	rows, err := s.QueryContext(whole(ctx), args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &keptRows{Rows: rows, of: s}, nil
}

// whole lets a statement that has begun come to its end: it is short, the driver would
// watch each with a goroutine, and SQLite undoes all of a transaction that it
// interrupts (sqlite3_interrupt). database/sql has looked at ctx just before.
func whole(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }

// Close implements driver.Conn.
func (k *keeper) Close() error {
	var errs []error
	for _, s := range k.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, k.sqliteConn.Close())...)
}

// keptRows gives its statement back when it is closed.
type keptRows struct {
	driver.Rows
	of *statement
}

// Close implements driver.Rows.
func (r *keptRows) Close() error {
	r.of.busy = false
	return r.Rows.Close()
}
